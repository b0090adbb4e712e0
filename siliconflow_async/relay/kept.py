"""The events of a Broadcast: the latest of them one by one, and those before them joined."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from ..wire.events import ErrorEvent, Finished
from .frames import check_count, weight
from .history import History
from .protocols.part import AnyEvent, Part
from .pump import Upstream

__all__ = ["Kept", "KeptEvent"]

_ENDS = (Finished, ErrorEvent)


class KeptEvent:
    """An event that is kept; with its weight, which is not the same later, when encoding has added to its text."""

    __slots__ = ("event", "parts", "weight")

    def __init__(self, event: AnyEvent) -> None:
        self.event = event
        self.weight = weight(event)
        # What it is in this library's own protocol, once a reader wants it.
        self.parts: list[Part] = []


class Kept:
    """The latest events, numbered; those of the end are kept whatever their number and size."""

    def __init__(self, buffer: int, buffer_bytes: int) -> None:
        self._most = check_count(buffer, "buffer")
        self._most_bytes = check_count(buffer_bytes, "buffer_bytes")
        self._events: deque[KeptEvent] = deque()
        self._weight = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._listeners: list[Callable[[], object]] = []
        self.history = History()
        self.last = 0
        # The last event that is not of the end: what a snapshot stands for.
        self.told = 0
        # Whether something followed what looked like the end.
        self.in_rounds = False
        self.closed = False

    @property
    def first(self) -> int:
        """The number of the first event that is kept."""
        return self.last - len(self._events) + 1

    def events(self, upstream: Upstream) -> AsyncIterator[AnyEvent]:
        return upstream.events()

    def put(self, event: AnyEvent, seq: int | None = None) -> None:
        latest = KeptEvent(event)
        self._weight += latest.weight
        events = self._events
        events.append(latest)
        self.last += 1
        if not isinstance(event, _ENDS):
            self.in_rounds = self.in_rounds or self.told != self.last - 1
            self.told = self.last
        while len(events) > 1 and (len(events) > self._most or self._weight > self._most_bytes):
            # A round of tools finishes too, and is not the end: that follows all else.
            first = self.first
            if first > self.told:
                break
            past = events.popleft()
            self._weight -= past.weight
            self.history.add(past.event, first)
        self.wake()

    def close(self, error: ErrorEvent | None) -> None:
        if error is not None:
            self.put(error)
        self.closed = True
        self.wake()

    def recall(self) -> None:
        return None

    def at(self, seq: int) -> KeptEvent | None:
        """Return what is kept of the event that follows number `seq`, None if it no longer is."""
        place = seq - self.last + len(self._events)
        return self._events[place] if place >= 0 else None

    def after(self, seq: int) -> AnyEvent | None:
        """Return the event that follows number `seq`, or None if it is no longer kept."""
        kept = self.at(seq)
        return None if kept is None else kept.event

    def more(self) -> asyncio.Future[None]:
        """Return what is done once there is more."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def listen(self, callback: Callable[[], object]) -> None:
        """Call back, once, at the turn of the loop after there is more."""
        self._listeners.append(callback)
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        if self._listeners:
            # What comes at once is taken at once: to go to each of a thousand readers for each event would cost more.
            self._loop.call_soon(_call, self._listeners)
            self._listeners = []


def _call(callbacks: list[Callable[[], object]]) -> None:
    for callback in callbacks:
        callback()
