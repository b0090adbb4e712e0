"""How a run of many requests comes along: snapshots, a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ..limits.limit import WaitingFor

if TYPE_CHECKING:
    from ..calls.passage import Passage

__all__ = ["MapProgress", "Tally"]

_INTERVAL = 0.25


class MapProgress(msgspec.Struct, frozen=True, kw_only=True):
    """A look at a run of `map`.

    `done` and `failed` count finished requests (`done` those that succeeded), `in_flight` those under way, at the gate
    included; `total` is how many there are, where the requests have a length. `tokens` are those of the answers, as
    they come; `tokens_per_second` is over the last few seconds. `concurrency` is how many requests the run may have at
    the service at a time. `paused_until` is a time of `time.time()` where a rate limit or an outage holds the run up,
    else None. `waiting_for` says what requests wait for, None where none waits: "rpm" or "tpm" (your limits, or those
    that were found out), "rate_limit" (the pause after a refusal), "outage" (the service to come back), "concurrency"
    (the end of another); `waiting_left` the seconds that this takes, None where nobody knows. `elapsed` and `time_left`
    are seconds; `time_left` is None as long as there is nothing to go by.
    """

    done: int
    failed: int
    in_flight: int
    total: int | None
    tokens: int
    tokens_per_second: float
    concurrency: int
    paused_until: float | None
    waiting_for: WaitingFor | None
    waiting_left: float | None
    elapsed: float
    time_left: float | None


class Tally:
    """Counts what becomes of the requests of a run with `max_concurrency`, of `total` if that is known.

    If there is a `tell`, it is told how the run comes along, a few times a second, and once when the tally is stopped.
    """

    def __init__(self, max_concurrency: int, total: int | None, tell: Callable[[MapProgress], None] | None) -> None:
        self._max_concurrency = max_concurrency
        self._total = total
        self._tell = tell
        self._done = self._failed = self._tokens = 0
        self._calls: dict[int, tuple[Passage, int]] = {}
        self._loop = asyncio.get_running_loop()
        self._started_at = self._seen_at = self._loop.time()
        self._seen = 0
        self._rate = 0.0
        self._timer = None if tell is None else self._loop.call_later(_INTERVAL, self._tick)

    def begun(self, index: int, passage: Passage, size: int) -> None:
        """Note that a request, which counts for so many, is under way: it waits, and is asked, through its passage."""
        self._calls[index] = (passage, size)

    def ended(self, index: int) -> None:
        """Note that a request is under way no more."""
        if index in self._calls:
            passage, _ = self._calls.pop(index)
            self._tokens += passage.tokens

    def finished(self, done: int, failed: int) -> None:
        """Note that so many have their results."""
        self._done += done
        self._failed += failed

    def stop(self) -> None:
        """Tell a last time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            try:
                self._look()
            finally:
                # Whoever is told may hold this tally, and both would be kept.
                self._tell = None

    def _tick(self) -> None:
        self._timer = self._loop.call_later(_INTERVAL, self._tick)
        self._look()

    def _look(self) -> None:
        now = self._loop.time()
        # An answer's chunks may turn out to have been more than its tokens.
        tokens = max(self._seen, self._tokens + sum(passage.tokens for passage, _ in self._calls.values()))
        if now > self._seen_at:
            rate = (tokens - self._seen) / (now - self._seen_at)
            self._rate = self._rate + 0.1 * (rate - self._rate) if self._rate else rate
            self._seen, self._seen_at = tokens, now
        if self._tell is not None:
            self._tell(self._progress(now - self._started_at, tokens))

    def _progress(self, elapsed: float, tokens: int) -> MapProgress:
        most, total = self._max_concurrency, self._total
        finished = self._done + self._failed
        keepers = {passage.keeper for passage, _ in self._calls.values()}
        states = [keeper.state() for keeper in keepers if keeper is not None]
        caps = [most if state.concurrency is None else state.concurrency for state in states]
        pauses = [state.paused_until for state in states if state.paused_until is not None]
        waiting = [state for state in states if state.waiting_for is not None]
        # Of several models, the one that is held up for longest.
        longest = max(waiting, key=lambda state: state.waiting_left or 0.0, default=None)
        return MapProgress(
            done=self._done,
            failed=self._failed,
            in_flight=sum(size for _, size in self._calls.values()),
            total=total,
            tokens=tokens,
            tokens_per_second=self._rate,
            concurrency=min(most, sum(caps)) if caps else most,
            paused_until=max(pauses, default=None),
            waiting_for=longest.waiting_for if longest is not None else None,
            waiting_left=longest.waiting_left if longest is not None else None,
            elapsed=elapsed,
            time_left=(total - finished) * elapsed / finished if total is not None and finished else None,
        )
