"""One open answer as an async iterator of chunks.

    async with client.chat.completions.stream(…) as stream:
        async for chunk in stream: …
        done = await stream.completion()

A stream knows how it ended (`ended`) and what it held (`partial`), and gives out every chunk that had reached this
machine before it raises. Leaving it in any way closes its connection at once, and a forgotten stream closes its own:
nothing here forms a reference cycle, so the last reference is really the last.

Its text and its events are class iterators, not async generators: one that is dropped half-way leaves nothing to clean
up but the stream itself. They take chunks from the stream's own iterator, which costs no second await for each and
keeps `partial` in step.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import length_hint
from typing import Any, Self

from ..errors import (
    MalformedStreamError,
)
from ..wire.accumulate import Accumulator
from ..wire.events import Event, EventBuilder
from ..wire.lazy import Chunk, whole
from ..wire.structs import ChatCompletion, ChatCompletionChunk, Timing
from .opened import OpenAnswer, Uncopyable
from .reading import End, Reading

__all__ = ["ChatStream", "EventIterator", "TextIterator", "Uncopyable", "first_chunk"]

_NOTHING: Iterator[Any] = iter(())


class ChatStream(OpenAnswer[Chunk]):
    """An open answer: iterate it for chunks, or use `text()`, `events()` or `completion()`.

    `ended` is None while it is open, then "done" (`[DONE]` came), "finish" (it ended without, every choice finished),
    "truncated", "error", "malformed", "too_large", "timeout" or "closed". `trace_id` is what SiliconFlow's support asks
    for.
    """

    __slots__ = ("_accumulator", "_batch", "_first_token_at", "_ready", "_rest", "_started_at")

    def __init__(self, reading: Reading[Chunk], started_at: float) -> None:
        super().__init__(reading)
        self._started_at = started_at
        self._first_token_at: float | None = None
        self._accumulator = Accumulator()
        # The chunks of the last read that are not folded yet. Those of them that are still to be given out: as they
        # came, for texts and events, and whole, for who iterates the stream itself.
        self._batch: list[Chunk] = []
        self._rest: Iterator[Chunk] = _NOTHING
        self._ready: Iterator[ChatCompletionChunk] = _NOTHING

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        for chunk in self._ready:
            return chunk
        if await self._fill():
            return next(self._ready)
        raise StopAsyncIteration

    @property
    def partial(self) -> ChatCompletion:
        """The answer so far: the chunks given out; all that had arrived, once the stream has ended."""
        self._settle()
        answer = self._accumulator.completion()
        answer.headers = self.headers
        answer.trace_id = self.trace_id
        answer.timing = self.timing
        return answer

    @property
    def timing(self) -> Timing:
        """Seconds from the call to the first token and to the end, None for what has not come; requests made for it."""
        first, end, started_at = self._first_token_at, self._end, self._started_at
        return Timing(
            None if first is None else first - started_at,
            None if end is None else end.at - started_at,
            self._reading.attempts,
        )

    def text(self) -> TextIterator:
        """Iterate the content of choice 0, piece by piece, empty pieces left out."""
        return TextIterator(self)

    def events(self) -> EventIterator:
        """Iterate typed events, from `Started` to `Finished`; see `wire.events`."""
        return EventIterator(self)

    async def completion(self) -> ChatCompletion:
        """Read what is left and return the whole answer; raise as iterating would."""
        self._ready = self._rest = _NOTHING
        while await self._fill(True):
            self._ready = self._rest = _NOTHING
        return self.partial

    async def get_final_completion(self) -> ChatCompletion:
        """`completion()`, as the openai package names it."""
        return await self.completion()

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        if self._end is not None:
            return
        self._settle()
        complete = self._accumulator.finished
        if not self._busy:
            self._batch += self._reading.arrived()
        self._ready = self._rest = _NOTHING
        self._conclude("finish" if complete else "closed")

    def release(self) -> tuple[Reading[Chunk], list[Chunk], End | None]:
        """Give up the reading, what it has brought and how it ended, for another stream to go on with."""
        end, self._end = self._end, End("closed", self.loop.time())
        return self._reading, self._batch, end

    @property
    def _may_be_lazy(self) -> bool:  # type: ignore[override]  # the base's never changes
        return self._accumulator.headed

    @property
    def _finished(self) -> bool:  # type: ignore[override]
        return self._accumulator.finished

    @property
    def _begun(self) -> bool:  # type: ignore[override]
        return self._accumulator.begun

    def _take(self, found: list[Chunk], lazily: bool) -> None:
        if self._first_token_at is None:
            self._first_token_at = self._reading.first_token_at
        self._batch = found
        rest: Iterator[Any] = iter(found)
        self._rest = rest
        # Another way to the same chunks: whichever is taken, the other has moved on too.
        self._ready = map(whole, rest) if lazily else rest

    def _so_far(self) -> ChatCompletion:
        return self.partial

    def _settle(self) -> None:
        """Fold the chunks that were given out since the last time."""
        given = self._batch
        if left := length_hint(self._rest):
            given, self._batch = given[:-left], given[-left:]
        else:
            # Not kept while waiting, perhaps for long and beside thousands of others.
            self._batch = []
        if given:
            reading = self._reading
            try:
                if self._accumulator.fold(given):
                    reading.clock.waited = 0.0
            except MalformedStreamError as error:
                reading.spoil(error)
            if reading.observer is not None:
                reading.observer.progress(len(given), self._accumulator.usage)


async def first_chunk(stream: ChatStream) -> ChatStream:
    """Return the stream once its first chunk is there, or it has ended well without one; raise as reading would."""
    await stream._fill()
    return stream


class TextIterator(Uncopyable):
    """The content of choice 0 as it comes; made by `ChatStream.text()`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        stream = self._stream
        while True:
            for chunk in stream._rest:
                for choice in chunk.choices:
                    if choice.index == 0 and choice.delta.content:
                        return choice.delta.content
            if not await stream._fill(True):
                raise StopAsyncIteration


class EventIterator(Uncopyable):
    """Typed events as they come; made by `ChatStream.events()`."""

    __slots__ = ("_builder", "_finished", "_pending", "_stream")

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self._builder = EventBuilder()
        self._pending: Iterator[Event] = iter(())
        self._finished = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        for event in self._pending:
            return event
        stream = self._stream
        while not self._finished:
            for chunk in stream._rest:
                events = self._builder.feed(chunk)
                if events:
                    if len(events) > 1:
                        self._pending = iter(events[1:])
                    return events[0]
            if not await stream._fill(True):
                self._finished = True
                self._pending = iter(self._builder.finish(stream.partial.usage))
                return await self.__anext__()
        raise StopAsyncIteration
