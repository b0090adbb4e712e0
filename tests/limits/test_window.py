"""The sliding log says what was used in the last window, never less, and little more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.limits.window import Window

LENGTH = 60.0
ENTRIES = st.lists(
    st.tuples(st.floats(0, 20), st.floats(0, 90), st.integers(0, 3), st.integers(0, 500)), min_size=1, max_size=60
)


@given(ENTRIES)
def test_it_holds_what_a_plain_log_holds_and_little_more(entries: list[tuple[float, float, int, int]]) -> None:
    """At any time the sums lie between those of the window and those of a window longer by one grain."""
    window = Window(LENGTH)
    plain: list[tuple[float, int, int]] = []
    now = 100.0
    for step, ago, requests, tokens in entries:
        now += step
        window.add(now - ago, requests, tokens)
        plain.append((now - ago, requests, tokens))
        window.expire(now)
        least = [entry for entry in plain if entry[0] > now - LENGTH]
        most = [entry for entry in plain if entry[0] > now - LENGTH * 1.006]
        assert sum(entry[1] for entry in least) <= window.requests <= sum(entry[1] for entry in most)
        assert sum(entry[2] for entry in least) <= window.tokens <= sum(entry[2] for entry in most)


@given(ENTRIES, st.integers(0, 50), st.integers(0, 2000))
def test_it_says_when_so_much_will_have_left(
    entries: list[tuple[float, float, int, int]], requests: int, tokens: int
) -> None:
    """At the time that it names, and not before, at least so many of both have left."""
    window = Window(LENGTH)
    for _, ago, count, size in entries:
        window.add(100.0 - ago, count, size)
    window.expire(100.0)
    before = window.requests, window.tokens
    at = window.leaves_at(requests, tokens)
    if at is None:
        assert before[0] < requests or before[1] < tokens or not len(window)
        return
    if requests or tokens:
        window.expire(at - 0.001)
        assert before[0] - window.requests < requests or before[1] - window.tokens < tokens or at <= 100.001
    window.expire(at)
    assert before[0] - window.requests >= requests
    assert before[1] - window.tokens >= tokens


def test_the_log_is_short_however_much_it_took() -> None:
    """A hundred thousand entries of a minute share some two hundred places."""
    window = Window(LENGTH)
    for count in range(100_000):
        window.add(count * LENGTH / 100_000, 1, 10)
    assert window.requests == 100_000
    assert len(window) <= 201


def test_entries_that_share_a_place_leave_with_the_last_of_them() -> None:
    """Then, and at no time before: the window never says that something has left which hasn't."""
    window = Window(LENGTH)
    window.add(0.0, 1, 10)
    window.add(0.2, 1, 10)
    assert len(window) == 1
    assert window.leaves_at(1, 0) == LENGTH + 0.2
    window.expire(LENGTH + 0.1)
    assert (window.requests, window.tokens) == (2, 20)
    window.expire(LENGTH + 0.2)
    assert (window.requests, window.tokens) == (0, 0)
