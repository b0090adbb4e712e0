"""Many processes under one limit, in simulated time: the real gates and the real ledger, a clock that jumps.

    python -m benchmarks.fleet --processes 1000 --rpm 60000 --tpm 100000000

What is between them is made up, from a seed: how long a message takes, how each process's clock runs, when calls come,
what their answers use, who crashes, when the store is away. A judge counts what reaches the service, as the service
would; its sliding window is the one truth. Printed: the share of the limit that was used, what was refused, the most
that any window held, the exchanges a second, and how even the processes fared.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from siliconflow_async import Limit, RateLimitError
from siliconflow_async.limits.ledger import Ledger
from siliconflow_async.limits.sharedgate import SharedGate
from siliconflow_async.limits.ticket import Ticket

__all__ = ["Fleet", "Judge", "Process"]

MODEL = "org/model"


class Judge:
    """The service's own window: what reaches it counts, and what is too much is refused."""

    def __init__(self, rpm: int | None, tpm: int | None, window: float) -> None:
        self.rpm, self.tpm, self.window = rpm, tpm, window
        self.refused = self.served = self.peak_requests = self.peak_tokens = 0
        self._requests = self._tokens = 0
        self._log: deque[tuple[float, int, int]] = deque()

    def arrive(self, at: float, tokens: int) -> bool:
        """Count a request that comes with so many tokens; return whether it is served."""
        self._pass(at)
        served = (self.rpm is None or self._requests < self.rpm) and (
            self.tpm is None or not self._tokens or self._tokens + tokens <= self.tpm
        )
        self._count(at, 1, tokens if served else 0)
        self.served += served
        self.refused += not served
        return served

    def answer(self, at: float, tokens: int) -> None:
        """Count the tokens of an answer."""
        self._pass(at)
        self._count(at, 0, tokens)

    def _pass(self, at: float) -> None:
        while self._log and self._log[0][0] <= at - self.window:
            _, requests, tokens = self._log.popleft()
            self._requests -= requests
            self._tokens -= tokens

    def _count(self, at: float, requests: int, tokens: int) -> None:
        self._log.append((at, requests, tokens))
        self._requests += requests
        self._tokens += tokens
        self.peak_requests = max(self.peak_requests, self._requests)
        self.peak_tokens = max(self.peak_tokens, self._tokens)


class Process:
    """One process: its gate, its own clock, and calls that keep coming: `backlog` of them wait at any time."""

    def __init__(self, fleet: Fleet, limit: Limit, backlog: int) -> None:
        self.fleet = fleet
        self.backlog = backlog
        self.served = self.refused = 0
        self.dead = False
        self._offset = fleet.chance.uniform(0, 1e6)
        self._drift = 1 + fleet.chance.uniform(-1e-4, 1e-4)
        self._most: dict[Ticket, int] = {}
        self._looks_at = float("inf")
        self._busy = False
        self.gate = SharedGate(MODEL, limit, self.now, self._changed, self._look)
        if limit.rpm is None and limit.tpm is None:
            self.gate.pace.adapt()
        if fleet.rate is not None:
            fleet.soon(fleet.chance.expovariate(fleet.rate), self._come)

    def now(self) -> float:
        """Its own monotonic time."""
        return self._offset + self.fleet.time * self._drift

    def fill(self) -> None:
        """Have as many calls wait as should."""
        while not self.dead and self.gate.waiting < self.backlog:
            prompt, most = self.fleet.size()
            ticket = self.gate.join(0, 0, most, prompt=prompt)
            self._most[ticket] = most
            if ticket.granted:
                self._send(ticket)

    def _come(self) -> None:
        if self.fleet.rate is None:
            return
        self.backlog = self.gate.waiting + 1
        self.fill()
        self.backlog = 0
        self.fleet.soon(self.fleet.chance.expovariate(self.fleet.rate), self._come)

    def crash(self) -> None:
        """Be gone, in the middle of everything."""
        self.dead = True

    def _changed(self) -> None:
        self.fleet.soon(0.0, self._poll)

    def _poll(self) -> None:
        if not self.dead:
            for ticket in self.gate.poll():
                if ticket.granted:
                    self._send(ticket)
            self.fill()
            at = self.gate.next_at()
            if at is not None:
                self.fleet.soon(max(0.001, at - self.now()), self._poll)

    def _look(self) -> None:
        self.fleet.soon(0.0, self._exchange)

    def _exchange(self) -> None:
        meters = self.gate.meters
        if self.dead or self._busy:
            return
        due = meters.due_at(self.now())
        if due > self.now():
            if due < self._looks_at:
                self._looks_at = due
                self.fleet.soon(due - self.now(), self._look_again)
            return
        self._busy = True
        report, fleet = self.gate.report(), self.fleet

        def arrive() -> None:
            if fleet.store_away:
                fleet.soon(fleet.delay(), fail)
                return
            fleet.exchanges += 1
            reply = fleet.ledger.exchange(report, int(1000 * fleet.time))
            fleet.soon(fleet.delay(), lambda: self._told(report, reply))

        def fail() -> None:
            self._busy = False
            if not self.dead:
                self.gate.lost(None)
                self._poll()
                self._exchange()

        fleet.soon(fleet.delay(), arrive)

    def _look_again(self) -> None:
        self._looks_at = float("inf")
        self._exchange()

    def _told(self, report: Any, reply: Any) -> None:
        self._busy = False
        if not self.dead:
            self.gate.apply(report, reply)
            self._poll()
            self._exchange()

    def _send(self, ticket: Ticket) -> None:
        fleet, gate = self.fleet, self.gate
        sent_at = self.now()
        prompt, most = ticket.prompt or 0, self._most.pop(ticket)

        def arrive() -> None:
            served = fleet.judge.arrive(fleet.time, prompt)
            fleet.soon(fleet.delay() + fleet.chance.uniform(0, 0.1), answer if served else refuse)

        def answer() -> None:
            if not self.dead:
                gate.answered(ticket, sent_at)
                gate.first_token(ticket, None)
                used = fleet.chance.randint(1, most)
                fleet.judge.answer(fleet.time, used)
                gate.used(ticket, used, None)
                self.served += 1
                fleet.soon(fleet.chance.uniform(0, fleet.answers_take), lambda: gate.ended(ticket))

        def refuse() -> None:
            self.refused += 1
            if not self.dead:
                error = RateLimitError(status=429)
                error.meter = "rpm"
                gate.answered(ticket, sent_at)
                gate.ended(ticket, error)

        fleet.soon(fleet.delay(), arrive)


