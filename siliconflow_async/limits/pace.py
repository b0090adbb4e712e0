"""How many calls at a time, and when none at all: pauses, probes, ramps and adaptive concurrency. It reads no clock.

As in TCP, the cap doubles in each round up to the last one that went wrong, then grows by one a round; a rate limit
(429) or an overload (503) cuts it, and so does a time to first token that has grown out of proportion. After a pause
one call goes first, and the cap grows from there. But a rate limit that has taught what a window takes was not for how
many went at a time: then the cap is what it was as soon as that one call has succeeded; and a service that was away is
led back to what it bore, by doubling. A cut holds for all calls that were under way: each call belongs to the
generation in which it began, and only the present one can cut.
"""

from __future__ import annotations

import math

__all__ = ["Pace"]

_START = 8.0
# Below this, doubling costs nothing.
_LEAST_THRESHOLD = 4.0
_OVERLOAD = 0.7
_SLOW = 0.8
# Slow is what takes this many times as long as it can, and a second more: below that it may be chance.
_SLOW_FACTOR = 3.0
_SLOW_SECONDS = 1.0
# For how many windows the least time to first token is remembered.
_REMEMBER = 10
# A ramp that has come so far has nothing left to hold back.
_RAMPED = 1000.0
_MAX_PAUSE = 60.0
# The service's own word may be for longer.
_MAX_ASKED = 600.0


class Pace:
    """The pace of one model's calls. `window` in seconds scales the pauses: the first is a sixtieth of it."""

    def __init__(self, window: float) -> None:
        self.window = window
        self.adaptive = False
        self.cap = math.inf
        self.generation = 0
        # Those that count against the cap: after a pause, only the ones that began since.
        self.in_flight = 0
        self.paused_until = -math.inf
        # The part of it that a rate limit asked for, which no answer ends.
        self._limited_until = -math.inf
        self._threshold = math.inf
        # The cap to come back to once a call has succeeded; None where it has to grow.
        self._until_probed: float | None = None
        self._counted_from = 0
        self._pauses = 0
        # Times to first token: the least of the present ten windows and of the ten before, and a mean of the last few.
        self._least = self._least_before = math.inf
        self._least_until = -math.inf
        self._recent = 0.0

    def adapt(self) -> None:
        """From now on find out how many calls at a time are right."""
        if not self.adaptive:
            self.adaptive = True
            self.cap = min(self.cap, _START)

    def ready(self, now: float) -> bool:
        """Whether a call may begin."""
        return now >= self.paused_until and self.in_flight < self.cap

    def begin(self) -> int:
        """Count a call that begins; return its generation."""
        self.in_flight += 1
        return self.generation

    def end(self, generation: int) -> None:
        """Count a call that ended."""
        if generation >= self._counted_from:
            self.in_flight -= 1

    def succeed(self, generation: int, now: float, first_token: float | None) -> bool:
        """Note the first token of a call, and the seconds it took if that is known; True if they cut concurrency."""
        if generation >= self._counted_from:
            self._pauses = 0
        if generation != self.generation or self.cap == math.inf:
            return False
        if self._until_probed is not None:
            self.cap, self._until_probed = self._until_probed, None
            return False
        if self.adaptive and first_token is not None and self._is_slow(now, first_token):
            return self._cut(generation, _SLOW)
        if 2 * self.in_flight >= self.cap:
            self.cap += 1.0 if self.cap < self._threshold else 1.0 / self.cap
            if not self.adaptive and self.cap > _RAMPED:
                self.cap = math.inf
        return False

    def overload(self, generation: int) -> bool:
        """Note a 503; True if concurrency was cut for it."""
        if generation == self.generation:
            self._until_probed = None  # the probe itself: this is no time to send many
        return self.adaptive and self._cut(generation, _OVERLOAD)

    def refuse(
        self, generation: int, now: float, asked: float | None, *, learned: bool = False, bore: float | None = None
    ) -> float | None:
        """Note a 429, and the seconds it asks to wait; return those of the pause that it begins, None if it is old.

        `learned` says that what a window takes is known from now on. `bore` is given where the service did not refuse
        but is away: how many calls at a time it bore before.
        """
        if generation != self.generation:
            # It began before the pause that there is: it knows no more, but may ask for longer.
            if asked is not None:
                self._pause(now + min(asked, _MAX_ASKED), is_limit=True)
            return None
        # One who asks for 0 seconds, and refuses again, has not said how long.
        pause = (
            min(asked, _MAX_ASKED) if asked else min(self.window / 60 * (1 << self._pauses), self.window, _MAX_PAUSE)
        )
        # The exponent of a power of two has its bounds too.
        self._pauses = min(self._pauses + 1, 16)
        self._pause(now + pause, is_limit=bore is None)
        # A probe that is refused says nothing new of how many are too many.
        if self.adaptive and self.cap > 1.0:
            if learned:
                self._until_probed = self.cap
            elif bore is not None:
                self._threshold = bore
            else:
                self._threshold = max(_LEAST_THRESHOLD, self.cap / 2)
        self.cap = 1.0
        self.generation += 1
        self._counted_from = self.generation
        self.in_flight = 0
        return pause

    def resume(self, now: float) -> None:
        """End a pause early, but not what a rate limit asked for; one call goes first, as at its proper end."""
        self.paused_until = min(self.paused_until, max(now, self._limited_until))

    def _pause(self, until: float, *, is_limit: bool) -> None:
        self.paused_until = max(self.paused_until, until)
        if is_limit:
            self._limited_until = max(self._limited_until, until)

    def _is_slow(self, now: float, seconds: float) -> bool:
        if now >= self._least_until:
            # What was possible long ago may be so no more.
            self._least_before, self._least = self._least, seconds
            self._least_until = now + _REMEMBER * self.window
        elif seconds < self._least:
            self._least = seconds
        least = min(self._least, self._least_before)
        self._recent += 0.2 * (seconds - self._recent) if self._recent else seconds
        return self._recent > _SLOW_FACTOR * least and self._recent > least + _SLOW_SECONDS

    def _cut(self, generation: int, share: float) -> bool:
        if generation != self.generation or self.cap <= 1.0:
            return False
        self.cap = self._threshold = max(1.0, min(self.cap, max(self.in_flight, 1)) * share)
        self.generation += 1
        self._recent = 0.0
        return True
