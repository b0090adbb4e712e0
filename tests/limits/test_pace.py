"""Adaptive concurrency: up while all goes well, down on 429, on 503, and when first tokens come late."""

from __future__ import annotations

from itertools import pairwise

import pytest

from siliconflow_async.limits.pace import Pace


class Road:
    """A service that bears so many calls at a time, and takes `seconds` to the first token."""

    def __init__(self) -> None:
        self.pace = Pace(60.0)
        self.pace.adapt()
        self.now = 0.0

    def round(self, seconds: float = 0.5, *, bears: int = 10**9) -> int:
        """As many calls as may begin; return how many did."""
        begun = []
        while self.pace.ready(self.now):
            begun.append(self.pace.begin())
        for number, generation in enumerate(begun):
            if number >= bears:
                self.pace.overload(generation)
            else:
                self.pace.succeed(generation, self.now, seconds)
        for generation in begun:
            self.pace.end(generation)
        self.now += 1
        return len(begun)


def test_it_doubles_until_something_goes_wrong() -> None:
    """From 8 it grows as a service lets it, by about twice in each round."""
    road = Road()
    rounds = [road.round() for _ in range(5)]
    assert rounds[0] == 8
    assert all(1.4 * before <= after <= 2 * before for before, after in pairwise(rounds))


def test_an_overloaded_service_is_found_out() -> None:
    """With 503 beyond 40 calls at a time, it settles near 40."""
    road = Road()
    for _ in range(30):
        road.round(bears=40)
    rounds = [road.round(bears=40) for _ in range(60)]
    assert min(rounds) >= 25
    assert max(rounds) <= 60


def test_many_errors_of_one_round_cut_once() -> None:
    """All calls of a round tell of the same overload."""
    road = Road()
    before = road.round(bears=0)
    assert road.round() >= int(0.7 * before)


def test_late_first_tokens_cut_it() -> None:
    """A time to first token that grows many times over is a queue that is getting longer."""
    road = Road()
    for _ in range(4):
        road.round(0.5)
    cap = road.pace.cap
    for _ in range(4):
        road.round(5.0)
    assert road.pace.cap < cap / 2


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.9])
def test_a_little_later_is_no_matter(seconds: float) -> None:
    """Fractions of a second are chance, however many times the least they are."""
    road = Road()
    road.round(0.0001)
    for _ in range(10):
        before = road.pace.cap
        road.round(seconds)
        assert road.pace.cap >= before


def test_after_a_rate_limit_it_comes_back_to_half() -> None:
    """One probe, a ramp that doubles up to half of what went wrong, then one more in each round."""
    road = Road()
    for _ in range(3):
        road.round()
    cap = road.pace.cap
    generation = road.pace.begin()
    assert road.pace.refuse(generation, road.now, None) == 1.0
    assert not road.pace.ready(road.now)
    road.now += 1.0
    rounds = [road.round() for _ in range(8)]
    assert rounds[:4] == [1, 2, 3, 6] or rounds[:4] == [1, 2, 4, 8]
    assert rounds[-1] - rounds[-2] <= 1
    assert cap / 2 <= rounds[-1] <= cap / 2 + 5


@pytest.mark.parametrize("probes", [0, 3])
def test_after_a_rate_limit_that_taught_one_it_comes_back_to_what_it_was(probes: int) -> None:
    """One probe, or several that are refused, then all at once: how many at a time was not what went wrong."""
    road = Road()
    for _ in range(3):
        road.round()
    cap = road.pace.cap
    for number in range(1 + probes):
        assert road.pace.refuse(road.pace.begin(), road.now, None, learned=number == 0) is not None
        road.now += 100
    assert [road.round() for _ in range(2)] == [1, int(cap)]


def test_a_probe_that_meets_an_overload_lets_it_grow_slowly() -> None:
    """A 503 says that many at a time are too many, whatever the window takes."""
    road = Road()
    for _ in range(3):
        road.round()
    road.pace.refuse(road.pace.begin(), road.now, None, learned=True)
    road.now += 100
    assert [road.round(bears=0), road.round(), road.round()] == [1, 1, 2]


