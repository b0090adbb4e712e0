"""A gate's single decisions: what counts from when, what is given back, what a refusal teaches."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    ClosedError,
    ConfigurationError,
    Limit,
    OverloadedError,
    RateLimitError,
    TruncatedStreamError,
)
from siliconflow_async.limits.estimate import Estimate
from siliconflow_async.limits.gate import Gate
from siliconflow_async.wire.failures import stream_error

from .clock import FakeClock, usage

if TYPE_CHECKING:
    from siliconflow_async.limits.ticket import Ticket

WINDOW = 60.0


class Scene:
    """A gate, its clock, and calls of 10 tokens in and 10 out."""

    def __init__(self, **limit: Any) -> None:
        self.clock = FakeClock()
        self.gate = Gate("org/model", Limit(**limit), self.clock)

    def join(self, prompt: int = 10, most: int | None = 10) -> Ticket:
        return self.gate.join(0, 0, most, prompt=prompt)

    def enter(self, prompt: int = 10, most: int | None = 10) -> Ticket:
        ticket = self.join(prompt, most)
        self.gate.poll()
        assert ticket.granted
        return ticket

    def pause(self) -> float:
        return max(0.0, self.gate.pace.paused_until - self.clock.time)

    def serve(self, count: int) -> None:
        for _ in range(count):
            ticket = self.enter()
            self.gate.answered(ticket, self.clock.time)
            self.gate.first_token(ticket, None)
            self.gate.ended(ticket)

    def granted(self, ticket: Ticket) -> bool:
        self.gate.poll()
        return ticket.granted


def refusal(meter: str | None, asked: float | None = None) -> RateLimitError:
    error = RateLimitError(status=429, retry_after=asked)
    error.meter = meter
    return error


def test_a_request_counts_from_when_it_may_have_reached_the_service() -> None:
    """Sent long before it was answered, it leaves the window three seconds after one that was answered at once."""
    scene = Scene(rpm=1)
    ticket = scene.enter()
    sent_at = scene.clock.time
    scene.clock.advance(30)
    scene.gate.answered(ticket, sent_at)
    scene.gate.ended(ticket)
    waits = scene.join()
    assert not scene.granted(waits)
    assert scene.gate.next_at() == sent_at + 3 + WINDOW
    scene.clock.time = sent_at + 3 + WINDOW
    assert scene.granted(waits)


def test_a_request_that_nobody_has_answered_counts_however_long_ago_it_was_sent() -> None:
    """An unanswered request may reach the service at any time."""
    scene = Scene(rpm=1)
    ticket = scene.enter()
    waits = scene.join()
    scene.clock.advance(10 * WINDOW)
    assert not scene.granted(waits)
    scene.gate.give_back(ticket)
    assert scene.granted(waits)


@pytest.mark.parametrize("limit", [{"rpm": 3}, {"tpm": 60}])
def test_what_fits_exactly_begins_and_no_more(limit: dict[str, int]) -> None:
    """Three calls of 20 tokens fill the limit to its last request or token."""
    scene = Scene(**limit)
    assert [scene.granted(scene.join()) for _ in range(4)] == [True, True, True, False]


def test_one_above_the_limit_waits_until_nothing_runs() -> None:
    """An empty window is not enough as long as an answer is under way."""
    scene = Scene(tpm=100)
    runs = scene.enter(prompt=0, most=0)
    scene.gate.answered(runs, scene.clock.time)
    large = scene.join(prompt=500)
    small = scene.join()
    assert not scene.granted(large)
    scene.gate.ended(runs)
    assert scene.granted(large)
    assert not scene.granted(small)


def test_without_usage_a_chunk_is_a_token() -> None:
    """An answer without usage is charged by its chunks, and its prompt as estimated."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=100, most=500)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 30, None)
    scene.gate.used(ticket, 12, None)
    scene.gate.ended(ticket)
    assert scene.gate.meters.window.tokens == 142
    assert scene.gate.state().reserved == 0


