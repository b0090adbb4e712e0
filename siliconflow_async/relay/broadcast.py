"""`Broadcast`: one answer for any number of readers, each of which may leave and come back.

Upstream is read once and never waits for a reader. The latest events are kept, numbered from 1; a reader that asks for
one that is no longer there, or falls behind, gets a `Snapshot` of the answer so far in their place; where tools are
run, whose answers are several, it gets them joined.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

from ..errors import BusyError, ClosedError
from ..loops import on_loop
from ..wire.events import ErrorEvent, Snapshot, error_event
from ..wire.structs import ChatCompletion
from .frames import BUFFER_BYTES, check_seconds
from .kept import Kept
from .protocols.ours import TEXTS, Events, EventsMapping
from .protocols.part import AnyEvent, Dialect, Part
from .pump import Describe, OnFinish, Pump, Source
from .views import View

__all__ = ["Broadcast", "Reader"]


class Broadcast:
    """Reads `stream` from now on, for readers to come; to be made in the event loop that will read it.

    stream: an open ChatStream, or what `stream(…)` returns.
    buffer: how many events are kept for readers that are behind or come back.
    buffer_bytes: how many bytes of memory they may take, roughly; the latest event is kept whatever its size. Those
        that are no longer kept are joined, for readers in a protocol that knows no snapshot: little more than the text.
    grace: seconds without a reader, from the beginning too, after which upstream is aborted; None: it is read to its
        end in any case.
    describe, on_finish: as for `relay`; on_finish is called once, when upstream has ended or was stopped.

    Raises ConfigurationError for an argument that can't be.
    """

    def __init__(
        self,
        stream: Source,
        *,
        buffer: int = 1024,
        buffer_bytes: int = BUFFER_BYTES,
        grace: float | None = 10.0,
        describe: Describe = error_event,
        on_finish: OnFinish | None = None,
    ) -> None:
        self._grace = None if grace is None else check_seconds(grace, "grace")
        self._kept = Kept(buffer, buffer_bytes)
        self._pump = Pump(stream, self._kept, describe=describe, on_finish=on_finish)
        self._reading = self._pump.task
        self._readers = 0
        self._timer: asyncio.TimerHandle | None = None
        # For as long as someone reads them. A client can name what a dialect is made of, so their number has no bound.
        self._views: WeakValueDictionary[Dialect, View] = WeakValueDictionary()
        self._count(0)

    def __repr__(self) -> str:
        return f"<Broadcast {'ended' if self.ended else 'open'} readers={self._readers} events={self._kept.last}>"

    @property
    def readers(self) -> int:
        """How many there are now."""
        return self._readers

    @property
    def ended(self) -> bool:
        """Whether upstream is read no more; readers may still be taking what came."""
        return self._kept.closed

    @property
    def partial(self) -> ChatCompletion | None:
        """The answer so far; None while the stream is being opened, and if it never was."""
        return self._pump.partial

    @property
    def error(self) -> Exception | None:
        """Why the answer is not whole, once it has ended; None where it is, and where it was stopped."""
        return self._pump.error

    def reader(self, last_event_id: str | int | None = None) -> Reader:
        """Return a new reader, which begins after the event of that id, or at the beginning if there is no such event.

        last_event_id: `seq` of the last frame, or the header `Last-Event-ID`, as the client sent it.
        """
        after = _number(last_event_id)
        reader = Reader(self, after if after <= self._kept.last else 0)
        self._count(1)
        return reader

    def stop(self) -> None:
        """Abort upstream; readers get what had arrived, and then an `error` event of a ClosedError."""
        if self._timer is not None:
            self._timer.cancel()
        self._pump.stop()

    async def aclose(self) -> None:
        """`stop()`, and wait until `on_finish` has saved what had arrived."""
        self.stop()
        await asyncio.wait([self._reading])

    def _view(self, dialect: Dialect) -> View:
        view = self._views.get(dialect)
        if view is None:
            view = self._views[dialect] = View(self._kept, dialect)
        return view

    def _count(self, more: int) -> None:
        """Note that there are so many readers more; stop in time if there is none."""
        self._readers += more
        if self._timer is not None:
            self._timer.cancel()
        if not self._readers and self._grace is not None and not self.ended:
            self._timer = self._pump.loop.call_later(self._grace, self.stop)


class Reader:
    """One reader of a Broadcast: iterate it for events, or give it to `relay` or `sse_response` as the stream.

    `seq` is the number of the event that was given out last. It leaves on `abort()`, at the end of `async with`, and
    with its last reference.
    """

    __slots__ = ("__weakref__", "_broadcast", "_has_left", "_waiting", "seq")

    def __init__(self, broadcast: Broadcast, seq: int) -> None:
        self._broadcast = broadcast
        self._has_left = False
        self._waiting = False
        self.seq = seq

    @property
    def partial(self) -> ChatCompletion | None:
        """The answer so far, whatever of it this reader has taken."""
        return self._broadcast.partial

    @property
    def at_end(self) -> bool:
        """Whether there is nothing left to read, now and later."""
        kept = self._broadcast._kept
        return kept.closed and self.seq >= kept.last

    def events(self) -> Self:
        return self

    def parts(self, dialect: Dialect) -> PartReader | EventReader:
        """Return what gives the parts of a protocol in place of the events, shared with all who read it so."""
        return EventReader(self) if isinstance(dialect, Events) else PartReader(self, self._broadcast._view(dialect))

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AnyEvent:
        return self._next(await self._more())

    async def _more(self) -> Kept:
        """Wait until there is an event to take; raise StopAsyncIteration where none will come."""
        if self._waiting:
            raise BusyError("another task is waiting for this reader")
        kept = self._broadcast._kept
        while self._has_left or self.seq >= kept.last:
            self._raise_end(kept)
            self._waiting = True
            try:
                await kept.more()
            finally:
                self._waiting = False
        return kept

    def _raise_end(self, kept: Kept) -> None:
        """Raise if it has left, or no event will come after those that it has taken."""
        if self._has_left:
            raise ClosedError("this reader has left")
        if kept.closed and self.seq >= kept.last:
            raise StopAsyncIteration

    def _next(self, kept: Kept) -> AnyEvent:
        event = kept.after(self.seq)
        if event is not None:
            self.seq += 1
            return event
        if kept.in_rounds:
            # A snapshot has but the answer of the last one.
            event, self.seq = kept.history.following(self.seq)
            return event
        self.seq = kept.told
        partial = self._broadcast.partial
        return Snapshot(partial.to_dict() if partial is not None else {})

    def abort(self) -> None:
        """Leave."""
        if not self._has_left:
            self._has_left = True
            self._broadcast._count(-1)
            self._broadcast._kept.wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        # Nobody waits for it any more, so there is nobody to wake.
        if not getattr(self, "_has_left", True):
            on_loop(self._broadcast._pump.loop, partial(self._broadcast._count, -1))


class _Parts(ABC):
    """One reader, in one protocol: iterate it for the parts of an event at a time; `end` has those after the last."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._kept = reader._broadcast._kept

    @property
    def seq(self) -> int:
        return self._reader.seq

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Part]:
        await self._reader._more()
        return self._next()

    def ready(self) -> list[Part] | None:
        """Return what `__anext__` would, None where it would wait."""
        reader = self._reader
        reader._waiting = False
        reader._raise_end(self._kept)
        return self._next() if reader.seq < self._kept.last else None

    def listen(self, callback: Callable[[], object]) -> None:
        """Call back, once, when that may have changed; until then nobody else can wait for this reader."""
        self._reader._waiting = True
        self._kept.listen(callback)

    @abstractmethod
    def _next(self) -> list[Part]:
        """Take the next event, which is there."""

    def feed(self, parts: list[Part]) -> list[Part]:
        return parts


