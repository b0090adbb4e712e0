"""Whatever happens at a gate, no window of the service's holds more than the limit, and everyone gets through."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from siliconflow_async import APITimeoutError, BadRequestError, Limit
from siliconflow_async.limits.gate import Gate
from siliconflow_async.limits.ticket import Ticket

from .clock import FakeClock, usage

RPM, TPM, WINDOW = 3, 1000, 60.0


class Call:
    """One request, and what the service has done with it so far."""

    def __init__(self, ticket: Ticket, prompt: int, most: int) -> None:
        self.ticket = ticket
        self.prompt = prompt
        self.most = most
        self.reached_at: float | None = None
        self.sent = 0


class AtTheGate(RuleBasedStateMachine):
    """Calls join, are sent, reach the service, are answered, end or are given up, at any times."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.gate = Gate("model", Limit(rpm=RPM, tpm=TPM, window=WINDOW), self.clock)
        self.waiting: deque[Call] = deque()
        self.running: list[Call] = []
        # What the service charged: when, how many requests and tokens, to whom.
        self.charged: list[tuple[float, int, int, Call]] = []

    def poll(self) -> None:
        for ticket in self.gate.poll():
            # First come, first served.
            call = self.waiting.popleft()
            assert call.ticket is ticket
            self.running.append(call)

    def charge(self, requests: int, tokens: int, call: Call) -> None:
        self.charged.append((self.clock.time, requests, tokens, call))
        window = [entry for entry in self.charged if entry[0] > self.clock.time - WINDOW]
        assert sum(entry[1] for entry in window) <= RPM
        # Alone, one may be larger than the limit.
        if len({id(entry[3]) for entry in window if entry[2]}) > 1:
            assert sum(entry[2] for entry in window) <= TPM

    def pick(self, data: st.DataObject, calls: list[Call]) -> Call:
        return calls[data.draw(st.integers(0, len(calls) - 1))]

    @rule(prompt=st.sampled_from([1, 50, 400, 1500]), most=st.sampled_from([1, 50, 600]))
    def join(self, prompt: int, most: int) -> None:
        call = Call(self.gate.join(0, 0, most, prompt=prompt), prompt, most)
        if call.ticket.granted:
            # At once only where nobody waits.
            assert not self.waiting
            self.running.append(call)
        else:
            self.waiting.append(call)
        self.poll()

    @rule(seconds=st.sampled_from([0.5, 7.0, 29.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.poll()

    @rule()
    def wait_as_told(self) -> None:
        at = self.gate.next_at()
        if at is not None:
            self.clock.time = max(self.clock.time, at)
            self.poll()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def reach(self, data: st.DataObject) -> None:
        call = self.pick(data, self.running)
        if call.reached_at is None:
            call.reached_at = self.clock.time
            self.charge(1, call.prompt, call)

    @precondition(lambda self: any(call.reached_at for call in self.running))
    @rule(
        data=st.data(),
        tokens=st.sampled_from([0, 1, 25, 300]),
        tells=st.booleans(),
        underway=st.sampled_from([0.0, 0.5, 3.0]),
    )
    def answer(self, data: st.DataObject, tokens: int, tells: bool, underway: float) -> None:
        call = self.pick(data, [call for call in self.running if call.reached_at is not None])
        assert call.reached_at is not None
        self.gate.answered(call.ticket, call.reached_at - underway)
        tokens = min(tokens, call.most - call.sent)
        call.sent += tokens
        self.charge(0, tokens, call)
        self.gate.used(call.ticket, tokens, usage(call.prompt, call.sent) if tells else None)
        self.poll()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        call = self.pick(data, self.running)
        self.running.remove(call)
        self.gate.ended(call.ticket)
        self.poll()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        call = self.pick(data, self.running)
        self.running.remove(call)
        if call.reached_at is None:
            self.gate.ended(call.ticket, APITimeoutError(clock="connect"))
        elif not call.sent:
            # What the service charged for a refusal is not known: the test's own charges a prompt for none.
            self.charged = [(a, r, 0 if c is call else t, c) for a, r, t, c in self.charged]
            self.gate.ended(call.ticket, BadRequestError(status=400))
        else:
            self.gate.ended(call.ticket)
        self.poll()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        call = self.pick(data, list(self.waiting))
        self.waiting.remove(call)
        self.gate.ended(call.ticket)
        self.poll()

    @invariant()
    def counts_agree(self) -> None:
        assert self.gate.running == len(self.running)
        assert self.gate.waiting == len(self.waiting)
        assert self.gate.meters.reserved == sum(call.ticket.owed for call in self.running)

    def teardown(self) -> None:
        """Everyone gets through, however large, and in the end nothing is held."""
        for _ in range(1000):
            while self.running:
                self.gate.ended(self.running.pop().ticket)
            self.poll()
            if not self.waiting and not self.running:
                break
            if not self.running:
                at = self.gate.next_at()
                assert at is not None
                assert at > self.clock.time
                self.clock.time = at
                self.poll()
                assert at <= self.clock.time
        assert not self.waiting
        assert (self.gate.running, self.gate.meters.unanswered, self.gate.meters.reserved) == (0, 0, 0)
        self.clock.advance(WINDOW + 1)
        self.gate.poll()
        assert (self.gate.meters.window.requests, self.gate.meters.window.tokens) == (0, 0)


TestGate = pytest.mark.filterwarnings("error")(AtTheGate.TestCase)
TestGate.settings = settings(max_examples=120, stateful_step_count=50)