def test_probes_that_are_refused_don_t_forget_what_went_well() -> None:
    """A meter that takes long to clear leaves concurrency as it was found before."""
    road = Road()
    for _ in range(3):
        road.round()
    cap = road.pace.cap
    for _ in range(5):
        road.pace.refuse(road.pace.begin(), road.now, None)
        road.now += 100
    for _ in range(6):
        road.round()
    assert road.pace.cap >= cap / 2


def test_without_adapting_nothing_bounds_it() -> None:
    """Where limits are given, the number of calls at a time is the caller's."""
    pace = Pace(60.0)
    for _ in range(5000):
        assert pace.ready(0.0)
        pace.begin()


def test_a_service_may_ask_for_ten_minutes_and_no_more() -> None:
    """Whoever hears it: the call that begins the pause, and one that was under way; that one never shortens it."""
    pace = Pace(60.0)
    first, second, third = pace.begin(), pace.begin(), pace.begin()
    assert pace.refuse(first, 100.0, 10.0**6) == 600.0
    pace.refuse(second, 101.0, 10.0**6)
    assert pace.paused_until == 701.0
    pace.refuse(third, 102.0, 1.0)
    assert pace.paused_until == 701.0


@pytest.mark.parametrize(("window", "most"), [(60.0, 60.0), (6.0, 6.0), (600.0, 60.0)])
def test_pauses_grow_to_a_window_or_a_minute(window: float, most: float) -> None:
    """However often a probe is refused."""
    pace = Pace(window)
    pauses = []
    now = 0.0
    for _ in range(1100):
        pause = pace.refuse(pace.begin(), now, None)
        assert pause is not None
        pauses.append(pause)
        now += pause
    assert pauses[0] == window / 60
    assert max(pauses) == pauses[-1] == most


def test_a_call_from_before_a_pause_says_nothing_of_the_next() -> None:
    """It succeeds late, and the probe that is refused waits twice as long all the same."""
    pace = Pace(60.0)
    before, refused = pace.begin(), pace.begin()
    assert pace.refuse(refused, 0.0, None) == 1.0
    pace.succeed(before, 0.5, None)
    assert pace.refuse(pace.begin(), 1.0, None) == 2.0


def test_one_late_round_cuts_once() -> None:
    """What comes in time after it is not measured by what came before it."""
    road = Road()
    for _ in range(4):
        road.round(0.5)
    while (cap := road.pace.cap) and road.round(5.0) and road.pace.cap >= cap:
        pass
    for _ in range(3):
        cap = road.pace.cap
        road.round(0.5)
        assert road.pace.cap >= cap


def test_what_was_possible_long_ago_is_forgotten() -> None:
    """A model that has become slower for good is not cut down to one call at a time."""
    road = Road()
    road.round(0.1)
    for _ in range(2):
        road.now += 601
        road.round(2.0)
    cap = road.pace.cap
    for _ in range(5):
        road.round(2.0)
    assert road.pace.cap > cap


def test_concurrency_that_nobody_uses_does_not_grow() -> None:
    """One call at a time says nothing of how sixteen would fare."""
    pace = Pace(60.0)
    pace.adapt()
    for now in range(100):
        generation = pace.begin()
        pace.succeed(generation, now, 0.1)
        pace.end(generation)
    assert pace.cap == 8


def test_an_overload_is_measured_by_what_was_under_way() -> None:
    """Four calls that were too many are cut from four, whatever might have been; one is never too many."""
    road = Road()
    for _ in range(4):
        road.round()
    assert road.pace.cap > 16
    few = [road.pace.begin() for _ in range(4)]
    road.pace.overload(few[0])
    assert road.pace.cap == pytest.approx(2.8)
    for generation in few:
        road.pace.end(generation)
    for _ in range(5):
        generation = road.pace.begin()
        road.pace.overload(generation)
        road.pace.end(generation)
    assert road.pace.cap == 1