def test_usage_corrects_the_estimate_while_the_answer_comes() -> None:
    """Tokens pass from the estimate to the window; a prompt that was over-estimated makes room at once."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=700, most=200)
    waits = scene.join(prompt=100, most=100)
    assert not scene.granted(waits)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(500, 10))
    assert (scene.gate.meters.window.tokens, scene.gate.meters.reserved) == (510, 190)
    assert scene.granted(waits)


def test_room_that_the_prompt_s_usage_makes_is_told() -> None:
    """Nobody would look again before the answer ends."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=900, most=50)
    scene.join(prompt=300)
    told: list[bool] = []
    scene.gate.changed = lambda: told.append(True)
    scene.gate.answered(ticket, scene.clock.time)
    told.clear()
    scene.gate.used(ticket, 1, usage(500, 10))
    assert told == [True]
    scene.gate.used(ticket, 1, usage(500, 11))
    assert told == [True]


def test_usage_that_falls_takes_nothing_back() -> None:
    """What the service has told once was used."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=10, most=100)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(10, 50))
    scene.gate.used(ticket, 1, usage(10, 20))
    assert (scene.gate.meters.window.tokens, ticket.tokens) == (60, 50)


def test_a_prompt_of_no_tokens_is_not_believed() -> None:
    """Some servers tell of the answer alone: then the estimate stands."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=100, most=100)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(0, 5))
    assert (scene.gate.meters.window.tokens, scene.gate.meters.reserved) == (5, 195)
    scene.gate.ended(ticket)
    assert scene.gate.meters.window.tokens == 105


def test_what_answers_under_way_hold_is_looked_for_again() -> None:
    """Though nothing in the window could leave: their tokens come to be in it, and pass."""
    scene = Scene(tpm=100)
    scene.enter(prompt=0, most=90)
    scene.join(prompt=50)
    at = scene.gate.next_at()
    assert at is not None
    assert scene.clock.time < at < scene.clock.time + WINDOW


def test_an_answer_that_is_longer_than_estimated_is_expected_to_go_on() -> None:
    """What is owed never comes to nothing while the answer comes."""
    scene = Scene(tpm=10_000)
    ticket = scene.enter(prompt=10, most=None)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 2000, usage(10, 2000))
    assert ticket.owed == 2000


def test_an_answer_a_little_longer_than_estimated_is_expected_to_go_on() -> None:
    """From the first token above the estimate it is taken for half of what comes."""
    scene = Scene(tpm=10_000)
    ticket = scene.enter(prompt=10, most=1000)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(10, 1000))
    assert ticket.owed == 0
    scene.gate.used(ticket, 1, usage(10, 1001))
    assert ticket.owed == 1001


def test_the_tokens_of_a_long_answer_leave_one_by_one() -> None:
    """What came 50 seconds into an answer is in the window for 50 seconds longer than its prompt."""
    scene = Scene(tpm=1000)
    ticket = scene.enter(prompt=100, most=800)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(100, 1))
    scene.clock.advance(50)
    scene.gate.used(ticket, 1, usage(100, 800))
    scene.gate.ended(ticket)
    scene.clock.advance(15)
    scene.gate.poll()
    assert scene.gate.meters.window.tokens == 799


def test_estimates_learn_from_usage() -> None:
    """Ratio and length of answers go up at once and come down slowly."""
    gate = Gate("m", Limit(tpm=10**9), FakeClock())
    first = gate.join(1000, 0, None)
    assert first.owed == 400 + 1024
    gate.poll()
    gate.answered(first, 0.0)
    gate.used(first, 1, usage(800, 5000))
    gate.ended(first)
    second = gate.join(1000, 0, None)
    assert second.owed == 800 + 5000
    gate.poll()
    gate.answered(second, 0.0)
    gate.used(second, 1, usage(100, 0))
    assert gate.join(1000, 0, 0).owed == 730


