"""When to try again, and for how long to wait: policy, budget, and the loop that follows them.

Only a call of which nothing had been given out is repeated. A retry needs a reason (`RetryPolicy.delay`), time left
before the call's deadline, and credit in the client's budget, which keeps a dead service from being asked ever more.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec

from ..checks import is_count, is_finite
from ..errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    SiliconFlowError,
    Stage,
    StreamError,
    TruncatedStreamError,
)
from ..limits.meters import MINUTE_METERS
from ..limits.outage import absence
from .budget import RetryBudget

__all__ = [
    "RetryPolicy",
    "wait_to_resume",
    "with_retries",
]

T = TypeVar("T")

_log = logging.getLogger("siliconflow_async")

# A minute's meter takes about a minute to clear, so waits on it grow faster than those on a failing server.
_RATE_LIMIT_GROWTH = 8
_MOST_REFUSALS = 10
# Refused before any work: the wrong connection, too early, a full meter, an overloaded service.
_UNBEGUN = frozenset({421, 425, 429, 503})

# The system's own: what a program seeds, or a fork copies, would have many clients come back at the same time.
_jitter = random.SystemRandom()


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

    def delay(self, attempt: int, error: SiliconFlowError) -> float | None:
        """Return the seconds to wait before trying again after the failure of `attempt` (from 1); None: don't."""
        extra = self.max_attempts > 1 and _stage(error) != "answer"
        if attempt >= self.max_attempts + extra or attempt > _most_retries(error):
            return None
        asked = error.retry_after
        if asked is not None:
            return asked if asked <= self.cap else None
        growth = _RATE_LIMIT_GROWTH**attempt if error.refusal == 429 else 2 ** (attempt - 1)
        return _drawn(min(self.cap, self.base * growth))

    def resume_delay(self, attempt: int, error: SiliconFlowError) -> float | None:
        """Return the seconds to wait before continuation `attempt` (from 1) of an answer that broke off; None: don't.

        Breaks and silence may be gone a moment later, and so may errors that are retried before an answer begins.
        """
        if not isinstance(error, TruncatedStreamError | APITimeoutError) and attempt > _most_retries(error):
            return None
        return _drawn(min(self.cap, self.base * 2 ** (attempt - 1)))


def _drawn(most: float) -> float:
    """Draw a wait: apart from the others', but never so short that a service has no time to come back."""
    return _jitter.uniform(most / 2, most)


def _is_worth_waiting(refusal: SiliconFlowError, policy: RetryPolicy) -> bool:
    asked = refusal.retry_after
    return refusal.meter in MINUTE_METERS and (asked is None or asked <= policy.cap)


def _most_retries(error: SiliconFlowError) -> float:
    if isinstance(error, APITimeoutError):
        return math.inf if error.clock in ("connect", "first_token") else 0
    if isinstance(error, APIConnectionError):
        return math.inf if error.transient else 0
    if isinstance(error, TruncatedStreamError):
        return math.inf if error.empty else 0
    if error.refusal == 429:
        return math.inf if error.meter in MINUTE_METERS else 0
    return _most_retries_of(error.refusal)


def _is_unbegun(error: SiliconFlowError) -> bool:
    """Whether the service has surely done nothing of what it was asked for."""
    return error.refusal in _UNBEGUN or _stage(error) != "answer"


def _stage(error: SiliconFlowError) -> Stage:
    return error.stage if isinstance(error, APIConnectionError) else "answer"


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
        if error.refusal == 429:
            taken = self._refusals < _MOST_REFUSALS and _is_worth_waiting(error, self._policy)
            self._refusals += taken
        else:
            # What may be the request's own fault is spared no more often than it would be repeated.
            doubtful = absence(error) == "doubtful"
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
    shared: Callable[[], bool] | None = None,
    repeatable: bool = True,
    told: Callable[[SiliconFlowError, float], None] | None = None,
) -> T:
    """Await `call()` until it succeeds or may not be repeated; its last error carries `attempts`.

    With `shared`, `call` itself waits for the model's gate, and raises an error that has `waited` where it gave up.
    Then a rate limit by the minute, up to ten of them, and a failure that is `shared()` with others in an outage need
    no delay here, draw nothing from the budget, and are no attempts to the policy. What is not `repeatable` is repeated
    only where the service has surely not begun it. `told` is called as each wait for another attempt begins, with what
    the one before failed of and the seconds that will be waited: 0 for one that goes to the gate.
    """
    budget.earn(policy.budget)
    spared = None if shared is None else _Spared(policy, shared)
    turns = _Turns(policy, budget, deadline, told)
    attempt = 1
    failure: SiliconFlowError | None = None
    while True:
        try:
            answer = await call()
        except SiliconFlowError as error:
            error.attempts = attempt
            if isinstance(error, APIStatusError | StreamError) and absence(error) is None:
                budget.found()
            if error.waited is not None or not (repeatable or _is_unbegun(error)):
                raise
            failure = error
            is_spared = spared is not None and spared.takes(error)
        else:
            budget.found()
            return answer
        # Not in the handler: a wait that is cancelled has no context, and no error stays behind in this frame.
        try:
            if is_spared:
                if told is not None:
                    told(failure, 0.0)
            elif not await turns.next(attempt, failure):
                raise failure
        finally:
            failure = None
        attempt += 1