class Fleet:
    """So many processes under `limit`, and the service that keeps to it.

    `delays` are the seconds that a message takes, one way; calls come to each process at a `rate` by the second, or so
    that `backlog` of them wait at any time.
    """

    def __init__(
        self,
        processes: int,
        limit: Limit,
        *,
        delays: tuple[float, float] = (0.001, 0.2),
        backlog: int = 50,
        rate: float | None = None,
        size: Callable[[random.Random], tuple[int, int]] = lambda chance: (chance.randint(5, 50), 50),
        answers_take: float = 2.0,
        judge: Judge | None = None,
        seed: int = 1,
    ) -> None:
        self.chance = random.Random(seed)
        self.time = 0.0
        self.limit = limit
        self.ledger = Ledger(round(1000 * limit.window))
        self.judge = judge or Judge(limit.rpm, limit.tpm, limit.window)
        self.exchanges = 0
        self.store_away = False
        self.answers_take = answers_take
        self.rate = rate
        self._delays = delays
        self._size = size
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self.processes = [Process(self, limit, backlog) for _ in range(processes)]
        for process in self.processes:
            self.soon(self.chance.uniform(0, 1), process.fill)

    def delay(self) -> float:
        """Return how long the next message takes."""
        return self.chance.uniform(*self._delays)

    def size(self) -> tuple[int, int]:
        """Return the next call's tokens: of its prompt, and of its answer at most."""
        return self._size(self.chance)

    def soon(self, seconds: float, event: Callable[[], None]) -> None:
        """Have something happen so many seconds from now."""
        self._count += 1
        heapq.heappush(self._events, (self.time + seconds, self._count, event))

    def run(self, until: float) -> None:
        """Let time pass."""
        while self._events and self._events[0][0] <= until:
            self.time, _, event = heapq.heappop(self._events)
            event()
        self.time = until


def main() -> None:
    """Run one fleet through a fresh window and so many full ones, and print how it fared."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--processes", type=int, default=100)
    parser.add_argument("--rpm", type=int, default=60_000)
    parser.add_argument("--tpm", type=int, default=None)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--crashes", type=int, default=0, help="processes that crash, at any time")
    parser.add_argument("--delay", type=float, default=0.2, help="the longest that a message takes, in seconds")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.perf_counter()
    limit = Limit(rpm=given.rpm, tpm=given.tpm)
    fleet = Fleet(
        given.processes,
        limit,
        delays=(0.001, given.delay),
        backlog=max(4, given.rpm // given.processes // 20),
        size=lambda chance: (chance.randint(200, 1000), 1000) if given.tpm else (20, 50),
        seed=given.seed,
    )
    end = limit.window * (1 + given.windows)
    for process in fleet.chance.sample(fleet.processes, given.crashes):
        fleet.soon(fleet.chance.uniform(0, end), process.crash)
    fleet.run(limit.window)
    before = fleet.judge.served, fleet.exchanges, [process.served for process in fleet.processes]
    fleet.run(end)
    served = [
        process.served - first for process, first in zip(fleet.processes, before[2], strict=True) if not process.dead
    ]
    seconds = limit.window * given.windows
    found = {
        "used": round((fleet.judge.served - before[0]) / (given.rpm * given.windows), 4),
        "refused": fleet.judge.refused,
        "peak_requests": round(fleet.judge.peak_requests / given.rpm, 4),
        "peak_tokens": None if given.tpm is None else round(fleet.judge.peak_tokens / given.tpm, 4),
        "exchanges_per_second": round((fleet.exchanges - before[1]) / seconds, 1),
        "most_to_least": round(max(served) / max(1, min(served)), 2),
        "took": round(time.perf_counter() - began, 1),
    }
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