def test_an_estimate_goes_up_at_once_by_however_little() -> None:
    """Half as much again for the prompt and for the answer, and the next call is expected to use that."""
    gate = Gate("m", Limit(tpm=10**9), FakeClock())
    first = gate.join(1000, 0, None)
    gate.answered(first, 0.0)
    gate.used(first, 1, usage(600, 1536))
    gate.ended(first)
    assert gate.join(1000, 0, None).owed == 600 + 1536


@pytest.mark.parametrize(
    ("error", "requests", "tokens"),
    [
        (refusal("rpm"), 1, 0),
        (TruncatedStreamError(), 1, 10),
        (APITimeoutError(clock="first_token"), 1, 10),
        (APITimeoutError(clock="connect"), 0, 0),
        (APIConnectionError(stage="connect"), 0, 0),
        (APIConnectionError(), 1, 10),
        (ClosedError(), 0, 0),
    ],
    ids=["refused", "broken off", "not answered", "not connected", "connection refused", "dropped", "not sent"],
)
def test_what_fails_costs_a_request(error: Any, requests: int, tokens: int) -> None:
    """A refused request costs no tokens; one that breaks off costs its prompt; one not sent costs nothing."""
    scene = Scene(rpm=10, tpm=1000)
    scene.gate.ended(scene.enter(), error)
    assert (scene.gate.meters.window.requests, scene.gate.meters.window.tokens, scene.gate.meters.reserved) == (
        requests,
        tokens,
        0,
    )


def test_a_refusal_stops_all_then_one_goes_first_then_more_and_more(caplog: pytest.LogCaptureFixture) -> None:
    """After the pause there is one probe; each first token then lets out two."""
    scene = Scene(rpm=1000)
    scene.gate.ended(scene.enter(), refusal("tpm"))
    assert "rate limit (tpm) reached, all calls wait 1.00 s" in caplog.text
    waiting = [scene.join() for _ in range(10)]
    assert scene.gate.poll() == []
    assert scene.pause() == 1.0
    scene.clock.advance(1)
    assert scene.gate.poll() == waiting[:1]
    scene.gate.first_token(waiting[0], None)
    assert scene.gate.poll() == waiting[1:2]
    scene.gate.ended(waiting[0])
    scene.gate.first_token(waiting[1], None)
    assert scene.gate.poll() == waiting[2:4]


def test_pauses_grow_until_a_call_succeeds() -> None:
    """A probe that is refused doubles the pause; one that succeeds starts anew."""
    scene = Scene(rpm=1000)
    pauses = []
    for _ in range(3):
        scene.gate.ended(scene.enter(), refusal("rpm"))
        pauses.append(scene.pause())
        scene.clock.advance(pauses[-1])
    ticket = scene.enter()
    scene.gate.first_token(ticket, None)
    scene.gate.ended(ticket, refusal("rpm"))
    assert [*pauses, scene.pause()] == [1.0, 2.0, 4.0, 1.0]


def test_refusals_of_calls_that_were_under_way_don_t_lengthen_the_pause() -> None:
    """A burst of refusals is one; but the service's own word counts from any of them."""
    scene = Scene(rpm=1000)
    tickets = [scene.enter() for _ in range(5)]
    for ticket in tickets[:4]:
        scene.gate.ended(ticket, refusal("rpm"))
    assert scene.pause() == 1.0
    scene.gate.ended(tickets[4], refusal("rpm", 30.0))
    assert scene.pause() == 30.0


def test_a_meter_by_the_day_stops_nobody() -> None:
    """What takes a day to clear is not waited for."""
    scene = Scene(rpm=1000)
    scene.gate.ended(scene.enter(), refusal("rpd"))
    assert scene.pause() == 0.0


def test_a_refusal_inside_a_stream_counts_too() -> None:
    """The code tells, where the status was 200."""
    scene = Scene(rpm=1000)
    scene.gate.ended(scene.enter(), stream_error({"code": 50602, "message": "TPM limit reached"}))
    assert scene.pause() == 1.0


