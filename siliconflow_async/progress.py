"""How a run of many requests comes along: snapshots, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

__all__ = ["MapProgress", "Reporter"]

_INTERVAL = 0.25


class MapProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A look at a run of `map`.

    `done` and `failed` count finished requests (`done` those that succeeded), `in_flight` those under way, at the gate
    included; `total` is how many there are, where the requests have a length. `tokens` are those of the answers, as
    they come; `tokens_per_second` is over the last few seconds. `concurrency` is how many requests the run may have at
    the service at a time. `paused_until` is a time of `time.time()` where a model's rate limit holds the run up, else
    None. `elapsed` and `time_left` are seconds; `time_left` is None as long as there is nothing to go by.
    """

    done: int
    failed: int
    in_flight: int
    total: int | None
    tokens: int
    tokens_per_second: float
    concurrency: int
    paused_until: float | None
    elapsed: float
    time_left: float | None


class Reporter:
    """Calls `report(elapsed, tokens_per_second)` a few times a second, and once when stopped."""

    __slots__ = ("_count", "_handle", "_loop", "_rate", "_report", "_seen", "_seen_at", "_started_at")

    def __init__(self, report: Callable[[float, float], None], count: Callable[[], int]) -> None:
        self._report = report
        self._count = count
        self._loop = asyncio.get_running_loop()
        self._started_at = self._seen_at = self._loop.time()
        self._seen = 0
        self._rate = 0.0
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(_INTERVAL, self._tick)

    def stop(self) -> None:
        """Report a last time."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
            self._look()

    def _tick(self) -> None:
        self._handle = self._loop.call_later(_INTERVAL, self._tick)
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        tokens = self._count()
        if now > self._seen_at:
            rate = (tokens - self._seen) / (now - self._seen_at)
            self._rate = self._rate + 0.1 * (rate - self._rate) if self._rate else rate
            self._seen, self._seen_at = tokens, now
        self._report(now - self._started_at, self._rate)
