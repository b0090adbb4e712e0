"""What asks for the embeddings of a call's texts, or of a run's, in as many requests as it takes.

How many texts a request takes is what the service documents, until it has refused one and said how many it would have
taken; then the same texts are asked for again in smaller requests.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Self, TypeAlias

from ..calls.call import Call
from ..calls.observers import RunState
from ..calls.setup import Setup
from ..errors import InvalidRequestError, PayloadTooLargeError, SiliconFlowError
from ..loops import running_loop
from ..request.fields import Fields
from ..wire.endpoints.embeddings import EmbeddingArrays, EmbeddingList, decode_arrays, decode_floats, decode_texts
from ..wire.plain import Timing
from ..wire.structs import Usage
from .side import side_by_side

__all__ = ["EmbeddingAsk", "Form", "Sizes"]

Answer: TypeAlias = EmbeddingList[Any] | EmbeddingArrays

_PATH = "/embeddings"
# As the page has it; the service has been seen to take 64.
_MOST_TEXTS = 32
_SAID_MOST = re.compile(r"maximum allowed batch size:?\s*(\d{1,6})")
# Of so many models is remembered how many texts they take.
_MOST_MODELS = 256
# Requests of one list that are under way at once.
_AT_ONCE = 16


class Form(NamedTuple):
    """What vectors are read into, and as what the service is asked to send them."""

    decode: Callable[..., Answer]
    encoding_format: Literal["float", "base64"]

    @classmethod
    def of(cls, encoding_format: Any, as_numpy: bool) -> Self:
        """Return the form that was asked for."""
        if encoding_format not in (None, "float", "base64"):
            why = f'encoding_format must be "float" or "base64", not {encoding_format!r}'
            raise InvalidRequestError(why, param="encoding_format")
        # Base64 is a third of the bytes, and half the work or less; who asks for it by name wants the texts.
        wanted: Literal["float", "base64"] = "float" if encoding_format == "float" else "base64"
        if as_numpy:
            return cls(decode_arrays, wanted)
        return cls(decode_texts if encoding_format == "base64" else decode_floats, wanted)


class Sizes:
    """How many texts the models take in one request, as far as they have said."""

    def __init__(self) -> None:
        self._learned: dict[str, int] = {}

    def most(self, model: Any, wanted: int | None) -> int:
        """Return how many go in one request, `wanted` at most if that is given."""
        known = self._learned.get(str(model))
        if wanted is None:
            return known or _MOST_TEXTS
        return wanted if known is None else min(wanted, known)

    def learn(self, model: Any, error: SiliconFlowError, sent: int) -> int | None:
        """Return how many a refusal says that the model takes, None where it says nothing of use."""
        said = _SAID_MOST.search(str(error.message)) if isinstance(error, PayloadTooLargeError) else None
        most = int(said[1]) if said is not None else 0
        if not 0 < most < sent:
            return None
        while len(self._learned) >= _MOST_MODELS:
            self._learned.pop(next(iter(self._learned)), None)  # another thread may have
        self._learned[str(model)] = most
        return most


class EmbeddingAsk:
    """What all requests for one call's texts, or one run's, have in common.

    `params` are those of `create` but for `input`.
    """

    def __init__(self, setup: Setup, fields: Fields, params: Mapping[str, Any], form: Form, sizes: Sizes) -> None:
        self.setup = setup
        self.params = params
        self._fields = fields
        self._form = form
        self._sizes = sizes

    def most(self) -> int:
        """Return how many texts go in one request."""
        return self._sizes.most(self.params["model"], self.params.get("batch_size"))

    def learn(self, error: SiliconFlowError, sent: int) -> int | None:
        """Return how many texts a refusal of so many says that the model takes."""
        return self._sizes.learn(self.params["model"], error, sent)

    def call(
        self,
        texts: str | list[str],
        *,
        since: float | None = None,
        patience: float | None = None,
        parent: RunState | None = None,
    ) -> Call:
        """Return a call that asks for texts, whose clocks begin now, or began at `since`, a time of the loop."""
        params = {**self.params, "input": texts}
        body = self._fields.body(params, encoding_format=self._form.encoding_format)
        sent = self.setup.request("POST", _PATH, params, body=body, since=since)
        return Call(self.setup, sent, weighs=params, patience=patience, parent=parent)

    def decode(self, count: int) -> Callable[..., Any]:
        """Return what reads the answer to so many texts."""
        return functools.partial(self._form.decode, count=count)

    async def all(self, texts: str | list[str]) -> Answer:
        """Return the answer to a text, or to a list of any length."""
        if isinstance(texts, str):
            answer: Answer = await self.call(texts).fetch(self.decode(1))
            return answer
        most, since = self.most(), running_loop().time()
        asks = [
            functools.partial(self._part, texts[at : at + most], since, alone=len(texts) <= most)
            for at in range(0, len(texts), most)
        ]
        parts = await side_by_side(asks, self.setup.transport.pool.at_most(_AT_ONCE))
        return _joined(parts)

    async def _part(self, texts: list[str], since: float, *, alone: bool) -> Answer:
        call = self.call(texts, since=since)
        try:
            answer: Answer = await call.fetch(self.decode(len(texts)))
            if not alone:
                # Nobody will see it, and those of all parts would be held until the last is there.
                answer.raw = None
            return answer
        except PayloadTooLargeError as error:
            most = self.learn(error, len(texts))
            if most is None:
                raise
        parts = [await self._part(texts[at : at + most], since, alone=False) for at in range(0, len(texts), most)]
        answer = _joined(parts)
        answer.timing.attempts = (answer.timing.attempts or 0) + call.attempts
        return answer


def _joined(answers: Sequence[Answer]) -> Answer:
    """Return several answers as one."""
    first = answers[0]
    if len(answers) == 1:
        return first
    data: list[Any] = [item for answer in answers for item in answer.data]
    for index, item in enumerate(data):
        item.index = index
    usages = [answer.usage for answer in answers if answer.usage is not None]
    usage = None
    if usages:
        usage = Usage(
            prompt_tokens=sum(one.prompt_tokens for one in usages),
            completion_tokens=sum(one.completion_tokens for one in usages),
            total_tokens=sum(one.total_tokens for one in usages),
        )
    joined: Answer = type(first)(data=data, model=first.model, usage=usage)
    joined.headers, joined.trace_id = first.headers, first.trace_id
    joined.timing = Timing(
        total=max(answer.timing.total or 0.0 for answer in answers),
        attempts=sum(answer.timing.attempts or 0 for answer in answers),
    )
    return joined
