"""When a gate takes its service for away, whom it asks meanwhile, and how it finds back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    GatewayTimeoutError,
    Limit,
    MalformedStreamError,
    OverloadedError,
    RateLimitError,
    ServerError,
    SiliconFlowError,
    TruncatedStreamError,
)
from siliconflow_async.limits.gate import Gate
from siliconflow_async.wire.failures import stream_error

from .clock import FakeClock

if TYPE_CHECKING:
    from siliconflow_async.limits.ticket import Ticket

PATIENCE = 600.0
GONE = APIConnectionError("refused")


class Scene:
    """A gate, its clock, and calls that are patient."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.gate = Gate("org/model", Limit(rpm=1_000_000), self.clock)

    def join(self, *, again: bool = False, patience: float | None = PATIENCE, since: float | None = None) -> Ticket:
        since = self.clock.time if since is None else since
        return self.gate.join(0, 0, 10, prompt=10, again=again, patience=patience, since=since)

    def enter(self, **options: Any) -> Ticket:
        ticket = self.join(**options)
        self.gate.poll()
        assert ticket.granted
        return ticket

    def go_away(self, error: SiliconFlowError = GONE) -> None:
        """Five calls fail at once."""
        for ticket in [self.enter() for _ in range(5)]:
            self.gate.ended(ticket, error)
        assert self.is_away

    def answer(self, ticket: Ticket) -> None:
        self.gate.answered(ticket, self.clock.time)
        self.gate.first_token(ticket, None)
        self.gate.ended(ticket)

    @property
    def is_away(self) -> bool:
        return self.gate.outage.since is not None

    def pause(self) -> float:
        return max(0.0, self.gate.pace.paused_until - self.clock.time)


def test_five_failures_in_a_row_are_an_outage_and_four_are_none() -> None:
    """However many more are under way."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(20)]
    for ticket in tickets[:4]:
        scene.gate.ended(ticket, GONE)
    assert not scene.is_away
    assert not any(ticket.shared for ticket in tickets)
    scene.gate.ended(tickets[4], GONE)
    assert scene.is_away
    assert [ticket.shared for ticket in tickets[3:6]] == [False, True, False]


@pytest.mark.parametrize("running", [2, 3, 4])
def test_fewer_are_one_if_they_are_all_that_are_under_way(running: int) -> None:
    """At the end of a run there may be no five."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(running)]
    scene.gate.ended(tickets[0], GONE)
    assert not scene.is_away
    for ticket in tickets[1:]:
        scene.gate.ended(ticket, GONE)
    assert scene.is_away


def test_one_alone_is_none() -> None:
    """It may be its own fault; the second time it is none either, if that is what was doubtful."""
    scene = Scene()
    scene.gate.ended(scene.enter(), ServerError(status=500))
    assert not scene.is_away
    for _ in range(10):
        scene.gate.ended(scene.enter(again=True), ServerError(status=500))
    assert not scene.is_away


@pytest.mark.parametrize("error", [GONE, ServerError(status=502), OverloadedError(status=503)], ids=repr)
def test_one_that_meets_nobody_again_and_again_makes_an_outage(error: SiliconFlowError) -> None:
    """No request is at fault where there is no connection, or nobody behind a gateway."""
    scene = Scene()
    scene.gate.ended(scene.enter(), error)
    scene.gate.ended(scene.enter(again=True), error)
    assert scene.is_away


def test_a_failure_that_is_told_twice_counts_once() -> None:
    """By a stream, and by whoever opened it."""
    scene = Scene()
    for ticket in [scene.enter() for _ in range(9)][:4]:
        scene.gate.ended(ticket, GONE)
        scene.gate.ended(ticket, GONE)
    assert not scene.is_away


ABSENT = [
    GONE,
    APITimeoutError(clock="connect"),
    ServerError(status=500),
    ServerError(status=502),
    OverloadedError(status=503),
    GatewayTimeoutError(status=504),
    ServerError(status=408),
    TruncatedStreamError(empty=True),
    stream_error({"code": 50505, "message": "No."}),
]
PRESENT = [
    BadRequestError(status=400),
    stream_error({"code": 20015, "message": "No."}),
    RateLimitError(status=429),
]
SAYS_NOTHING = [
    APIConnectionError("certificate", transient=False),
    APITimeoutError(clock="first_token"),
    APITimeoutError(clock="total"),
    MalformedStreamError("no JSON"),
]


@pytest.mark.parametrize("error", ABSENT, ids=repr)
def test_these_are_for_want_of_the_service(error: SiliconFlowError) -> None:
    """Five of them are an outage."""
    Scene().go_away(error)


