"""Single decisions of the ledger that processes share; `test_fleet` has what comes of them together."""

from __future__ import annotations

from typing import Any

from siliconflow_async.limits.ledger import Ledger
from siliconflow_async.limits.report import Reply, Report


class Scene:
    """A ledger of a minute, and processes that report to it, each under its next number."""

    def __init__(self, **limits: int) -> None:
        self.ledger = Ledger(60_000)
        self.now = 0
        self._limits = limits
        self._seqs: dict[str, int] = {}

    def report(self, process: str, **said: Any) -> Reply:
        seq = self._seqs[process] = self._seqs.get(process, 0) + 1
        given = {"seq": seq, "label": process, "epoch": "", "peers": 1, **self._limits, **said}
        return self.ledger.exchange(Report(process=process, **given), self.now)


def test_what_a_dead_process_held_counts_as_used() -> None:
    """From when it is missed, for a window: its calls may have reached the service until then."""
    scene = Scene(rpm=10, tpm=1000)
    reply = scene.report("dies", held_requests=3, held_tokens=200, running=3)
    scene.now = reply.ttl
    reply = scene.report("lives")
    assert (reply.window_requests, reply.window_tokens) == (3, 200)
    assert (reply.leased_requests, reply.leased_tokens, reply.peers) == (0, 0, 1)
    scene.now += 59_000
    assert scene.report("lives").window_requests == 3
    scene.now += 2_000
    assert scene.report("lives").window_requests == 0


def test_what_the_first_in_turn_needs_is_kept_for_it() -> None:
    """Others get only what is left beside that, however small their own calls are."""
    scene = Scene(tpm=10_000)
    small: dict[str, Any] = {"want_requests": 1, "want_tokens": 10, "head_tokens": 10, "waiting": 1, "running": 1}
    large: dict[str, Any] = {"want_requests": 1, "want_tokens": 8_000, "head_tokens": 8_000, "waiting": 1}
    assert scene.report("small", used=((0, 0, 1_990, 0),), **small | {"want_tokens": 30}).tokens == 30
    assert scene.report("large", **large).tokens == 0
    assert scene.report("small", held_tokens=30, **small).tokens == 0
    scene.report("small")
    assert scene.report("large", **large).tokens == 8_000


def test_a_store_that_knows_nothing_any_more_waits_for_those_who_do() -> None:
    """None is lent anything until as many have said what they used as shared the limit before, or have had time to."""
    scene = Scene(rpm=10)
    lost = scene.report("a", epoch="before", peers=2, want_requests=1, waiting=1)
    assert (lost.accepted, lost.requests) == (False, 0)
    told: dict[str, Any] = {"epoch": lost.epoch, "used": ((0, 4, 0, 0),), "waiting": 1, "want_requests": 5}
    assert scene.report("a", **told).requests == 0
    assert scene.report("b", **told).requests == 1
    scene = Scene(rpm=10)
    lost = scene.report("a", epoch="before", peers=2, want_requests=1, waiting=1)
    scene.now = scene.ledger.grace
    assert scene.report("a", **told | {"epoch": lost.epoch}).requests == 5
