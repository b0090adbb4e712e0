"""Queues that make one turn of one task of an event, not two: the task that puts has others read in its place.

To a websocket, the task that takes reads upstream itself whenever it waits for an event. It gives that back as soon as
a frame takes the client longer: what comes is read on, and aborted, whatever the client's side is doing. A body of
server-sent events can't know how long its client takes, but is fed by its Broadcast, if it has one. Upstream's end and
failures are always told to the task that puts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any

from ..wire.events import ErrorEvent
from .frames import FrameQueue, Room

__all__ = ["LendingQueue", "ListeningQueue", "Steps"]


class _Lender(FrameQueue):
    """A FrameQueue into which what comes may be put by another than the task that puts."""

    _events: Any = None
    # What the task that puts waits for meanwhile.
    _lent: asyncio.Future[None] | None = None

    def events(self, upstream: Any) -> AsyncIterator[Any]:
        self._events = events = aiter(super().events(upstream))
        return events

    async def _lend(self) -> None:
        self._lent = self._loop.create_future()
        try:
            await self._lent
        finally:
            self._lent = None
        await self._room()

    def _give_back(self, error: BaseException | None = None) -> None:
        lent, self._lent = self._lent, None
        if lent is None or lent.done():
            return
        if isinstance(error, asyncio.CancelledError):
            lent.cancel()
        elif error is None or isinstance(error, StopAsyncIteration):
            # Whoever reads on meets the end again.
            lent.set_result(None)
        else:
            lent.set_exception(error)


class ListeningQueue(_Lender):
    """A FrameQueue into which a Broadcast puts its events as they come, for a reader that is there."""

    def put(self, event: Any, seq: int | None = None) -> Room | None:
        room = super().put(event, seq)
        return self._listen if room is None and hasattr(self._events, "listen") else room

    async def _listen(self) -> None:
        # Once this task waits, and what has come meanwhile has been put.
        self._loop.call_soon(self._pull)
        await self._lend()

    def _pull(self) -> None:
        events = self._events
        if self._lent is None or self._lent.done():
            return
        try:
            while (parts := events.ready()) is not None:
                if super().put(parts, events.seq) is not None:
                    self._give_back()
                    return
        except Exception as error:
            self._give_back(error)
        else:
            events.listen(self._pull)


class LendingQueue(_Lender):
    """A FrameQueue for one task that takes texts by `next()` and says with `pause()` that it has to wait."""

    # The task that takes, and whether it reads upstream at the moment.
    reader: asyncio.Task[Any] | None = None
    _reads = False
    _recalled = False
    # Whether the task that takes waits for a frame and would read.
    _would_read = False
    # How many events had come when it last had to wait.
    _seen = 0

    def put(self, event: Any, seq: int | None = None) -> Room | None:
        room = super().put(event, seq)
        return self._lend if self._would_read and self._frames else room

    async def next(self) -> str | None:
        """Return the text of the next frame; None where none will come."""
        while True:
            while not self._frames and self._lent is not None and not self._lent.done():
                if (text := await self._read()) is not None:
                    return text
            self._would_read = not self._smooth and not self._comes_in_bulk()
            await self.wait()
            self._would_read = False
            frame = self.take()
            if frame is None:
                return None
            # Websockets have no such frame.
            if not frame.is_closing:
                return frame.part.told(self._number(frame.seq if frame.resumable else None))

    def pause(self, *, sending: bool) -> None:
        """The task that takes has to wait, for its client if `sending`."""
        self._seen = self._count
        if sending:
            self._give_back()

    def recall(self) -> asyncio.Task[Any] | None:
        # What stops itself is not waiting, and finds that nothing is lent any more.
        if not self._reads or self.reader is asyncio.current_task():
            return None
        self._recalled = True
        return self.reader

    def close(self, error: ErrorEvent | None) -> None:
        super().close(error)
        if (reader := self.recall()) is not None:
            reader.cancel()

    async def _read(self) -> str | None:
        """Read an event; return its text if that is one frame. Where it is several, they go into the queue."""
        events = self._events
        self._reads = True
        try:
            parts = self._mapping.feed(await anext(events))
        except asyncio.CancelledError as error:
            self._give_back(error)
            # It is upstream that was meant, unless this task was cancelled too.
            if not self._recalled or (self.reader is not None and self.reader.uncancel()):
                raise
            return None
        except Exception as error:
            self._give_back(error)
            return None
        finally:
            self._reads = False
        self._count += 1
        if self._comes_in_bulk():
            self._give_back()
        seq: int | None = getattr(events, "seq", None)
        if len(parts) == 1:
            text: str = parts[0].told(self._number(seq))
            return text
        self._add(parts, seq)
        return None

    def _number(self, seq: int | None) -> int | None:
        return seq if self._dialect.is_numbered else None

    def _comes_in_bulk(self) -> bool:
        """Whether more came at once than there is room for: that is to be merged, and not sent as it is read."""
        return self._count - self._seen >= self._most


class Steps(Generator[Any, Any, None]):
    """Awaits a coroutine, and calls back each time that it has to wait, before it does."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits: Callable[[], None]) -> None:
        self._coroutine = coroutine
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, None]:
        return self

    def send(self, value: Any) -> Any:
        awaited = self._coroutine.send(value)
        self._waits()
        return awaited

    def throw(self, *error: Any) -> Any:
        awaited = self._coroutine.throw(*error)
        self._waits()
        return awaited
