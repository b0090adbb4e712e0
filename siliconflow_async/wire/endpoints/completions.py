"""Text completions: what `POST /completions` sends back, whole or in chunks of the same shape.

`TextProtocol` reads a stream, `decode_text` an answer that is asked for whole, `TextAccumulator` folds chunks. Each is
to text what its neighbour is to a chat, and fails as it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from .. import jsontext
from ..choices import Choices, joined, merged_logprobs
from ..failures import Mask, malformed, unmasked
from ..lenient import to_integer, to_text, to_usage
from ..plain import Headed, Plain, nothing, told
from ..streamed import CANNOT_DECODE, Kind, StreamProtocol, read_as_stream
from ..structs import MOST_CHOICES, Usage
from ..weight import check_weight

__all__ = ["Completion", "CompletionChoice", "TextAccumulator", "TextProtocol", "decode_text"]

_NONE = "no text completion"


class CompletionChoice(Plain):
    """One text of `n`, or what a chunk adds to it; `finish_reason` is "stop" or "length", or None before its end."""

    index: int = told(0)
    text: str = told("")
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None
    # Never given out: their presence makes the fast decode fail.
    delta: None = None
    message: None = None


class Completion(Headed, Plain):
    """A text, or a chunk of one. `text` and `finish_reason` are those of choice 0.

    Of a whole answer `raw` is the body as it came (None where folded), of a chunk the bytes of its event; `headers` are
    the answer's headers with lower-case names, `trace_id` what SiliconFlow's support asks for, `timing` in seconds. A
    chunk has no such three: they are its stream's.
    """

    id: str = told("")
    object: Literal["text_completion"] = told("text_completion")
    created: int = told(0)
    model: str = told("")
    choices: Annotated[list[CompletionChoice], Meta(max_length=MOST_CHOICES)] = field(default_factory=nothing)
    usage: Usage | None = None
    system_fingerprint: str | None = None
    # Never given out: their presence makes the fast decode fail.
    error: None = None
    code: None = None
    message: None = None

    def _first(self) -> CompletionChoice:
        for choice in self.choices:
            if choice.index == 0:
                return choice
        return CompletionChoice()

    @property
    def text(self) -> str:
        return self._first().text

    @property
    def finish_reason(self) -> str | None:
        return self._first().finish_reason


_DECODER = msgspec.json.Decoder(Completion)


def _decoded(data: bytes) -> Completion:
    completion = _DECODER.decode(data)
    for choice in completion.choices:
        if choice.logprobs is not None:
            choice.logprobs = jsontext.without_none(choice.logprobs)
    return completion


def _read(value: dict[str, Any]) -> Completion:
    """Read an object of any kind as far as it goes; raise ValueError for more choices than any answer has."""
    choices = value.get("choices")
    found = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    if len(found) > MOST_CHOICES:
        raise ValueError(f"{len(found):,} choices in one answer, more than {MOST_CHOICES:,}")
    return Completion(
        id=to_text(value.get("id")) or "",
        created=to_integer(value.get("created")) or 0,
        model=to_text(value.get("model")) or "",
        choices=[_choice(choice, at) for at, choice in enumerate(found)],
        usage=to_usage(value.get("usage")),
        system_fingerprint=to_text(value.get("system_fingerprint")),
    )


def _choice(value: dict[str, Any], at: int) -> CompletionChoice:
    text = to_text(value.get("text"))
    if text is None:
        # Some relays answer as in a chat.
        for name in ("delta", "message"):
            part = value.get(name)
            text = to_text(part.get("content")) if isinstance(part, dict) and text is None else text
    index = to_integer(value.get("index"))
    logprobs = value.get("logprobs")
    return CompletionChoice(
        index=at if index is None else index,
        text=text or "",
        finish_reason=to_text(value.get("finish_reason")),
        logprobs=jsontext.without_none(logprobs) if isinstance(logprobs, dict) else None,
    )


def _is_whole(value: dict[str, Any]) -> bool:
    """Whether an object is an answer, and not a chunk of one: chunks look alike, but none of them has it all.

    A text that is asked for as a stream and comes whole has a finish reason for every choice.
    """
    choices = value.get("choices")
    return (
        bool(choices)
        and isinstance(choices, list)
        and all(
            isinstance(choice, dict) and choice.get("finish_reason") and to_text(choice.get("text"))
            for choice in choices
        )
    )


class TextProtocol(StreamProtocol[Completion]):
    """Decode the stream of a text."""

    __slots__ = ()

    kind = Kind(_decoded, _decoded, _read, _is_whole, _NONE)

    def has_progress(self, chunks: list[Completion]) -> bool:
        return any(choice.text or choice.finish_reason for chunk in chunks for choice in chunk.choices)


class _Parts:
    __slots__ = ("finish_reason", "index", "logprobs", "texts")

    def __init__(self, index: int) -> None:
        self.index = index
        self.texts: list[str] = []
        self.finish_reason: str | None = None
        self.logprobs: list[bytes | dict[str, Any]] = []

    def built(self) -> CompletionChoice:
        logprobs = merged_logprobs(self.logprobs)
        return CompletionChoice(self.index, joined(self.texts) or "", self.finish_reason, logprobs)


class TextAccumulator(Choices[_Parts]):
    """Fold the chunks of one stream."""

    __slots__ = ()

    parts = _Parts

    def fold(self, chunks: Sequence[Completion]) -> bool:
        """Add chunks, in the order of the stream; return whether one brings text or a finish reason.

        Raises MalformedStreamError where they come to more than any answer holds; what came before is kept.
        """
        if not self.headed:
            self._take_head(chunks)
        progressed = False
        for chunk in chunks:
            self._usage = chunk.usage or self._usage
            for choice in chunk.choices:
                parts = self._parts_of(choice.index)
                if choice.text:
                    parts.texts.append(choice.text)
                    progressed = True
                if choice.finish_reason:
                    parts.finish_reason = choice.finish_reason
                    progressed = True
                if choice.logprobs:
                    self._take_logprobs(parts.logprobs, choice.logprobs, chunk.raw)
        return progressed

    def completion(self) -> Completion:
        """Return the text so far."""
        return Completion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[self._choices[index].built() for index in sorted(self._choices)],
            usage=self._usage,
            system_fingerprint=self._fingerprint,
        )


def decode_text(body: bytes, mask: Mask = unmasked) -> Completion:
    """Decode a whole answer, or fold the events of one that came as a stream.

    Raises what a stream of the same bytes would.
    """
    completion: Completion | None
    try:
        check_weight(body)
        completion = _decoded(body)
    except CANNOT_DECODE:
        # What is raised here would lead to the decoder's error, which may hold the body.
        completion = None
    if completion is None or not completion.choices:
        completion = _carefully(body, mask)
    completion.raw = body
    return completion


def _carefully(body: bytes, mask: Mask) -> Completion:
    accumulator = TextAccumulator()
    value = read_as_stream(body, TextProtocol(max(len(body), 1), mask), accumulator)
    if value is None:
        return accumulator.completion()
    try:
        return _read(value)
    except ValueError as error:
        why = str(error)
    raise malformed(body, why, _NONE, mask)
