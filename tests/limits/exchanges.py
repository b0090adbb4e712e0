"""Sequences of exchanges with a ledger, as any number of processes may make them."""

from __future__ import annotations

from hypothesis import strategies as st

from siliconflow_async.limits.report import Report

__all__ = ["WINDOW", "sequences"]

WINDOW = 6000
# Reports of a few processes that say all that can be said, in any order and at any pace. What they hold is their own
# claim: the ledger has to bear any.
_counts = st.one_of(st.just(0), st.integers(0, 6), st.integers(0, 400))
_uses = st.lists(st.tuples(st.integers(0, WINDOW), _counts, _counts, st.integers(0, 3)), max_size=3)


@st.composite
def _reports(draw: st.DrawFn, rpm: int, tpm: int) -> Report:
    waiting = draw(st.sampled_from([0, 0, 1, 5, 40]))
    return Report(
        process=draw(st.sampled_from("abc")),
        label="host:1",
        seq=draw(st.integers(1, 12)),
        epoch=draw(st.sampled_from(["", "", "*", "*", "*", "*", "lost"])),
        peers=draw(st.integers(1, 3)),
        rpm=rpm,
        tpm=tpm,
        used=tuple(draw(_uses)),
        held_requests=draw(_counts),
        held_tokens=draw(_counts),
        free_requests=draw(_counts),
        free_tokens=draw(_counts),
        want_requests=draw(_counts),
        want_tokens=draw(_counts),
        head_tokens=draw(_counts) if waiting else 0,
        spare_requests=draw(_counts),
        spare_tokens=draw(_counts),
        alone=draw(st.integers(0, 9)) == 0,
        waiting=waiting,
        running=draw(st.integers(0, 3)),
        staying=draw(st.integers(0, 6)) > 0,
        generation=draw(st.integers(1, 4)),
        news=draw(st.sampled_from(["", "", "", "limited", "away", "there"])),
        meter=draw(st.sampled_from(["rpm", "tpm", ""])),
        asked=draw(st.sampled_from([-1, -1, 0, 50, 5000, 10**8])),
    )


@st.composite
def sequences(draw: st.DrawFn) -> list[tuple[int, Report]]:
    """Milliseconds that pass before each report, and the report; an epoch of "*" stands for the ledger's own."""
    rpm, tpm = draw(st.sampled_from([0, 1, 10, 300])), draw(st.sampled_from([0, 20, 500, 5000]))
    pauses = st.sampled_from([0, 1, 7, 30, 100, 500, 1500, 7000])
    return draw(st.lists(st.tuples(pauses, _reports(rpm, tpm)), min_size=1, max_size=25))
