"""When a call is repeated: the policy by itself, and the budget."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ClosedError,
    ConfigurationError,
    MalformedStreamError,
    OverloadedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SiliconFlowError,
    TruncatedStreamError,
)
from siliconflow_async.calls.budget import RetryBudget
from siliconflow_async.calls.retry import with_retries
from siliconflow_async.errors import BadRequestError, GatewayTimeoutError
from siliconflow_async.wire.failures import status_error, stream_error


def rate_limit(meter: str | None, **fields: Any) -> RateLimitError:
    error = RateLimitError(status=429, **fields)
    error.meter = meter
    return error


@pytest.mark.parametrize(
    ("error", "retries"),
    [
        (APIConnectionError(), 3),
        (APIConnectionError(transient=False), 0),
        (APIConnectionError(stage="local"), 4),
        (APIConnectionError(stage="connect"), 4),
        (APIConnectionError(stage="connect", transient=False), 0),
        (APITimeoutError(clock="connect"), 4),
        (APITimeoutError(clock="first_token"), 3),
        (APITimeoutError(clock="idle"), 0),
        (APITimeoutError(clock="total"), 0),
        (ServerError(status=500), 2),
        (ServerError(status=502), 2),
        (ServerError(status=408), 2),
        (ServerError(status=522), 2),
        (OverloadedError(status=503), 3),
        (GatewayTimeoutError(status=504), 1),
        (GatewayTimeoutError(status=524), 1),
        (GatewayTimeoutError(status=598), 1),
        (BadRequestError(status=421), 1),
        (BadRequestError(status=425), 1),
        (BadRequestError(status=400), 0),
        (BadRequestError(status=409), 0),
        (APIStatusError(status=302), 0),
        (status_error(200, b'{"code":50505,"message":"No."}', {}), 3),
        (status_error(200, b'{"code":20015,"message":"No."}', {}), 0),
        (rate_limit("rpm"), 3),
        (rate_limit("tpm"), 3),
        (rate_limit(None), 3),
        (rate_limit("rph"), 0),
        (rate_limit("rpd"), 0),
        (rate_limit("tpd"), 0),
        (stream_error({"code": 50505, "message": "No."}), 3),
        (stream_error({"code": 50507, "message": "No."}), 2),
        (stream_error({"code": 50501, "message": "No."}), 1),
        (stream_error({"code": 20015, "message": "No."}), 0),
        (stream_error({"code": "busy", "message": "No."}), 0),
        (TruncatedStreamError(empty=True), 3),
        (TruncatedStreamError(), 0),
        (MalformedStreamError(), 0),
        (ClosedError(), 0),
    ],
)
def test_each_failure_has_its_number_of_retries(error: SiliconFlowError, retries: int) -> None:
    """500 twice, a gateway's timeout once, what another try can't mend never, the rest up to the most.

    Where there was no connection, once more.
    """
    policy = RetryPolicy()
    delays = [policy.delay(attempt, error) for attempt in range(1, 6)]
    assert [delay is not None for delay in delays] == [attempt <= retries for attempt in range(1, 6)]


@pytest.mark.parametrize("stage", ["local", "connect", "answer"])
def test_without_retries_there_is_no_extra_attempt(stage: Any) -> None:
    """With max_attempts=1 nothing is repeated, also for want of a connection."""
    policy = RetryPolicy(max_attempts=1)
    assert policy.delay(1, APIConnectionError(stage=stage)) is None


def test_the_extra_attempt_is_for_want_of_a_connection_alone() -> None:
    """After max_attempts it is what the last one met that counts."""
    policy = RetryPolicy()
    assert policy.delay(4, APIConnectionError(stage="connect")) is not None
    assert policy.delay(4, OverloadedError(status=503)) is None
    assert policy.delay(5, APIConnectionError(stage="connect")) is None


def test_waits_are_drawn_from_the_upper_half_of_a_growing_range() -> None:
    """Waits fill the range from half to all of base · 2ⁿ⁻¹, up to the cap; so do those before a continuation."""
    policy = RetryPolicy(max_attempts=100, base=1.0, cap=10.0)
    for delay in (policy.delay, policy.resume_delay):
        for attempt, ceiling in [(1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (5, 10.0), (50, 10.0)]:
            waits = [delay(attempt, APIConnectionError()) or 0.0 for _ in range(500)]
            assert ceiling * 0.5 <= min(waits) < ceiling * 0.55
            assert ceiling * 0.95 < max(waits) <= ceiling


def test_a_minute_meter_is_given_longer() -> None:
    """A rate limit by the minute gets ranges of 4, 32 and 60 seconds."""
    policy = RetryPolicy()
    tops = [max(policy.delay(n, rate_limit("tpm")) or 0.0 for _ in range(500)) for n in (1, 2, 3)]
    assert 3.8 < tops[0] <= 4.0
    assert 30.0 < tops[1] <= 32.0
    assert 57.0 < tops[2] <= 60.0


def test_retry_after_is_waited_for_up_to_the_cap() -> None:
    """What the service asks for is waited, and beyond the cap there is no retry."""
    policy = RetryPolicy(cap=5.0)
    assert policy.delay(1, OverloadedError(status=503, retry_after=4.5)) == 4.5
    assert policy.delay(1, OverloadedError(status=503, retry_after=0.0)) == 0.0
    assert policy.delay(1, OverloadedError(status=503, retry_after=5.1)) is None


@pytest.mark.parametrize(
    "bad", [{"max_attempts": 0}, {"max_attempts": 1.5}, {"base": -1}, {"cap": float("nan")}, {"budget": True}]
)
def test_a_policy_that_can_not_work_is_refused(bad: dict[str, Any]) -> None:
    """Each field is checked, and named."""
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        RetryPolicy(**bad)


@pytest.mark.parametrize("calls", [50, 51, 100, 1000, 10_000])
def test_calls_in_a_row_to_a_dead_service_make_a_fifth_more_requests(calls: int) -> None:
    """The budget bounds the retries of n calls by n / 5, once its advance is paid back."""
    budget = RetryBudget()
    retries = 0
    for _ in range(calls):
        budget.earn(0.2)
        for _ in range(3):
            retries += budget.draw()
    assert retries <= calls * 0.2
    assert retries >= calls * 0.2 - 10


def test_a_first_call_has_credit() -> None:
    """A client's first calls can retry in full."""
    budget = RetryBudget()
    budget.earn(0.2)
    assert all(budget.draw() for _ in range(10))
    assert not budget.draw()


