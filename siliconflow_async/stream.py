"""One open answer as an async iterator of chunks.

    async with client.chat.completions.stream(…) as stream:
        async for chunk in stream: …
        done = await stream.completion()

A stream knows how it ended (`ended`) and what it held (`partial`), and gives out every chunk that had reached this
machine before it raises. Leaving it in any way closes its connection at once, and a forgotten stream closes its own:
nothing here forms a reference cycle, so the last reference is really the last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import copy
from functools import partial
from operator import length_hint
from types import TracebackType
from typing import Literal, Self, TypeAlias

from .errors import (
    APIStatusError,
    APITimeoutError,
    BusyError,
    ClosedError,
    EventTooLargeError,
    MalformedStreamError,
    SiliconFlowError,
    StreamError,
    TruncatedStreamError,
)
from .loops import on_any_loop, on_loop
from .timeouts import Timeouts
from .transport.answer import Answer
from .transport.body import Body, BodyBroken
from .transport.clock import ClockExpired, StreamClock
from .views import EventIterator, StreamWatcher, TextIterator, Uncopyable
from .wire.accumulate import Accumulator, has_progress
from .wire.protocol import ChatProtocol
from .wire.structs import ChatCompletion, ChatCompletionChunk, Timing
from .wire.think import ThinkProtocol

__all__ = ["ChatStream", "Ended", "first_chunk"]

Ended: TypeAlias = Literal["done", "finish", "truncated", "error", "malformed", "too_large", "timeout", "closed"]

_ENDED_BY: dict[type[SiliconFlowError], Ended] = {
    APITimeoutError: "timeout",
    TruncatedStreamError: "truncated",
    MalformedStreamError: "malformed",
    EventTooLargeError: "too_large",
}

# After `[DONE]` the last bytes of the HTTP body may lag: reading them lets the connection serve again.
_DRAIN_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.05


class ChatStream(Uncopyable):
    """An open answer: iterate it for chunks, or use `text()`, `events()` or `completion()`.

    `ended` is None while it is open, then "done" (`[DONE]` came), "finish" (it ended without, every choice finished),
    "truncated", "error", "malformed", "too_large", "timeout" or "closed". `trace_id` is what SiliconFlow's support asks
    for.
    """

    __slots__ = (
        "__weakref__",
        "_accumulator",
        "_answer",
        "_attempts",
        "_batch",
        "_body",
        "_clock",
        "_end",
        "_error",
        "_first_token_at",
        "_protocol",
        "_reading",
        "_ready",
        "_started_at",
        "_timeouts",
        "_total",
        "_watcher",
        "ended",
        "loop",
        "trace_id",
    )

    def __init__(
        self,
        answer: Answer,
        clock: StreamClock,
        *,
        timeouts: Timeouts,
        started_at: float,
        max_event_size: int,
        split_think: bool = False,
        watcher: StreamWatcher | None = None,
        attempts: int = 1,
    ) -> None:
        self.loop = answer.loop
        self.ended: Ended | None = None
        self.trace_id = answer.trace_id
        self._answer = answer
        self._body = answer.body
        self._clock = clock
        self._watcher = watcher
        self._attempts = attempts
        self._timeouts = timeouts
        self._started_at = started_at
        self._first_token_at: float | None = None
        self._total: float | None = None
        self._protocol = (ThinkProtocol if split_think else ChatProtocol)(max_event_size, answer.mask)
        self._accumulator = Accumulator()
        # The chunks of the last read that are not folded yet, and those of them that are still to be given out.
        self._batch: list[ChatCompletionChunk] = []
        self._ready: Iterator[ChatCompletionChunk] = iter(())
        self._reading = False
        # What ended the body: b"" for its end, or the exception.
        self._end: bytes | BodyBroken | ClockExpired | None = None
        self._error: SiliconFlowError | None = None

    def __repr__(self) -> str:
        return f"<ChatStream {self.ended or 'open'} trace_id={self.trace_id!r}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        for chunk in self._ready:
            return chunk
        if await self._fill():
            return next(self._ready)
        raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        # Not there if __init__ failed.
        body = getattr(self, "_body", None)
        if body is None or self.ended is not None:
            return
        watcher = self._watcher
        if not on_loop(self.loop, partial(_leave, self._clock, body, watcher)) and watcher is not None:
            # Its connection has gone with its loop; its place at the gate belongs to no loop.
            on_any_loop(watcher.end)

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers under lower-case names."""
        return self._answer.headers

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: the chunks given out; all that had arrived, once the stream has ended."""
        self._fold()
        answer = self._accumulator.completion()
        answer.headers = self.headers
        answer.trace_id = self.trace_id
        answer.timing = self.timing
        return answer

    @property
    def timing(self) -> Timing:
        """Seconds from the call to the first token and to the end, None for what has not come; requests made for it."""
        first = self._first_token_at
        return Timing(first - self._started_at if first is not None else None, self._total, self._attempts)

    def text(self) -> TextIterator:
        """Iterate the content of choice 0, piece by piece, empty pieces left out."""
        return TextIterator(self)

    def events(self) -> EventIterator:
        """Iterate typed events, from `Started` to `Finished`; see `wire.events`."""
        return EventIterator(self)

    async def completion(self) -> ChatCompletion:
        """Read what is left and return the whole answer; raise as iterating would."""
        self._ready = iter(())
        while await self._fill():
            self._ready = iter(())
        return self.partial

    async def aclose(self) -> None:
        """Close the connection at once. What had arrived stays in `partial`; further reading raises ClosedError."""
        self.abort()

    async def close(self) -> None:
        """`aclose()`, as the openai package names it."""
        self.abort()

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        if self.ended is not None:
            return
        self._fold()
        complete = self._accumulator.finished
        if self._end is None and not self._reading:
            self._batch += self._protocol.feed(self._body.take_buffered()) + self._protocol.cut_short()
        self._ready = iter(())
        self._conclude("finish" if complete else "closed")

    async def _fill(self) -> bool:
        """Wait for more chunks, once all that were ready are given out; False at a good end, raise at any other."""
        if self.ended is not None:
            return self._ended_before()
        if self._reading:
            raise BusyError("another task is waiting for this stream")
        self._reading = True
        self._fold()
        protocol = self._protocol
        try:
            while True:
                if protocol.failure is not None:
                    raise self._failed(protocol.failure)
                if protocol.done:
                    await self._finish_body()
                    return False
                if self._end is not None:
                    self._judge_end(self._end)
                    return False
                try:
                    data = await self._body.read()
                except (BodyBroken, ClockExpired) as end:
                    if self.ended is not None:
                        raise self._counted(ClosedError("the stream was closed while it was being read")) from None
                    self._end = self._answer.mask.clean(end)
                    chunks = protocol.cut_short()
                else:
                    if data:
                        chunks = protocol.feed(data)
                    else:
                        self._end = data
                        chunks = protocol.eof()
                if chunks:
                    self._clock.wait_ends()
                    if self._first_token_at is None and has_progress(chunks):
                        self._first_token_at = self._clock.first_token()
                        if self._watcher is not None:
                            self._watcher.first_token(self._first_token_at)
                    self._batch = chunks
                    self._ready = iter(chunks)
                    return True
        except asyncio.CancelledError:
            self._reading = False
            self.abort()
            raise
        except SiliconFlowError:
            data = b""  # a traceback shows this frame, and what was read may quote the key
            raise
        finally:
            self._reading = False

    async def _finish_body(self) -> None:
        try:
            await self._body.drain(_DRAIN_BYTES, _DRAIN_SECONDS)
        finally:
            self._conclude("done")

    def _judge_end(self, end: bytes | BodyBroken | ClockExpired) -> None:
        """Decide what an end without `[DONE]` means."""
        # Kept here, it would hold the frames that hold this stream.
        self._end = b""
        if self._accumulator.finished or self._protocol.whole:
            self._conclude("finish")
            return
        # Raised without a name here: its traceback holds this frame, and a name would close the circle.
        raise self._broken(end) from (end if isinstance(end, Exception) else None)

    def _broken(self, end: bytes | BodyBroken | ClockExpired) -> SiliconFlowError:
        if isinstance(end, ClockExpired):
            seconds = self._timeouts.limit(end.clock, streaming=True)
            return self._failed(APITimeoutError(clock=end.clock, seconds=seconds))
        why = str(end) if isinstance(end, BodyBroken) else None
        return self._failed(self._protocol.cut_off(why, begun=self._accumulator.begun))

    def _failed(self, failure: StreamError | APIStatusError | APITimeoutError) -> SiliconFlowError:
        """End with a failure, completed by what only the stream knows."""
        # Raised, it would hold the frames that hold this stream: the protocol keeps none, the stream a copy.
        self._protocol.failure = None
        self._conclude(_ENDED_BY.get(type(failure), "error"))
        if isinstance(failure, APIStatusError):
            failure.headers = self.headers
        else:
            failure.partial = self.partial
            failure.trace_id = self.trace_id
        if self._watcher is not None:
            self._watcher.fail(failure)
        self._error = copy(failure)
        return self._counted(failure)

    def _ended_before(self) -> bool:
        if self._error is not None:
            raise self._counted(copy(self._error))
        if self.ended == "closed":
            raise self._counted(ClosedError("the stream is closed"))
        return False

    def _counted(self, error: SiliconFlowError) -> SiliconFlowError:
        """Return an error that says how many requests were made for this answer."""
        error.attempts = self._attempts
        return error

    def _conclude(self, ended: Ended) -> None:
        self._fold()
        self.ended = ended
        self._total = self.loop.time() - self._started_at
        self._clock.stop()
        self._body.abort()
        if self._watcher is not None:
            self._watcher.end()

    def _fold(self) -> None:
        """Fold the chunks that were given out since the last time."""
        given = self._batch
        if left := length_hint(self._ready):
            given, self._batch = given[:-left], given[-left:]
        else:
            # Not kept while waiting, perhaps for long and beside thousands of others.
            self._batch = []
        if given:
            try:
                if self._accumulator.fold(given):
                    self._clock.waited = 0.0
            except MalformedStreamError as error:
                self._protocol.failure = error.with_traceback(None)  # which would hold this stream in a cycle
            if self._watcher is not None:
                self._watcher.progress(len(given), self._accumulator.usage)


def _leave(clock: StreamClock, body: Body, watcher: StreamWatcher | None) -> None:
    """Leave what a forgotten stream was reading."""
    clock.stop()
    body.abort()
    if watcher is not None:
        watcher.end()


async def first_chunk(stream: ChatStream) -> ChatStream:
    """Return the stream once its first chunk is there, or it has ended well without one; raise as reading would."""
    await stream._fill()
    return stream