class _Turns:
    """When a call may be repeated: by its policy, the budget of its client, and its deadline."""

    __slots__ = ("_budget", "_deadline", "_followed", "_policy", "_told", "_tries")

    def __init__(
        self,
        policy: RetryPolicy,
        budget: RetryBudget,
        deadline: float | None,
        told: Callable[[SiliconFlowError, float], None] | None,
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._deadline = deadline
        self._told = told
        self._tries = 1
        self._followed = False

    async def next(self, attempt: int, error: SiliconFlowError) -> bool:
        """Wait until the call may be repeated after the failure of an attempt; False if it may not be."""
        if isinstance(error, APIConnectionError) and absence(error) == "certain":
            return await self._next_look(attempt, error)
        delay = _granted(self._policy.delay(self._tries, error), error, self._deadline, self._budget)
        if delay is None:
            return False
        await self._wait(delay, attempt, error)
        return True

    async def _next_look(self, attempt: int, error: APIConnectionError) -> bool:
        """Wait until the call may look for the service again, or another has found it.

        One retry at a time is drawn for all calls of the client that look, or many that lose the service together
        would spend the budget before it could come back. Whoever is refused one waits for its next turn.
        """
        found = self._budget.finds
        while (delay := _in_time(self._policy.delay(self._tries, error), self._deadline)) is not None:
            await self._wait(delay, attempt, error)
            # What the service may have begun to work on is sent anew without a draw but once.
            if self._budget.finds != found and (error.stage != "answer" or not self._followed):
                self._followed = error.stage == "answer"
                return True
            # What never left this machine troubles nobody.
            if error.stage == "local" or self._budget.draw_look(delay / 2):
                return True
            error.budget_spent = True
        return False

    async def _wait(self, delay: float, attempt: int, error: SiliconFlowError) -> None:
        _log.warning("attempt %d failed (%s), trying again in %.2f s", attempt, _summary(error), delay)
        if self._told is not None:
            self._told(error, delay)
        await asyncio.sleep(delay)
        self._tries += 1


async def wait_to_resume(
    attempt: int,
    error: SiliconFlowError,
    *,
    policy: RetryPolicy,
    budget: RetryBudget,
    deadline: float | None,
    told: Callable[[SiliconFlowError, float], None] | None = None,
) -> bool:
    """Wait until an answer that broke off may be asked to go on; False, at once, if it may not.

    `told` is called as the wait begins, with the error and the seconds that will be waited.
    """
    delay = _granted(policy.resume_delay(attempt, error), error, deadline, budget)
    if delay is None:
        return False
    _log.warning("the stream broke off (%s), asking for the rest in %.2f s", _summary(error), delay)
    if told is not None:
        told(error, delay)
    await asyncio.sleep(delay)
    return True


def _granted(delay: float | None, error: SiliconFlowError, deadline: float | None, budget: RetryBudget) -> float | None:
    """Return a delay that ends before the deadline, having drawn a retry for it; None if the call may not be repeated.

    An error for which none is left is told so.
    """
    delay = _in_time(delay, deadline)
    if delay is None or budget.draw():
        return delay
    error.budget_spent = True
    return None


def _in_time(delay: float | None, deadline: float | None) -> float | None:
    """Return a delay that ends before the deadline; None for one that does not."""
    if delay is None or (deadline is not None and asyncio.get_running_loop().time() + delay >= deadline):
        return None
    return delay


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
