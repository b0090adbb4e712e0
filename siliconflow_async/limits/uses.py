"""What a process has used and the store of a shared limit may not know yet."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor

__all__ = ["Uses"]

_GRAINS = 200
_Entry = tuple[float, int, int, int]


class Uses:
    """Uses of the last `window` seconds; `requests` and `tokens` are those that the store has not confirmed.

    `seq` numbers what is sent, so that a store counts it once though it should arrive twice.
    """

    def __init__(self, window: float) -> None:
        self.requests = 0
        self.tokens = 0
        self.seq = 0
        self._window = window
        self._new: list[_Entry] = []
        self._sent: list[_Entry] = []

    def add(self, at: float, requests: int, tokens: int, *, refused: int = 0) -> None:
        """Note what was used at a time; `refused` requests among those that were used are told apart."""
        self.requests += requests
        self.tokens += tokens
        new = self._new
        if new and abs(at - new[-1][0]) < self._window / _GRAINS:
            last, *counts = new[-1]
            new[-1] = (max(at, last), counts[0] + requests, counts[1] + tokens, counts[2] + refused)
        else:
            new.append((at, requests, tokens, refused))

    def send(self, now: float) -> tuple[tuple[int, int, int, int], ...]:
        """Return what to report: how many milliseconds ago, requests, tokens, refused requests."""
        self._sent, self._new = self._new, []
        self.seq += 1
        oldest = now - self._window
        return tuple(
            (max(0, floor(1000 * (now - at))), requests, tokens, refused)
            for at, requests, tokens, refused in self._sent
            if at > oldest
        )

    def confirm(self) -> None:
        """The store knows what was sent."""
        for _, requests, tokens, _ in self._sent:
            self.requests -= requests
            self.tokens -= tokens
        self._sent = []

    def lose(self) -> None:
        """Nobody knows whether what was sent has arrived: it is sent again with the next, be it counted twice."""
        self._sent, self._new = [], [*self._sent, *self._new]

    def replace(self, uses: Iterable[tuple[float, int, int]]) -> tuple[int, int]:
        """The store knows nothing: these are all there are, when, requests and tokens.

        Return the requests and tokens among them that were used before the last report was sent.
        """
        since = sum(use[1] for use in self._new), sum(use[2] for use in self._new)
        self.requests = self.tokens = 0
        self._new, self._sent = [], []
        for at, requests, tokens in uses:
            self.add(at, requests, tokens)
        return self.requests - since[0], self.tokens - since[1]