@pytest.mark.parametrize("error", PRESENT + SAYS_NOTHING, ids=repr)
def test_these_are_not(error: SiliconFlowError) -> None:
    """However many there are of them."""
    scene = Scene()
    for ticket in [scene.enter() for _ in range(9)]:
        scene.gate.ended(ticket, error)
        assert not ticket.shared
    assert not scene.is_away


@pytest.mark.parametrize("error", PRESENT, ids=repr)
def test_a_refusal_interrupts_the_row(error: SiliconFlowError) -> None:
    """Who refuses is there."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(20)]
    for ticket in tickets[:4]:
        scene.gate.ended(ticket, GONE)
    scene.gate.ended(tickets[4], error)
    for ticket in tickets[5:9]:
        scene.gate.ended(ticket, GONE)
    assert not scene.is_away


@pytest.mark.parametrize("error", SAYS_NOTHING, ids=repr)
def test_what_says_nothing_interrupts_no_row(error: SiliconFlowError) -> None:
    """Four before it and one after it are five."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(6)]
    for ticket in tickets[:4]:
        scene.gate.ended(ticket, GONE)
    scene.gate.ended(tickets[4], error)
    scene.gate.ended(tickets[5], GONE)
    assert scene.is_away


def test_an_answer_to_what_was_asked_before_the_first_failure_tells_nothing() -> None:
    """It says how the service was then, when it was let out."""
    scene = Scene()
    early, first, *others, late = [scene.enter() for _ in range(8)]
    scene.gate.ended(first, GONE)
    scene.answer(early)
    for ticket in others[:4]:
        scene.gate.ended(ticket, GONE)
    assert scene.is_away
    scene.answer(late)
    assert not scene.is_away


def test_after_an_answer_the_row_begins_anew() -> None:
    """With its own first failure."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(12)]
    for ticket in tickets[:4]:
        scene.gate.ended(ticket, GONE)
    scene.answer(tickets[4])
    for ticket in tickets[6:10]:
        scene.gate.ended(ticket, GONE)
    # Let out after the first failure of the row before, but not of this one.
    scene.answer(tickets[5])
    scene.gate.ended(tickets[10], GONE)
    assert scene.is_away


def test_in_an_outage_one_at_a_time_is_let_out_after_ever_longer_pauses() -> None:
    """A second, two, four, … a minute of the service's, and each is a sixtieth of the window at the least."""
    scene = Scene()
    scene.go_away()
    for _ in range(3):
        scene.join()
    pauses = []
    for _ in range(9):
        pauses.append(scene.pause())
        scene.clock.advance(scene.pause())
        (probe,) = scene.gate.poll()
        scene.gate.ended(probe, GONE)
        assert probe.shared
        scene.join(again=True)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_who_failed_goes_last_in_an_outage() -> None:
    """Else one that brings the service down would be every probe; where the service is there it goes first."""
    scene = Scene()
    scene.go_away()
    fresh, failed = scene.join(), scene.join(again=True)
    scene.clock.advance(1)
    assert scene.gate.poll() == [fresh]
    scene.answer(fresh)
    assert scene.gate.poll() == [failed]


def test_what_was_under_way_says_nothing_new_and_is_spared_too() -> None:
    """Failures of calls from before the outage lengthen no pause."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(64)]
    for ticket in tickets:
        scene.gate.ended(ticket, GONE)
    assert [ticket.shared for ticket in tickets] == [False] * 4 + [True] * 60
    assert scene.pause() == 1


def test_a_pause_is_as_long_as_the_service_asks() -> None:
    """A 503 may have Retry-After."""
    scene = Scene()
    scene.go_away(OverloadedError(status=503, retry_after=7.0))
    assert scene.pause() == 7


def test_an_outage_cuts_short_no_wait_that_a_rate_limit_asked_for() -> None:
    """Neither as it begins nor as it ends."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(8)]
    scene.gate.ended(tickets[0], RateLimitError(status=429, retry_after=30.0))
    assert scene.pause() == 30
    for ticket in tickets[1:6]:
        scene.gate.ended(ticket, GONE)
    assert scene.is_away
    assert scene.pause() == 30
    scene.clock.advance(5)
    scene.answer(tickets[6])
    assert not scene.is_away
    assert scene.pause() == 25


