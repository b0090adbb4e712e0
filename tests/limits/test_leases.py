"""A process's part of limits that are shared, exchange by exchange with a ledger."""

from __future__ import annotations

from siliconflow_async import Limit
from siliconflow_async.limits.ledger import Ledger
from siliconflow_async.limits.sharedgate import SharedGate

from .clock import FakeClock

WINDOW = 6.0
NOW = 1_000_000


def test_a_call_that_is_answered_while_a_loss_is_told_lets_nobody_out() -> None:
    """It was held when that was reported, and is used afterwards: counted twice, it would be another call's."""
    clock = FakeClock()
    gate = SharedGate("org/model", Limit(rpm=3, window=WINDOW), clock)
    tickets = [gate.join(100, 0, 10) for _ in range(4)]
    report = gate.report()
    gate.apply(report, Ledger(6000).exchange(report, NOW))
    assert gate.poll() == tickets[:3]
    report = gate.report()
    gate.answered(tickets[0], clock())
    reply = Ledger(6000).exchange(report, NOW)
    assert (report.held_requests, reply.accepted) == (3, False)
    gate.apply(report, reply)
    assert gate.poll() == []
    told = gate.report()
    assert (told.held_requests, told.free_requests, [use[1] for use in told.used]) == (2, 0, [1])
