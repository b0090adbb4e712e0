"""The clocks of an open stream, on one timer that is seldom set.

The loop's timer knows the clock and the body's reader, never the stream, so that a forgotten stream can go. The reader
only notes when it begins to wait; the timer, when it fires, looks whether a limit has passed, and is set again if not.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import Clock

if TYPE_CHECKING:
    import asyncio

    from aiohttp import StreamReader

    from ..timeouts import Timeouts
    from .coding import Unzipped

__all__ = ["ClockExpired", "StreamClock"]

_LATENESS = 0.05  # as a share of a limit


class ClockExpired(Exception):
    """The clock named in `clock` ran out; only for use inside this package."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.clock: Clock = clock


class StreamClock:
    """First-token, idle and total clock of one open answer.

    Times are those of the loop, in seconds. `sent_at` is when the attempt's request was sent, `deadline` the end of the
    whole call, or None.
    """

    __slots__ = (
        "_content",
        "_deadline",
        "_first_token_at",
        "_idle",
        "_loop",
        "_now",
        "_overdue_at",
        "_received",
        "_step",
        "_timer",
        "_waiting_since",
        "expired",
        "waited",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        content: StreamReader | Unzipped,
        timeouts: Timeouts,
        sent_at: float,
        deadline: float | None,
    ) -> None:
        self._loop = loop
        self._now = loop.time
        self._content = content
        # A timer that finds nobody waiting comes back no sooner than this, which bounds how late it can be.
        self._step = _LATENESS * min(timeouts.idle or 1.0, timeouts.first_token or 1.0)
        # None once it has come, or where no limit is set for it: then `idle` runs.
        self._first_token_at = None if timeouts.first_token is None else sent_at + timeouts.first_token
        self._idle = math.inf if timeouts.idle is None else timeouts.idle
        self._deadline = math.inf if deadline is None else deadline
        self.expired: Clock | None = None
        self._waiting_since: float | None = None
        self._received = 0
        # How much had arrived when a limit had passed, but the reader had yet to look at it.
        self._overdue_at: int | None = None
        # Seconds spent waiting for the server since its last event that counts, over all waits but the present one.
        self.waited = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._set(sent_at)

    def wait_begins(self) -> None:
        """Note that the reader waits for bytes, or for more of them."""
        if self._waiting_since is None:
            self._waiting_since = self._now()
        self._received = self._content.total_bytes

    def wait_ends(self) -> None:
        """Note that the reader has what it waited for: chunks. If they count, it sets `waited` to 0."""
        if self._waiting_since is not None:
            self.waited += self._now() - self._waiting_since
            self._waiting_since = None

    def first_token(self) -> float:
        """Note the first event that counts, and return its time: from now on `idle` runs."""
        now = self._now()
        self._first_token_at = None
        self.waited = 0.0
        self._overdue_at = None
        return now

    def stop(self) -> None:
        """Stop for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _due(self, now: float) -> float:
        """Return when the server will have been silent for too long; who does not wait yet is taken to from `now`."""
        if self._first_token_at is not None:
            return self._first_token_at
        since = now if self._waiting_since is None else self._waiting_since
        return since + self._idle - self.waited

    def _set(self, now: float) -> None:
        when = self._due(now)
        if self._first_token_at is not None:
            # The first token sets no timer anew: this one rings in time for `idle`, which may begin at once.
            when = min(when, now + self._idle)
        if when <= now or self._waiting_since is None:
            when = max(when, now + self._step)
        when = min(when, self._deadline)
        if when < math.inf:
            self._timer = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._now()
        waiting = self._waiting_since is not None
        if now >= self._deadline:
            self.expired = "total"
        elif not waiting or now < self._due(now):
            self._overdue_at = None
            self._set(now)
            return
        elif self._has_news():
            self._overdue_at = self._content.total_bytes
            self._set(now)
            return
        else:
            self.expired = "idle" if self._first_token_at is None else "first_token"
        if waiting:
            self._content.set_exception(ClockExpired(self.expired))

    def _has_news(self) -> bool:
        """Whether the server has spoken and the reader has yet to come round to it: our lateness, not the server's.

        Not if the limit was put off for news before, which has been read since: had it counted, nothing would be due.
        """
        if self._overdue_at is not None and self._received >= self._overdue_at:
            return False
        return self._content.total_bytes != self._received or self._content.is_eof()