class PartReader(_Parts):
    """In a protocol of which all readers get the same."""

    def __init__(self, reader: Reader, view: View) -> None:
        super().__init__(reader)
        self._view = view
        self._had_all = reader.at_end

    def _next(self) -> list[Part]:
        parts, self._reader.seq = self._view.after(self._reader.seq)
        return parts

    def end(self, error: ErrorEvent | None) -> list[Part]:
        """Return what says that nothing follows, where it is only for this reader that nothing does too."""
        if error is not None:
            return self._view.dialect.mapping().end(error)
        return [] if self._had_all else self._view.end()


class EventReader(_Parts):
    """In this library's own protocol, of which they get the same text, framed for the first of them."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self._mapping = EventsMapping()

    def _next(self) -> list[Part]:
        reader = self._reader
        latest = self._kept.at(reader.seq)
        if latest is None or not isinstance(latest.event, TEXTS):
            return self._mapping.feed(reader._next(self._kept))
        reader.seq += 1
        if not latest.parts:
            latest.parts = self._mapping.feed(latest.event)
        return latest.parts

    def end(self, error: ErrorEvent | None) -> list[Part]:
        return self._mapping.end(error)


def _number(last_event_id: str | int | None) -> int:
    """Read what a client sent: 0 for what is no number of an event."""
    text = str(last_event_id)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
