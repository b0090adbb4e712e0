"""Many processes under one limit, in simulated time: real gates, a real ledger, messages that take up to 200 ms."""

from __future__ import annotations

import random
from typing import Any

import pytest

from benchmarks.fleet import Fleet, Judge
from siliconflow_async import Limit
from siliconflow_async.limits.ledger import Ledger
from siliconflow_async.limits.report import Reply, Report

WINDOW = 60.0


def calls(prompt: int, answer: int) -> Any:
    """The size of each call, in tokens: random up to these."""

    def size(chance: random.Random) -> tuple[int, int]:
        return chance.randint(1, prompt), answer

    return size


def served(fleet: Fleet) -> list[int]:
    return [process.served for process in fleet.processes if not process.dead]


@pytest.mark.parametrize("processes", [1, 3, 8, 30])
def test_a_limit_is_kept_to_and_used_and_shared_fairly(processes: int) -> None:
    """Not one refusal, no window above the limit, and next to nothing of it left; no one gets 1.5 times another's."""
    fleet = Fleet(processes, Limit(rpm=300), backlog=20, seed=processes)
    # Who came first had all there was, and makes good for it.
    fleet.run(3 * WINDOW)
    before, first = served(fleet), fleet.judge.served
    fleet.run(7 * WINDOW)
    assert fleet.judge.refused == 0
    assert fleet.judge.peak_requests <= 300
    assert fleet.judge.served - first >= 0.97 * 4 * 300
    shares = [after - then for after, then in zip(served(fleet), before, strict=True)]
    assert max(shares) <= 1.5 * min(shares)


def test_tokens_are_shared_like_requests() -> None:
    """Estimates are reserved, corrected and settled: their sum keeps to the limit in every window."""
    fleet = Fleet(8, Limit(rpm=10_000, tpm=100_000), size=calls(500, 200), backlog=10, seed=3)
    fleet.run(3 * WINDOW)
    before = served(fleet)
    fleet.run(7 * WINDOW)
    assert fleet.judge.refused == 0
    assert 80_000 <= fleet.judge.peak_tokens <= 100_000
    shares = [after - then for after, then in zip(served(fleet), before, strict=True)]
    assert max(shares) <= 1.5 * min(shares)


def test_one_above_the_limit_runs_alone_and_is_not_starved() -> None:
    """It waits until the window is empty, while others' smaller calls wait behind it."""
    fleet = Fleet(3, Limit(tpm=1000), size=calls(20, 10), backlog=5, seed=4)
    fleet.run(WINDOW)
    large = fleet.processes[0].gate.join(0, 0, 500, prompt=600)
    fleet.processes[0]._most[large] = 500
    fleet.run(8 * WINDOW)
    assert large.granted
    assert all(count > 0 for count in served(fleet))


def test_a_process_that_dies_holds_nothing_for_long() -> None:
    """What it held counts as used, and is there again a window later."""
    fleet = Fleet(8, Limit(rpm=160), backlog=10, seed=5)
    fleet.run(1.5 * WINDOW)
    for process in fleet.processes[:4]:
        process.crash()
    fleet.run(3 * WINDOW)
    assert len(fleet.ledger.processes) == 4
    first = fleet.judge.served
    fleet.run(6 * WINDOW)
    assert fleet.judge.refused == 0
    assert fleet.judge.served - first >= 0.95 * 3 * 160


@pytest.mark.parametrize("forgets", [False, True])
@pytest.mark.parametrize("seconds", [0.5, 20.0, 130.0])
def test_while_the_store_is_away_each_keeps_to_its_share(forgets: bool, seconds: float) -> None:
    """In mid-window, for moments or windows, with its data or without: nothing is refused then or after."""
    fleet = Fleet(8, Limit(rpm=240), backlog=10, seed=6)
    fleet.run(1.3 * WINDOW)
    fleet.store_away = True
    fleet.run(1.3 * WINDOW + seconds)
    if forgets:
        fleet.ledger = Ledger(round(1000 * WINDOW))
    fleet.store_away = False
    first = fleet.judge.served
    fleet.run(1.3 * WINDOW + seconds + 4 * WINDOW)
    assert fleet.judge.refused == 0
    assert fleet.judge.peak_requests <= 240
    assert fleet.judge.served - first >= 0.8 * 4 * 240
    assert not any(process.gate.meters.alone for process in fleet.processes)