def test_credit_has_a_ceiling() -> None:
    """A long quiet spell saves up ten retries and no more."""
    budget = RetryBudget()
    for _ in range(10_000):
        budget.earn(0.2)
    assert sum(budget.draw() for _ in range(100)) == 10


async def asked(*errors: SiliconFlowError | None, shared: bool = False) -> int | SiliconFlowError:
    """Return after how many calls one got through that waits at a gate, or the error with which it failed."""
    left = list(errors)

    async def call() -> int:
        error = left.pop(0)
        if error is not None:
            raise error
        return len(errors) - len(left)

    policy = RetryPolicy(base=0.0)
    try:
        return await with_retries(call, policy=policy, budget=RetryBudget(), deadline=None, shared=lambda: shared)
    except SiliconFlowError as error:
        return error


def refused(count: int) -> list[SiliconFlowError]:
    return [rate_limit("rpm") for _ in range(count)]


@pytest.mark.anyio
async def test_refusals_at_a_gate_are_no_attempts() -> None:
    """After eight of them there are three retries still."""
    assert await asked(*refused(8), *(OverloadedError(status=503) for _ in range(3)), None) == 12
    fourth = OverloadedError(status=503)
    assert await asked(*refused(8), *(OverloadedError(status=503) for _ in range(3)), fourth) is fourth
    assert fourth.attempts == 12


@pytest.mark.anyio
async def test_ten_refusals_are_spared_and_no_more() -> None:
    """Those after them are attempts as ever, or a call would be refused for ever."""
    last = rate_limit("rpm")
    assert await asked(*refused(13), last) is last
    assert last.attempts == 14


@pytest.mark.anyio
async def test_who_gave_up_at_the_gate_is_not_asked_again() -> None:
    """Its patience is over, whatever the service said last."""
    error = OverloadedError(status=503)
    error.waited = 600.0
    for shared in (False, True):
        assert await asked(error, shared=shared) is error


def test_one_at_a_time_looks_for_a_service_that_is_away() -> None:
    """Who is refused a look has taken nothing, and the next answer of the service lets others look again."""
    budget = RetryBudget()
    assert [budget.draw_look(60) for _ in range(3)] == [True, False, False]
    assert [budget.draw() for _ in range(10)] == [True] * 9 + [False]
    budget = RetryBudget()
    assert budget.draw_look(60)
    budget.found()
    assert (budget.finds, budget.draw_look(0), budget.draw_look(0)) == (1, True, True)
