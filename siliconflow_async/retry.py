"""When to try again, and for how long to wait: policy, budget, and the loop that follows them.

Only a call of which nothing had been given out is repeated. A retry needs a reason (`RetryPolicy.delay`), time left
before the call's deadline, and credit in the client's budget, which keeps a dead service from being asked ever more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import threading
from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import msgspec

from .checks import is_count, is_finite
from .errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    RateLimitError,
    SiliconFlowError,
    Stage,
    StreamAPIError,
    TruncatedStreamError,
    asked_wait,
)
from .wire.codes import meter_of, status_of_code
from .wire.failures import status_in

__all__ = [
    "MINUTE_METERS",
    "RetryBudget",
    "RetryPolicy",
    "is_rate_limit",
    "meter_in",
    "wait_to_resume",
    "with_retries",
]

T = TypeVar("T")

_log = logging.getLogger("siliconflow_async")

_MAX_CREDIT = 10.0
# The meters that are worth waiting for; one that isn't named most likely is one of them.
MINUTE_METERS = ("rpm", "tpm", "ipm", None)
# A minute's meter takes about a minute to clear, so waits on it grow faster than those on a failing server.
_RATE_LIMIT_GROWTH = 8
_MOST_REFUSALS = 10
# Said by what stands before the service: overloaded, or nobody behind it. 520 to 523 are Cloudflare's.
_NOBODY_THERE = frozenset({502, 503, 520, 521, 522, 523})


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How often and after what waits a call is repeated.

    `max_attempts` counts the first one too; where it failed for want of a connection, which costs the service nothing,
    there is one more, but with `max_attempts=1` (or `max_retries=0`) nothing is repeated. Before attempt n + 1 the wait
    is drawn evenly from half to all of `base` · 2ⁿ⁻¹ seconds (`base` · 8ⁿ for a rate limit by the minute), at most
    `cap`; what `Retry-After` asks for is waited instead, and beyond `cap` the call fails at once. `budget` is the
    credit, in retries, that each call adds to the client's budget; errors of this machine's own draw nothing from it.
    Status 500 is retried twice at most, a gateway's timeout (504, 524, 598), 421 and 425 once; rate limits by the hour
    or day are not.
    """

    max_attempts: int = 4
    base: float = 0.5
    cap: float = 60.0
    budget: float = 0.2

    def __post_init__(self) -> None:
        if not is_count(self.max_attempts, 1):
            raise ConfigurationError(f"RetryPolicy: max_attempts must be an integer >= 1, not {self.max_attempts!r}")
        for name in ("base", "cap", "budget"):
            value = getattr(self, name)
            if not is_finite(value) or value < 0:
                raise ConfigurationError(f"RetryPolicy: {name} must be a number >= 0, not {value!r}")

    def delay(self, attempt: int, error: SiliconFlowError, rng: random.Random) -> float | None:
        """Return the seconds to wait before trying again after the failure of `attempt` (from 1); None: don't."""
        extra = self.max_attempts > 1 and _stage(error) != "answer"
        if attempt >= self.max_attempts + extra or attempt > _most_retries(error):
            return None
        asked = asked_wait(error)
        if asked is not None:
            return asked if asked <= self.cap else None
        growth = _RATE_LIMIT_GROWTH**attempt if is_rate_limit(error) else 2 ** (attempt - 1)
        return _drawn(min(self.cap, self.base * growth), rng)

    def resume_delay(self, attempt: int, error: SiliconFlowError, rng: random.Random) -> float | None:
        """Return the seconds to wait before continuation `attempt` (from 1) of an answer that broke off; None: don't.

        Breaks and silence may be gone a moment later, and so may errors that are retried before an answer begins.
        """
        if not isinstance(error, TruncatedStreamError | APITimeoutError) and attempt > _most_retries(error):
            return None
        return _drawn(min(self.cap, self.base * 2 ** (attempt - 1)), rng)


def _drawn(most: float, rng: random.Random) -> float:
    """Draw a wait: apart from the others', but never so short that a service has no time to come back."""
    return rng.uniform(most / 2, most)


def _is_worth_waiting(refusal: SiliconFlowError, policy: RetryPolicy) -> bool:
    asked = asked_wait(refusal)
    return meter_in(refusal) in MINUTE_METERS and (asked is None or asked <= policy.cap)


def _most_retries(error: SiliconFlowError) -> float:
    if isinstance(error, APITimeoutError):
        return math.inf if error.clock in ("connect", "first_token") else 0
    if isinstance(error, APIConnectionError):
        return math.inf if error.transient else 0
    if isinstance(error, TruncatedStreamError):
        return math.inf if error.empty else 0
    if is_rate_limit(error):
        return math.inf if meter_in(error) in MINUTE_METERS else 0
    return _most_retries_of(status_in(error))


def _stage(error: SiliconFlowError) -> Stage:
    return error.stage if isinstance(error, APIConnectionError) else "answer"


def absence_in(error: SiliconFlowError) -> Literal["certain", "doubtful"] | None:
    """Return whether a call failed because the service is not there; None if it failed in another way.

    "doubtful" is what may also be the fault of that one request: a server that breaks down over it, or takes too long.
    """
    if isinstance(error, APIConnectionError):
        away = error.transient and (not isinstance(error, APITimeoutError) or error.clock == "connect")
        return "certain" if away else None
    if isinstance(error, TruncatedStreamError):
        return "doubtful"
    status = status_in(error)
    if status is None or not (status == 408 or status >= 500):
        return None
    return "certain" if status in _NOBODY_THERE else "doubtful"


