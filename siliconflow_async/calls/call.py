"""One call over all its attempts: let through its model's gate, sent, sent again, continued."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..errors import APITimeoutError, SiliconFlowError
from ..stream.reading import Reading
from ..stream.resume import Break, ResumingStream
from ..stream.stream import ChatStream, first_chunk
from ..stream.structured import ParsedChatStream, parsed
from ..wire.protocol import decode_completion
from ..wire.structs import ChatCompletion, Timing
from ..wire.think import split_completion
from .passage import Admission, Passage
from .prepared import ChatRequest
from .retry import wait_to_resume
from .service import Service

T = TypeVar("T", ChatCompletion, ChatStream)

__all__ = ["Call"]


class Call:
    """One call of a chat request; each attempt passes the gate of its `passage`.

    `attempts` is how often it was sent, continuations included, which every answer and error of it tells. With
    `patience`, in seconds, an outage is waited out.
    """

    __slots__ = ("_request", "_service", "attempts", "passage")

    def __init__(self, service: Service, request: ChatRequest, *, patience: float | None = None) -> None:
        self._service = service
        self._request = request
        self.passage = Passage(service.limits, request.params["model"], patience)
        self.attempts = 0

    async def stream(self) -> ChatStream:
        """Open the stream, over all its attempts, and see to its continuation if that was asked for."""
        asked = self._request
        make: Callable[[Reading, float], ChatStream] = ChatStream
        if asked.form is not None:
            make = functools.partial(ParsedChatStream, asked.form)
        elif asked.resume:
            make = functools.partial(
                ResumingStream,
                reopen=functools.partial(self._go_on, asked),
                allowed=asked.resume,
                attempts=lambda: self.attempts,
            )
        return await self._retried(functools.partial(self._open, make))

    async def whole(self) -> ChatCompletion:
        """Get the whole answer, over all attempts."""
        return await self._retried(self._fetch)

    async def _go_on(self, asked: ChatRequest, broken: Break) -> ChatStream | None:
        """Open the continuation of a stream that broke off; None where none may be asked for."""
        service = self._service
        request = asked.continued(broken)
        if request is None or not await wait_to_resume(
            broken.attempt,
            broken.error,
            policy=service.retry,
            budget=service.budget,
            deadline=request.sent.deadline,
            rng=service.rng,
        ):
            return None
        self._request = request
        return await self._retried(functools.partial(self._open, ChatStream))

    async def _retried(self, attempt: Callable[[Admission | None], Awaitable[T]]) -> T:
        service = self._service
        try:
            return await service.retried(
                functools.partial(self._let_through, attempt),
                self._request.sent,
                shared=self.passage.shared if self.passage.is_patient else None,
            )
        except SiliconFlowError as error:
            # Not those of this round of retries alone, nor one that ended at the gate.
            error.attempts = self.attempts
            raise

    async def _let_through(self, attempt: Callable[[Admission | None], Awaitable[T]]) -> T:
        sent = self._request.sent
        try:
            admission = await self.passage.enter(self._request.params, again=self.attempts > 0, deadline=sent.deadline)
        except TimeoutError as error:
            total = sent.timeouts.total_for(streaming=sent.streaming)
            raise APITimeoutError(clock="total", seconds=total) from error
        self.attempts += 1
        if admission is None:
            return await attempt(None)
        try:
            return await attempt(admission)
        except BaseException as error:
            admission.ended(error)
            raise

    async def _open(self, make: Callable[[Reading, float], ChatStream], admission: Admission | None) -> ChatStream:
        """Open the stream that `make` makes of a reading, up to its first chunk."""
        asked = self._request
        sent = asked.sent
        transport = self._service.transport
        answer = await transport.open(sent)
        if admission is not None:
            admission.answered(answer.sent_at)
        reading = Reading(
            answer,
            timeouts=sent.timeouts,
            deadline=sent.deadline,
            max_event_size=self._service.max_event_size,
            split_think=asked.split_think,
            observer=admission,
            attempts=self.attempts,
        )
        stream = make(reading, sent.started_at)
        transport.pool.track(stream)
        return await first_chunk(stream)

    async def _fetch(self, admission: Admission | None) -> ChatCompletion:
        asked = self._request
        service = self._service
        answer, completion = await service.transport.fetch(asked.sent, service.max_body_size, decode_completion)
        if asked.split_think:
            split_completion(completion)
        if admission is not None:
            admission.answered(answer.sent_at)
            admission.first_token(None)
            admission.progress(0, completion.usage)
            admission.ended(None)
        completion.timing = Timing(total=answer.loop.time() - asked.sent.started_at, attempts=self.attempts)
        return completion if asked.form is None else parsed(asked.form, completion)
