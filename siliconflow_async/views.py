"""Other ways to read a stream: its text, its events, and the `async with` that opens and closes it.

Class iterators, not async generators: one that is dropped half-way leaves nothing to clean up but the stream itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from .errors import BusyError
from .wire.events import Event, EventBuilder

if TYPE_CHECKING:
    from .stream import ChatStream

__all__ = ["ChatStreamManager", "EventIterator", "TextIterator"]


class TextIterator:
    """The content of choice 0 as it comes; made by `ChatStream.text()`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        while True:
            text = (await self._stream.__anext__()).content
            if text:
                return text


class EventIterator:
    """Typed events as they come; made by `ChatStream.events()`."""

    __slots__ = ("_builder", "_finished", "_pending", "_stream")

    def __init__(self, stream: ChatStream) -> None:
        self._stream = stream
        self._builder = EventBuilder()
        # Reversed, so that the next one is popped from the end.
        self._pending: list[Event] = []
        self._finished = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._pending:
            if self._finished:
                raise StopAsyncIteration
            try:
                events = self._builder.feed(await self._stream.__anext__())
            except StopAsyncIteration:
                self._finished = True
                events = self._builder.finish(self._stream.partial.usage)
            self._pending = events[::-1]
        return self._pending.pop()


class ChatStreamManager:
    """What `stream(…)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ("_open", "_stream")

    def __init__(self, opener: Callable[[], Awaitable[ChatStream]]) -> None:
        self._open = opener
        self._stream: ChatStream | None = None

    async def __aenter__(self) -> ChatStream:
        if self._stream is not None:
            raise BusyError("this stream was opened before; call stream(…) again")
        self._stream = await self._open()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.abort()