def test_a_limit_that_nobody_gave_is_learned(caplog: pytest.LogCaptureFixture) -> None:
    """The refusal says which meter it is, the log how much it took; what succeeds meanwhile is added."""
    caplog.set_level(logging.INFO, "siliconflow_async")
    scene = Scene()
    scene.gate.pace.adapt()
    scene.serve(50)
    late, refused = scene.enter(), scene.enter()
    scene.gate.ended(refused, refusal("rpm"))
    scene.gate.answered(late, scene.clock.time)
    scene.gate.ended(late)
    state = scene.gate.state()
    assert (state.rpm, state.tpm, state.learned) == (51, None, True)
    assert "learned a limit" in caplog.text
    waits = scene.join()
    scene.clock.advance(1)
    assert not scene.granted(waits)
    scene.clock.advance(WINDOW)
    assert scene.granted(waits)


@pytest.mark.parametrize(("served", "learned"), [(4, None), (5, 5)])
def test_a_handful_of_requests_teaches_nothing(served: int, learned: int | None) -> None:
    """It was another's use that filled the meter."""
    scene = Scene()
    scene.serve(served)
    scene.gate.ended(scene.enter(), refusal("rpm"))
    assert scene.gate.meters.rpm == learned


@pytest.mark.parametrize("seconds", [2, 2 * WINDOW])
def test_what_was_refused_was_not_taken(seconds: float) -> None:
    """It is in the window, and not in what is learned; a refusal that has left the window is in neither."""
    scene = Scene()
    scene.serve(10)
    scene.gate.ended(scene.enter(), refusal(None))
    scene.clock.advance(seconds)
    scene.serve(10)
    scene.gate.ended(scene.enter(), refusal("rpm"))
    assert scene.gate.meters.rpm == (20 if seconds < WINDOW else 10)


def test_the_rest_of_a_burst_that_is_refused_teaches_nothing_more() -> None:
    """It was sent before the first refusal, and knows no better."""
    scene = Scene()
    scene.serve(10)
    first, second = scene.enter(), scene.enter()
    scene.gate.ended(first, refusal("rpm"))
    scene.gate.ended(second, refusal("tpm"))
    assert (scene.gate.meters.rpm, scene.gate.meters.tpm) == (10, None)


def test_a_limit_of_tokens_is_learned_and_raised_alike() -> None:
    """The log says how many the meter took, and they grow while they hold calls up."""
    scene = Scene()
    scene.serve(100)
    scene.gate.ended(scene.enter(), refusal("tpm"))
    assert (scene.gate.meters.rpm, scene.gate.meters.tpm) == (None, 1000)
    scene.clock.advance(1)
    assert not scene.granted(scene.join())
    scene.clock.advance(WINDOW + 1)
    scene.gate.poll()
    assert scene.gate.meters.tpm == 1020


@pytest.mark.parametrize("error", [OverloadedError(status=503), stream_error({"code": 50603, "message": "No."})])
def test_an_overload_means_fewer_at_a_time(error: Any) -> None:
    """By status, and by code within a stream, where concurrency is found out."""
    scene = Scene()
    scene.gate.pace.adapt()
    running = [scene.enter() for _ in range(8)]
    scene.gate.ended(running[0], error)
    assert scene.gate.pace.cap < 8


def test_what_teaches_a_limit_costs_no_concurrency() -> None:
    """The probe goes first, then as many as before: the limit alone holds them up."""
    scene = Scene()
    scene.gate.pace.adapt()
    scene.serve(50)
    cap = scene.gate.pace.cap = 40.0
    scene.gate.ended(scene.enter(), refusal("rpm"))
    waiting = [scene.join() for _ in range(60)]
    scene.clock.advance(WINDOW + 1)
    (probe,) = scene.gate.poll()
    scene.gate.first_token(probe, None)
    assert len(scene.gate.poll()) == cap - 1
    assert sum(ticket.granted for ticket in waiting) == cap


