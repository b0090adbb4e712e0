"""Other ways to read a stream: its text, its events, and the `async with` that opens and closes it.

Class iterators, not async generators: one that is dropped half-way leaves nothing to clean up but the stream itself.
They take chunks from the stream's own iterator, which costs no second await for each and keeps `partial` in step.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol, Self, SupportsIndex

from .errors import BusyError, SiliconFlowError
from .wire.events import Event, EventBuilder
from .wire.structs import Usage

if TYPE_CHECKING:
    from .stream import ChatStream

__all__ = ["ChatStreamManager", "EventIterator", "StreamWatcher", "TextIterator", "Uncopyable"]


class Uncopyable:
    """One open connection: a copy of it would close it when it goes."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can't be copied or pickled; the stream's `partial` can")


class StreamWatcher(Protocol):
    """Who wants to know how an answer comes along: the ticket of its model's gate."""

    def first_token(self, at: float) -> None: ...
    def progress(self, chunks: int, usage: Usage | None) -> None: ...
    def fail(self, error: SiliconFlowError) -> None: ...
    def end(self) -> None: ...


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
            for chunk in stream._ready:
                for choice in chunk.choices:
                    if choice.index == 0 and choice.delta.content:
                        return choice.delta.content
            if not await stream._fill():
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
            for chunk in stream._ready:
                events = self._builder.feed(chunk)
                if events:
                    if len(events) > 1:
                        self._pending = iter(events[1:])
                    return events[0]
            if not await stream._fill():
                self._finished = True
                self._pending = iter(self._builder.finish(stream.partial.usage))
                return await self.__anext__()
        raise StopAsyncIteration


class ChatStreamManager:
    """What `stream(…)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ("_open", "_stream")

    def __init__(self, opener: Callable[[], Awaitable[ChatStream]]) -> None:
        self._open: Callable[[], Awaitable[ChatStream]] | None = opener
        self._stream: ChatStream | None = None

    def __repr__(self) -> str:
        state = "not entered: use `async with`" if self._open is not None else f"entered: {self._stream}"
        return f"<{type(self).__name__} {state}>"

    def _misused(self) -> None:
        raise TypeError(
            "`async with … .stream(…) as stream:` opens a stream, which can then be iterated; "
            "what can be awaited is `create(…, stream=True)`"
        )

    # None, as which no type checker lets them pass.
    __await__ = __aiter__ = __iter__ = _misused

    async def __aenter__(self) -> ChatStream:
        if self._open is None:
            raise BusyError("this stream was opened before; call stream(…) again")
        # With it goes the request, which an open stream has no more use for.
        opener, self._open = self._open, None
        self._stream = await opener()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.abort()