def test_a_late_word_of_a_rate_limit_is_kept_to_as_well() -> None:
    """One refusal began the pause, another asks for longer, and then the service goes away and comes back."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(9)]
    scene.gate.ended(tickets[0], RateLimitError(status=429, retry_after=3.0))
    scene.gate.ended(tickets[1], RateLimitError(status=429, retry_after=30.0))
    scene.gate.ended(tickets[2], RateLimitError(status=429, retry_after=5.0))
    for ticket in tickets[3:8]:
        scene.gate.ended(ticket, GONE)
    assert scene.is_away
    scene.answer(tickets[8])
    assert (scene.is_away, scene.pause()) == (False, 30)


def test_with_an_answer_the_pause_is_over() -> None:
    """One goes first, and then as many as before."""
    scene = Scene()
    tickets = [scene.enter() for _ in range(6)]
    for ticket in tickets[:5]:
        scene.gate.ended(ticket, GONE)
    waiting = [scene.join() for _ in range(3)]
    scene.answer(tickets[5])
    assert (scene.is_away, scene.pause()) == (False, 0)
    assert scene.gate.poll() == waiting[:1]


def test_patience_is_counted_from_when_the_outage_or_the_call_began() -> None:
    """Whichever was later; who has none waits for ever."""
    scene = Scene()
    early = scene.clock.time
    scene.clock.advance(50)
    scene.go_away(OverloadedError("busy", status=503))
    before, plain = scene.join(since=early), scene.join(patience=None)
    scene.clock.advance(1)
    assert scene.gate.poll() == [before]
    scene.gate.ended(before, GONE)
    again = scene.join(again=True, since=early)
    scene.clock.advance(1)
    late = scene.join()
    assert scene.gate.poll() == []
    # So long from its beginning, a second after it.
    scene.clock.advance(PATIENCE - 3)
    at = scene.gate.next_at()
    assert at is not None
    scene.gate.pace.paused_until = math.inf
    assert scene.gate.next_at() == scene.clock.time + 1
    assert scene.gate.poll() == []
    scene.clock.advance(1)
    assert scene.gate.poll() == [again]
    assert (again.granted, again.over, again.last_seen) == (False, True, scene.gate.outage.error)
    assert scene.gate.next_at() == scene.clock.time + 2
    scene.clock.advance(2)
    assert scene.gate.poll() == [late]
    assert scene.gate.next_at() is None
    assert (plain.over, scene.gate.waiting) == (False, 1)


def test_what_was_seen_last_is_told_as_it_was_seen() -> None:
    """A copy: whoever raised it may add to it."""
    scene = Scene()
    error = OverloadedError("busy", status=503)
    scene.go_away(error)
    error.attempts = 7
    assert isinstance(scene.gate.outage.error, OverloadedError)
    assert (scene.gate.outage.error.message, scene.gate.outage.error.attempts) == ("busy", 0)


def test_who_is_not_patient_brings_no_outage_about() -> None:
    """Plain calls fail as ever, but an answer of theirs ends one."""
    scene = Scene()
    for ticket in [scene.enter(patience=None) for _ in range(9)]:
        scene.gate.ended(ticket, GONE)
        assert not ticket.shared
    assert not scene.is_away
    plain = scene.enter(patience=None)
    tickets = [scene.enter() for _ in range(5)]
    later = scene.enter(patience=None)
    for ticket in tickets:
        scene.gate.ended(ticket, GONE)
    scene.answer(plain)
    assert scene.is_away
    scene.answer(later)
    assert not scene.is_away


def test_a_gate_in_an_outage_is_not_forgotten() -> None:
    """Though nobody is there and its pause is over."""
    scene = Scene()
    scene.go_away()
    scene.clock.advance(1000)
    scene.gate.state()
    assert not scene.gate.is_blank()


def test_a_gate_says_that_it_waits_for_the_service() -> None:
    """In the pause with its rest, while a probe is under way without."""
    scene = Scene()
    scene.go_away()
    scene.join()
    scene.join()
    assert (scene.gate.state().waiting_for, scene.gate.state().waiting_left) == ("outage", 1)
    scene.clock.advance(1)
    (probe,) = scene.gate.poll()
    assert (scene.gate.state().waiting_for, scene.gate.state().waiting_left) == ("outage", None)
    scene.answer(probe)
    assert scene.gate.state().waiting_for != "outage"


def test_concurrency_comes_back_to_what_it_was() -> None:
    """By doubling, where it is found out: a 503 before the outage was known has cut it meanwhile."""
    scene = Scene()
    scene.gate.pace.adapt()
    scene.gate.pace.cap = 64.0
    tickets = [scene.enter() for _ in range(64)]
    for ticket in tickets:
        scene.gate.ended(ticket, OverloadedError(status=503))
    assert scene.is_away
    scene.clock.advance(1)
    rounds = 0
    while scene.gate.pace.cap < 64:
        rounds += 1
        for ticket in [scene.enter() for _ in range(int(scene.gate.pace.cap))]:
            scene.answer(ticket)
        assert rounds < 20
