"""Whose turn it is among processes that wait for a share of one limit: start-time fair queueing.

Each has a turn that moves on by what it was given; the one with the least is first. One that comes back after a while
begins where the first stands: what it did not ask for in the meantime is not saved up for it.
"""

from __future__ import annotations

import heapq

__all__ = ["Turns"]


class Turns:
    """The turns of those that wait, each for as long as it was heard of lately; it reads no clock."""

    def __init__(self) -> None:
        self.least = 0
        # An entry counts while it is the latest of its name, which `_queued` holds.
        self._queue: list[tuple[int, str]] = []
        self._queued: dict[str, int] = {}
        self._waiting: dict[str, tuple[int, int]] = {}

    def first_but(self, name: str, now: int) -> tuple[int, str] | None:
        """Return the turn and name of the first of those that wait, other than this one, which waits no more."""
        queue, waiting = self._queue, self._waiting
        waiting.pop(name, None)
        while queue:
            turn, other = queue[0]
            latest, until = waiting.get(other, (-1, 0))
            if latest == turn and until >= now:
                return queue[0]
            heapq.heappop(queue)
            if self._queued.get(other) == turn:
                del self._queued[other]
            if latest == turn:
                del waiting[other]
        return None

    def begin(self, turn: int, first: tuple[int, str] | None) -> int:
        """Return the turn of one that comes, which was at `turn`; `first` of the others waits."""
        turn = max(turn, self.least)
        self.least = turn if first is None else min(turn, first[0])
        return turn

    def wait(self, name: str, turn: int, until: int) -> None:
        """This one waits, and counts until it is heard of again, or until a time."""
        self._waiting[name] = (turn, until)
        if self._queued.get(name) != turn:
            self._queued[name] = turn
            heapq.heappush(self._queue, (turn, name))
