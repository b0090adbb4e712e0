"""What the events of a Broadcast are in one protocol: each is mapped and encoded once, whoever reads it."""

from __future__ import annotations

from collections import deque

from .kept import Kept
from .protocols.part import Dialect, Part

__all__ = ["View"]


class View:
    """The parts of the events, in one dialect, for readers to take from any place."""

    def __init__(self, kept: Kept, dialect: Dialect) -> None:
        self.dialect = dialect
        self._kept = kept
        self._mapping = dialect.mapping()
        # How many events were mapped, and the parts of the last of them.
        self._seq = 0
        self._parts: deque[list[Part]] = deque()
        self._end: list[Part] | None = None

    def after(self, seq: int) -> tuple[list[Part], int]:
        """Return the parts of the event after `seq`, or of all that is no longer kept, and the number then reached.

        There must be such an event.
        """
        if self._seq != self._kept.last:
            self._catch_up()
        place = seq - self._seq + len(self._parts)
        if place >= 0:
            return self._parts[place], seq + 1
        first = self._kept.first
        # A mapping of its own comes to the same place: the parts that are kept go on from what it makes.
        mapping = self.dialect.mapping()
        for event in self._kept.history.between(0, seq):
            mapping.feed(event)
        parts = [part for event in self._kept.history.between(seq, first - 1) for part in mapping.feed(event)]
        return parts, first - 1

    def end(self) -> list[Part]:
        """Return what follows the last event, once there is a last one."""
        if self._end is None:
            self._catch_up()
            self._end = self._mapping.end(None)
        return self._end

    def _catch_up(self) -> None:
        kept = self._kept
        if self._seq + 1 < kept.first:
            for past in kept.history.between(self._seq, kept.first - 1):
                self._mapping.feed(past)
            self._seq = kept.first - 1
            self._parts.clear()
        while self._seq < kept.last and (event := kept.after(self._seq)) is not None:
            self._parts.append(self._mapping.feed(event))
            self._seq += 1
        while len(self._parts) > kept.last - kept.first + 1:
            self._parts.popleft()
