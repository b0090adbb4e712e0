"""One call of a chat: its request made ready once for all attempts, its answer whole, or a stream that goes on."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import msgspec

from ..errors import ParseError
from ..request.body import build_body
from ..request.continuing import continued_body, resume_attempts
from ..request.schema import Form, form_of, is_type
from ..request.tools import choice_param, tool_params
from ..stream.reading import Reading
from ..stream.resume import Break, ResumingStream
from ..stream.stream import ChatStream
from ..stream.structured import ParsedChatStream, parsed
from ..transport.answer import Answer
from ..transport.attempt import Request
from ..wire.lazy import Chunk
from ..wire.protocol import ChatProtocol, decode_completion
from ..wire.structs import ChatCompletion
from ..wire.think import ThinkProtocol, split_completion
from .call import Call
from .observers import RunState
from .retry import wait_to_resume
from .setup import Setup

__all__ = ["ChatCall", "ChatRequest"]

_PATH = "/chat/completions"


class ChatRequest(NamedTuple):
    """What is sent, and what becomes of the answer.

    `params` are what the gate weighs, `form` what the content is parsed into, `resume` how often the answer may be
    continued where it breaks off; with `split_think` its `<think>` block becomes reasoning.
    """

    sent: Request
    params: Mapping[str, Any]
    form: Form[Any] | None
    resume: int
    split_think: bool

    @classmethod
    def of(cls, setup: Setup, params: Mapping[str, Any], *, streaming: bool, response_format: Any) -> Self:
        """Make a request ready; raise InvalidRequestError that names what can't be sent."""
        form: Form[Any] | None = None
        if response_format is not None and is_type(response_format):
            form = form_of(response_format)
            response_format = form.response_format
        # A generator is read once, and a retry sends the same body, so tools are described here.
        if params.get("tools") is not None:
            params = {**params, "tools": tool_params(params["tools"])}
        if params.get("tool_choice") is not None:
            params = {**params, "tool_choice": choice_param(params["tool_choice"])}
        split_think = bool(params.get("split_think"))
        body = build_body(params, stream=streaming, response_format=response_format)
        resume = resume_attempts(params.get("resume"), body, streaming=streaming, split_think=split_think)
        sent = setup.request("POST", _PATH, params, body=body, streaming=streaming)
        return cls(sent, params, form, resume, split_think)

    def continued(self, broken: Break) -> Self | None:
        """Return the request that asks for what comes after a break; None if the answer had all its tokens."""
        assert isinstance(self.sent.body, bytes)
        body = continued_body(self.sent.body, broken.text, broken.tokens)
        if body is None:
            return None
        # What its prompt weighs at the gate.
        params = {**self.params, "prefix": f"{self.params.get('prefix') or ''}{broken.text}"}
        return self._replace(sent=msgspec.structs.replace(self.sent, body=body), params=params)


class ChatCall(Call):
    """One call of a chat request, with its continuations, whose attempts count too."""

    __slots__ = ("_request",)

    def __init__(
        self, setup: Setup, request: ChatRequest, *, patience: float | None = None, parent: RunState | None = None
    ) -> None:
        super().__init__(setup, request.sent, weighs=request.params, patience=patience, parent=parent)
        self._request = request

    async def whole(self) -> ChatCompletion:
        """Get the whole answer, over all attempts."""
        completion = await self.fetch(decode_completion)
        if self._request.split_think:
            split_completion(completion)
        if self._request.form is None:
            return completion
        try:
            return parsed(self._request.form, completion)
        except ParseError as error:
            error.attempts = self.attempts
            raise

    async def stream(self) -> ChatStream:
        """Open the stream, over all its attempts, and see to its continuation if that was asked for."""
        asked = self._request
        make: Callable[[Reading[Chunk], float], ChatStream] = ChatStream
        if asked.form is not None:
            make = functools.partial(ParsedChatStream, asked.form)
        elif asked.resume:
            make = functools.partial(
                ResumingStream,
                reopen=functools.partial(self._go_on, asked),
                allowed=asked.resume,
                attempts=lambda: self.attempts,
            )
        return await self.open(self._protocol, lambda reading, _: make(reading, self._sent.started_at))

    async def _go_on(self, asked: ChatRequest, broken: Break) -> ChatStream | None:
        """Open the continuation of a stream that broke off; None where none may be asked for."""
        setup, watch = self._setup, self._watch
        request = asked.continued(broken)
        if request is None or not await wait_to_resume(
            broken.attempt,
            broken.error,
            policy=setup.retry,
            budget=setup.budget,
            deadline=request.sent.deadline,
            told=None if watch is None else functools.partial(watch.retried, resumes=True),
        ):
            return None
        self._request, self._sent, self.passage.weighs = request, request.sent, request.params
        return await self.open(
            self._protocol, lambda reading, _: ChatStream(reading, self._sent.started_at), continues=True
        )

    def _protocol(self, answer: Answer) -> ChatProtocol:
        kind = ThinkProtocol if self._request.split_think else ChatProtocol
        return kind(self._setup.max_event_size, answer.mask)