def test_a_share_is_used_while_the_store_is_away() -> None:
    """A window after it has gone, each lets out what is its own."""
    fleet = Fleet(4, Limit(rpm=80), backlog=10, seed=7)
    fleet.run(1.3 * WINDOW)
    fleet.store_away = True
    fleet.run(3 * WINDOW)
    before = served(fleet)
    fleet.run(5 * WINDOW)
    assert [after - then for after, then in zip(served(fleet), before, strict=True)] == pytest.approx([40] * 4, abs=3)


def test_after_a_refusal_all_pause_and_one_probe_goes() -> None:
    """The limit is not what it was said to be: while a pause lasts nothing is sent, then one call, whoever's it is."""
    sent = []

    class Strict(Judge):
        def arrive(self, at: float, tokens: int) -> bool:
            sent.append(at)
            return super().arrive(at, tokens)

    fleet = Fleet(8, Limit(rpm=1000), delays=(0.001, 0.02), judge=Strict(300, None, WINDOW), seed=8)
    fleet.run(0.5)
    while not fleet.ledger.pause:
        fleet.run(fleet.time + 0.01)
    pauses = 0
    while pauses < 4:
        # A message under way when the pause began may still arrive.
        heard, over = fleet.time + 0.3, fleet.ledger.paused_until / 1000
        generation = fleet.ledger.generation
        fleet.run(heard)
        count = len(sent)
        fleet.run(over)
        assert len(sent) == count
        while fleet.ledger.generation == generation and fleet.ledger.pause:
            fleet.run(fleet.time + 0.001)
        assert len(sent) - count <= 1
        if not fleet.ledger.pause:
            break
        assert len(sent) - count == 1
        pauses += 1
    assert pauses >= 2


def test_a_limit_that_nobody_gave_is_learned_by_all_together() -> None:
    """A process that comes later begins where the others are."""
    fleet = Fleet(4, Limit(), judge=Judge(300, None, WINDOW), backlog=10, delays=(0.001, 0.05), seed=9)
    fleet.run(6 * WINDOW)
    assert fleet.ledger.learned
    assert 240 <= fleet.ledger.rpm <= 330
    refused, served_before = fleet.judge.refused, fleet.judge.served
    fleet.run(12 * WINDOW)
    assert fleet.judge.served - served_before >= 0.75 * 6 * 300
    assert fleet.judge.refused - refused <= 0.05 * 6 * 300
    assert fleet.processes[0].gate.state().rpm == fleet.ledger.rpm


def test_what_waits_for_nobody_is_given_back() -> None:
    """Processes that ask for nothing any more hold nothing."""
    fleet = Fleet(5, Limit(rpm=3000), rate=2, backlog=0, seed=10)
    fleet.run(10)
    assert fleet.ledger.leased_requests > 0
    fleet.rate = None
    fleet.run(20)
    assert (fleet.ledger.leased_requests, fleet.ledger.leased_tokens) == (0, 0)
    fleet.run(20 + 2 * WINDOW)
    assert fleet.ledger.processes == {}


def test_blocks_leave_no_more_than_a_fiftieth_idle() -> None:
    """What lies free in all processes, for calls to come, at any time."""
    fleet, most = Fleet(10, Limit(rpm=6000), rate=5, backlog=0, seed=11), 0
    for tick in range(40):
        fleet.run(tick / 10)
        most = max(most, sum(max(0, process.gate.meters.free_requests) for process in fleet.processes))
    assert 20 <= most <= 0.02 * 6000


def test_a_report_that_arrives_twice_counts_once() -> None:
    """So does one whose answer was lost, and which is made again."""
    ledger = Ledger(60_000)
    report = Report(process="a", label="", seq=1, epoch="", peers=1, rpm=10, used=((0, 3, 0, 0),), running=1)
    replies: list[Reply] = [ledger.exchange(report, now) for now in (1000, 1001)]
    assert [reply.window_requests for reply in replies] == [3, 3]
