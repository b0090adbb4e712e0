"""Whether a model's service is away, told by what becomes of its calls. It reads no clock.

It is away once several calls in a row have failed for want of it, and back with the first answer to a call that was let
out after the first of them: what was let out before says how it was then. Calls are numbered as they are let out.
"""

from __future__ import annotations

from typing import Literal

from ..errors import APIConnectionError, APITimeoutError, SiliconFlowError, TruncatedStreamError

__all__ = ["Outage", "absence"]

# Said by what stands before the service: overloaded, or nobody behind it. 520 to 523 are Cloudflare's.
_NOBODY_THERE = frozenset({502, 503, 520, 521, 522, 523})

# So many in a row, or all that are under way, but one alone is too few.
_LAPSES = 5
_LEAST_LAPSES = 2


class Outage:
    """`since` is when the service went away, None where it is there; `error` how that showed last.

    `generation` is the first generation of calls that began after the latest outage did, `bore` the cap before it.
    """

    def __init__(self) -> None:
        self.since: float | None = None
        self.error: SiliconFlowError | None = None
        self.generation = 0
        self.bore = 0.0
        self._lapses = 0
        self._first = 0

    def begin(self, number: int, now: float, generation: int, bore: float) -> None:
        """Others have found the service away: so it is for calls up to `number`."""
        self.since, self.generation, self.bore = now, generation, bore
        self._first, self._lapses = number, _LEAST_LAPSES

    def end(self) -> None:
        """The service is back."""
        self._lapses = 0
        self.since = self.error = None

    def lapse(self, number: int, now: float, running: int, cap: float, *, counts: bool) -> bool:
        """Note that call `number` of `running` ones failed for want of the service; return whether it is away.

        `cap` is how many may run now; `counts` is False for a failure that says nothing new.
        """
        if self.since is None:
            if not self._lapses:
                self._first, self.bore = number, cap
            self._lapses += counts
            if self._lapses >= min(_LAPSES, max(_LEAST_LAPSES, running)):
                self.since = now
        return self.since is not None

    def answered(self, number: int) -> bool:
        """Note that the service has answered call `number`; return whether that ends an outage."""
        if not self._lapses or number <= self._first:
            return False
        was_away = self.since is not None
        self.end()
        return was_away


def absence(error: SiliconFlowError) -> Literal["certain", "doubtful"] | None:
    """Return whether a call failed because the service is not there; None if it failed in another way.

    "doubtful" is what may also be the fault of that one request: a server that breaks down over it, or takes too long.
    """
    if isinstance(error, APIConnectionError):
        away = error.transient and (not isinstance(error, APITimeoutError) or error.clock == "connect")
        return "certain" if away else None
    if isinstance(error, TruncatedStreamError):
        return "doubtful"
    status = error.refusal
    if status is None or not (status == 408 or status >= 500):
        return None
    return "certain" if status in _NOBODY_THERE else "doubtful"
