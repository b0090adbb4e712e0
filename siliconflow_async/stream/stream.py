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
from typing import Self

from ..wire.accumulate import Accumulator
from ..wire.events import Event, EventBuilder
from ..wire.lazy import Chunk, whole
from ..wire.structs import ChatCompletion, ChatCompletionChunk
from .folded import FoldedStream
from .opened import Uncopyable
from .reading import Reading

__all__ = ["ChatStream", "EventIterator", "TextIterator", "Uncopyable"]


class ChatStream(FoldedStream[Chunk, ChatCompletionChunk, ChatCompletion]):
    """An open answer: iterate it for chunks, or use `text()`, `events()` or `completion()`.

    `ended` is None while it is open, then "done" (`[DONE]` came), "finish" (it ended without, every choice finished),
    "truncated", "error", "malformed", "too_large", "timeout" or "closed". `trace_id` is what SiliconFlow's support asks
    for.
    """

    __slots__ = ()

    _accumulator: Accumulator

    def __init__(self, reading: Reading[Chunk], started_at: float) -> None:
        super().__init__(reading, started_at, Accumulator())

    def text(self) -> TextIterator:
        """Iterate the content of choice 0, piece by piece, empty pieces left out."""
        return TextIterator(self)

    def events(self) -> EventIterator:
        """Iterate typed events, from `Started` to `Finished`; see `wire.events`."""
        return EventIterator(self)

    async def get_final_completion(self) -> ChatCompletion:
        """`completion()`, as the openai package names it."""
        return await self.completion()

    @property
    def _may_be_lazy(self) -> bool:  # type: ignore[override]  # the base's never changes
        return self._accumulator.headed

    def _take(self, found: list[Chunk], lazily: bool) -> None:
        super()._take(found, lazily)
        if lazily:
            # Another way to the same chunks: whichever is taken, the other has moved on too.
            self._ready = map(whole, self._rest)


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