def is_rate_limit(error: SiliconFlowError) -> bool:
    """Whether the service refused because a meter is full, by status or by code."""
    return isinstance(error, RateLimitError) or (
        isinstance(error, StreamAPIError) and status_of_code(error.code) == 429
    )


def meter_in(error: SiliconFlowError) -> str | None:
    """Return the meter that a rate limit's error names, None if it names none."""
    if isinstance(error, RateLimitError):
        return error.meter
    return meter_of(error.code, error.message) if isinstance(error, StreamAPIError) else None


def _most_retries_of(status: int | None) -> float:
    match status:
        case 429 | 503:
            return math.inf
        # 524 and 598 are gateways' own words for 504; 421 and 425 are of the connection, and the next one is new.
        case 504 | 524 | 598 | 421 | 425:
            return 1
        case int() if status == 408 or status >= 500:
            return 2
        case _:
            return 0


class RetryBudget:
    """The retries that a client may make, all its calls together, in whatever thread.

    Each call earns a share of a retry; credit is at most 10. The first 10 are an advance, paid back by the calls that
    follow, so that n calls in a row to a dead service make at most n · (1 + share) requests once it is paid back.
    """

    def __init__(self) -> None:
        self._credit = _MAX_CREDIT
        self._advance = _MAX_CREDIT
        self._lock = threading.Lock()

    def earn(self, share: float) -> None:
        """Credit one call."""
        with self._lock:
            if self._advance > 0:
                self._advance -= share
            else:
                self._credit = min(_MAX_CREDIT, self._credit + share)

    def draw(self) -> bool:
        """Take one retry; False if there is none."""
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True


class _Spared:
    """What a call that waits at a gate need not answer for: refusals by the minute, and failures of an outage.

    `shared` tells whether the latest failure was one of many in an outage; `count` counts those that were spared.
    """

    __slots__ = ("_doubtful", "_policy", "_refusals", "_shared", "count")

    def __init__(self, policy: RetryPolicy, shared: Callable[[], bool]) -> None:
        self.count = 0
        self._policy = policy
        self._shared = shared
        self._refusals = 0
        self._doubtful = 0

    def takes(self, error: SiliconFlowError) -> bool:
        """Whether a failure is spared, and the call may go to the gate again."""
        if self._policy.max_attempts == 1:
            return False
        if is_rate_limit(error):
            taken = self._refusals < _MOST_REFUSALS and _is_worth_waiting(error, self._policy)
            self._refusals += taken
        else:
            # What may be the request's own fault is spared no more often than it would be repeated.
            doubtful = absence_in(error) == "doubtful"
            taken = self._shared() and not (doubtful and self._doubtful >= _most_retries(error))
            self._doubtful += taken and doubtful
        self.count += taken
        return taken


async def with_retries(
    call: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    budget: RetryBudget,
    deadline: float | None,
    rng: random.Random,
    shared: Callable[[], bool] | None = None,
) -> T:
    """Await `call()` until it succeeds or may not be repeated; its last error carries `attempts`.

    With `shared`, `call` itself waits for the model's gate, and raises an error that has `waited` where it gave up.
    Then a rate limit by the minute, up to ten of them, and a failure that is `shared()` with others in an outage need
    no delay here, draw nothing from the budget, and are no attempts to the policy.
    """
    budget.earn(policy.budget)
    spared = None if shared is None else _Spared(policy, shared)
    attempt = 1
    while True:
        try:
            return await call()
        except SiliconFlowError as error:
            error.attempts = attempt
            if error.waited is not None:
                raise
            if spared is None or not spared.takes(error):
                tries = attempt if spared is None else attempt - spared.count
                delay = _granted(policy.delay(tries, error, rng), error, deadline, budget)
                if delay is None:
                    raise
                _log.warning("attempt %d failed (%s), trying again in %.2f s", attempt, _summary(error), delay)
            else:
                delay = None
        if delay is not None:
            await asyncio.sleep(delay)
        attempt += 1


async def wait_to_resume(
    attempt: int,
    error: SiliconFlowError,
    *,
    policy: RetryPolicy,
    budget: RetryBudget,
    deadline: float | None,
    rng: random.Random,
) -> bool:
    """Wait until an answer that broke off may be asked to go on; False, at once, if it may not."""
    delay = _granted(policy.resume_delay(attempt, error, rng), error, deadline, budget)
    if delay is None:
        return False
    _log.warning("the stream broke off (%s), asking for the rest in %.2f s", _summary(error), delay)
    await asyncio.sleep(delay)
    return True


def _granted(delay: float | None, error: SiliconFlowError, deadline: float | None, budget: RetryBudget) -> float | None:
    """Return a delay that ends before the deadline, having drawn a retry for it; None if there is none.

    What never left this machine troubles nobody, and draws none. An error for which none is left is told so.
    """
    if delay is None or (deadline is not None and asyncio.get_running_loop().time() + delay >= deadline):
        return None
    if _stage(error) == "local" or budget.draw():
        return delay
    error.budget_spent = True
    return None


def _summary(error: SiliconFlowError) -> str:
    """Name an error without the service's words, which may quote the request."""
    facts = [type(error).__name__]
    if isinstance(error, APIStatusError):
        facts.append(f"HTTP {error.status}")
    if isinstance(error, APITimeoutError):
        facts.append(error.clock)
    for name in ("code", "trace_id"):
        value = getattr(error, name, None)
        if value is not None:
            facts.append(f"{name} {value}")
    return ", ".join(facts)