def test_a_learned_limit_is_raised_while_it_holds_calls_up() -> None:
    """It may have been another's use that filled the meter: each good window raises it by a larger step."""
    scene = Scene()
    scene.serve(100)
    scene.gate.ended(scene.enter(), refusal("rpm"))
    scene.clock.advance(WINDOW + 1)
    limits = [scene.gate.meters.rpm]
    for _ in range(3):
        scene.serve(limits[-1] or 0)
        assert not scene.granted(scene.join())
        scene.clock.advance(WINDOW + 1)
        for ticket in scene.gate.poll():
            scene.gate.answered(ticket, 0.0)
            scene.gate.first_token(ticket, None)
            scene.gate.ended(ticket)
        limits.append(scene.gate.meters.rpm)
    assert limits == [100, 102, 107, 116]


@pytest.mark.parametrize("meter", ["rpm", "tpm"])
def test_a_given_limit_is_never_changed(meter: str) -> None:
    """A refusal pauses, but the user's word stands."""
    scene = Scene(rpm=50, tpm=5000)
    scene.serve(30)
    scene.gate.ended(scene.enter(), refusal(meter))
    state = scene.gate.state()
    assert (state.rpm, state.tpm, state.learned) == (50, 5000, False)


@pytest.mark.parametrize(
    "bad", [{"rpm": 0}, {"tpm": True}, {"rpm": 1.5}, {"window": 0}, {"window": float("inf")}, {"count_tokens": 5}]
)
def test_a_limit_that_is_none_is_refused(bad: dict[str, Any]) -> None:
    """The error names what is wrong."""
    with pytest.raises(ConfigurationError, match=next(iter(bad))):
        Limit(**bad)


def test_one_that_comes_again_goes_first() -> None:
    """A call that was refused keeps its place before those that came after it."""
    scene = Scene(rpm=1000)
    scene.gate.ended(scene.enter(), refusal("rpm"))
    scene.join()
    again = scene.gate.join(0, 0, 1, prompt=1, again=True)
    scene.clock.advance(1)
    assert scene.gate.poll() == [again]


@pytest.mark.parametrize("tokens", [10**12, 2**63, 10**30, -(10**12)])
@pytest.mark.parametrize("most", [10, None])
def test_an_absurd_usage_is_not_believed(tokens: int, most: int | None) -> None:
    """No prompt and no answer is so large: neither the window nor the estimates take it in, and the next call goes."""
    gate = Gate("m", Limit(tpm=10_000), FakeClock())
    first = gate.join(1000, 0, most)
    expected = first.owed
    gate.answered(first, 0.0)
    gate.used(first, 3, usage(tokens, tokens))
    assert gate.meters.reserved == expected
    gate.ended(first)
    assert gate.meters.window.tokens == 400 + 3
    assert gate.meters.reserved == 0
    again = gate.join(1000, 0, most)
    assert again.granted
    assert again.owed == expected


def test_what_is_absurd_goes_by_what_was_asked() -> None:
    """A text has no more tokens than bytes, but for what a service adds; an answer keeps to about max_tokens."""
    gate = Gate("m", Limit(tpm=10**9), FakeClock())
    for size, prompt, most, answer, believed in (
        (1000, 1000 + 2**16, 100, 200 + 2**16, 1000 + 2**16 + 200 + 2**16),
        (1000, 1001 + 2**16, 100, 201 + 2**16, 400 + 1),
        (1000, 500, None, 2**22, 500 + 2**22),
        (1000, 500, None, 2**22 + 1, 500 + 1),
    ):
        gate.meters.window.expire(math.inf)
        gate.meters.estimate = Estimate()
        ticket = gate.join(size, 0, most)
        gate.answered(ticket, 0.0)
        gate.used(ticket, 1, usage(prompt, answer))
        gate.ended(ticket)
        assert gate.meters.window.tokens == believed


def test_a_picture_may_have_many_tokens() -> None:
    """What is no text says nothing of its tokens by its size."""
    scene = Scene(tpm=10**9)
    ticket = scene.gate.join(10, 1024, 10)
    scene.gate.answered(ticket, scene.clock.time)
    scene.gate.used(ticket, 1, usage(900_000, 10))
    scene.gate.ended(ticket)
    assert scene.gate.meters.window.tokens == 900_010
