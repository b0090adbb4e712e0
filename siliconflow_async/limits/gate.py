"""One model's gate, as a state machine: calls `join` it, and `poll` lets out those that had to wait. It awaits nothing.

A call is let out when a request and its tokens fit into the sliding window beside what that holds and what answers
under way may still use. The queue is first come, first served: a large request holds up those behind it until it fits,
and one above the limit runs alone in an empty window.

What a call may use is an estimate, prompt and answer. As its answer comes, tokens pass from the estimate to the log of
the window, under the time at which they came, and the estimate of the rest is corrected; at the end what is left of it
is given back. A request counts from the moment it was let out until a window after the service has answered it, so that
neither a slow network nor a slow service can make two requests fall into one window of theirs.

A limit that nobody gave is learned: a refusal says which meter is full, and the log how much that meter took. It is
then raised step by step, as long as nothing is refused.

Where several calls in a row fail for want of the service, it is away: all pause, and one at a time is let out to see
whether it is back. Only calls with `patience` notice an outage and bring one about; so long each of them waits at most.

Calls may come from several threads: whoever uses a gate holds its `lock`; a ticket's methods take it by themselves.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from copy import copy

from ..errors import SiliconFlowError, asked_wait
from ..retry import MINUTE_METERS, meter_in
from .estimate import Estimate, most_tokens
from .limit import Limit, LimitState, WaitingFor
from .outage import Outage
from .pace import Pace
from .ticket import Ticket
from .window import Window

__all__ = ["Gate"]

_log = logging.getLogger("siliconflow_async")

# By what share a learned limit is raised first; each further window without a refusal doubles it.
_STEP = 0.02
# Fewer requests than these teach nothing: it was another's use that filled the meter.
_LEAST_TAKEN = 5
# A request is taken to have reached the service's meter this long after it was sent, in seconds and in windows.
_SLACK = 1.0
_SLACK_SHARE = 0.05
# While answers under way hold all there is, what the passing window frees is looked for so often in a window.
_LOOKS = 8


class Gate:
    """The gate of `model` under `limit`; `now` is its clock, `changed` what it calls when `poll` may let out more."""

    def __init__(self, model: str, limit: Limit, now: Callable[[], float]) -> None:
        self.lock = threading.RLock()
        self.model = model
        self.limit = limit
        self.now = now
        self.changed: Callable[[], None] = _nothing
        self.window = Window(limit.window)
        self.pace = Pace(limit.window)
        self.slack = max(_SLACK, _SLACK_SHARE * limit.window)
        # Requests that the service has not answered, calls under way, and the tokens that these may still use.
        self.unanswered = 0
        self.running = 0
        self.reserved = 0
        self.rpm: int | None = limit.rpm
        self.tpm: int | None = limit.tpm
        self._queue: deque[Ticket] = deque()
        self._gone = 0
        self.estimate = Estimate()
        # What was refused in the last window; the window itself holds that too.
        self._refusals = Window(limit.window)
        self._learned_in: int | None = None
        self._grow_at = math.inf
        self._step = _STEP
        self._held = False
        self.outage = Outage()
        self._let_out_so_far = 0

    def join(
        self,
        size: int,
        extra: int,
        max_tokens: int | None,
        *,
        prompt: int | None = None,
        again: bool = False,
        patience: float | None = None,
        since: float = 0.0,
    ) -> Ticket:
        """Begin a request of `size` bytes of text and `extra` tokens, or of `prompt` tokens, or have it wait its turn.

        One that comes `again`, having failed, goes first: else a few would meet every refusal, and give up. But where
        the service is away it goes last, or one that brings the service down would be every probe. `since` is when a
        call with `patience`, in seconds, came for the first time.
        """
        tokens = self.estimate.prompt(size) + extra if prompt is None else prompt
        expected = self.estimate.answer() if max_tokens is None else max_tokens
        # What holds pictures says nothing of how many tokens text has.
        most = most_tokens(size, extra if prompt is None else prompt, max_tokens)
        ticket = Ticket(self, 0 if extra else size, tokens, expected, most, again, patience, since)
        if not self._queue and self._let_out(ticket, self._tick()):
            return ticket
        if again and self.outage.since is None:
            self._queue.appendleft(ticket)
        else:
            self._queue.append(ticket)
        return ticket

    def poll(self) -> list[Ticket]:
        """Let out the calls at the head of the queue that may begin now, and return them.

        With them those that are `over` because their patience is: the service has been away for too long.
        """
        now = self._tick()
        granted: list[Ticket] = []
        while self._queue:
            ticket = self._queue[0]
            if ticket.over:
                self._gone -= 1
            elif self._let_out(ticket, now):
                granted.append(ticket)
            else:
                break
            self._queue.popleft()
        if self.outage.since is not None:
            for ticket in self._queue:
                if not ticket.over and ticket.patient_until(self.outage.since) <= now:
                    ticket.over = True
                    ticket.last_seen = self.outage.error
                    self._gone += 1
                    granted.append(ticket)
        return granted

    def _tick(self) -> float:
        now = self.now()
        self.window.expire(now)
        if now >= self._grow_at:
            self._grow(now)
        return now

    def _let_out(self, ticket: Ticket, now: float) -> bool:
        """Whether the call may begin now, which then it does."""
        if not self.pace.ready(now) or not self._fits(ticket):
            return False
        ticket.granted = True
        self._let_out_so_far += 1
        ticket.number = self._let_out_so_far
        ticket.generation = self.pace.begin()
        self.unanswered += 1
        self.running += 1
        self.reserved += ticket.owed
        return True

    def next_at(self) -> float | None:
        """Return when to poll again though nothing has happened by then; None if only an event can change anything."""
        if not self.waiting:
            return None
        now = self.now()
        at = self._opens_at(now)
        if self.outage.since is not None:
            for ticket in self._queue:
                if not ticket.over:
                    until = ticket.patient_until(self.outage.since)
                    at = until if at is None else min(at, until)
        return None if at == math.inf else at

    def _opens_at(self, now: float) -> float | None:
        if now < self.pace.paused_until:
            return self.pace.paused_until
        if self.pace.in_flight >= self.pace.cap:
            return None
        ticket = self._queue[0]
        requests = 0 if self.rpm is None else self.window.requests + self.unanswered + 1 - self.rpm
        tokens = 0
        if self.tpm is not None:
            # An answer under way can only give back by ending, the window by passing.
            tokens = min(self.window.tokens, self.window.tokens + self.reserved + ticket.owed - self.tpm)
        leaves_at = self.window.leaves_at(requests, tokens)
        return now + self.window.length / _LOOKS if leaves_at is None else leaves_at

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._queue) - self._gone

    def is_blank(self) -> bool:
        """Whether it holds nothing that a new gate of the model would not: no call, no use, no limit of its finding."""
        now = self._tick()
        busy = self._queue or self.running or len(self.window) or now < self.pace.paused_until
        return not busy and self.outage.since is None and self._learned_in is None

    def state(self) -> LimitState:
        """Return how the model fares."""
        now = self.now()
        self.window.expire(now)
        left = self.pace.paused_until - now
        waits_for, opens_at = self._waits_for(now)
        return LimitState(
            rpm=self.rpm,
            tpm=self.tpm,
            learned=self._learned_in is not None,
            requests=self.window.requests + self.unanswered,
            tokens=self.window.tokens,
            reserved=self.reserved,
            in_flight=self.running,
            waiting=self.waiting,
            concurrency=None if self.pace.cap == math.inf else int(self.pace.cap),
            paused_until=None if left <= 0 else time.time() + left,
            waiting_for=waits_for,
            waiting_left=None if opens_at is None else max(0.0, opens_at - now),
        )

    def _waits_for(self, now: float) -> tuple[WaitingFor | None, float | None]:
        if not self.waiting:
            return None, None
        opens_at = self._opens_at(now)
        if now < self.pace.paused_until:
            return "rate_limit" if self.outage.since is None else "outage", opens_at
        if self.pace.in_flight >= self.pace.cap:
            return "concurrency" if self.outage.since is None else "outage", None
        if self.rpm is not None and self.window.requests + self.unanswered + 1 > self.rpm:
            return "rpm", opens_at
        return "tpm", opens_at

    def _fits(self, ticket: Ticket) -> bool:
        if self.rpm is not None and self.window.requests + self.unanswered + 1 > self.rpm:
            self._held = True
            return False
        if self.tpm is not None:
            held = self.window.tokens + self.reserved
            if held + ticket.owed > self.tpm and (held > 0 or self.running):
                self._held = True
                return False
        return True

    # What tickets tell

    def note_answer(self, generation: int, at: float) -> None:
        """The service has begun to answer a request that reached it at that time."""
        self.log_request(at)
        if generation == self._learned_in and self.limit.rpm is None and self.rpm is not None:
            # Sent before the refusal that taught the limit, and taken all the same.
            self.rpm += 1
        self.notify()

    def log_request(self, at: float) -> None:
        """A request counts in the window from now on."""
        self.unanswered -= 1
        self.window.add(at, 1, 0)

    def note_debt(self, ticket: Ticket, tokens: int) -> None:
        """A call may still use so many tokens."""
        self.reserved += tokens - ticket.owed
        ticket.owed = tokens

    def note_there(self, ticket: Ticket) -> None:
        """The service has answered a call, if only to refuse it; one of long ago says nothing of how it is now."""
        if self.outage.answered(ticket.number):
            self.pace.resume(self.now())
            self.notify()

    def note_lapse(self, ticket: Ticket, error: SiliconFlowError, *, doubtful: bool) -> bool:
        """A call has failed for want of the service; return whether it shares that with others, in an outage.

        `doubtful`: it may be the request's own fault, so that the same one failing again says nothing new.
        """
        outage = self.outage
        if ticket.generation < outage.generation:
            return True
        now, pace = self.now(), self.pace
        if not outage.lapse(ticket.number, now, self.running, pace.cap, counts=not (doubtful and ticket.again)):
            return False
        outage.error = copy(error)
        # As if it had begun just now: a 503 before it may have cut concurrency, and so begun a generation.
        pause = pace.refuse(pace.generation, now, asked_wait(error), bore=outage.bore)
        outage.generation = pace.generation
        _log.warning("%s: the service is away (%s), all calls wait %.2f s", self.model, type(error).__name__, pause)
        return True

    def note_end(self, ticket: Ticket) -> None:
        """A call that was let out has ended."""
        self.note_debt(ticket, 0)
        self.running -= 1
        self.pace.end(ticket.generation)
        self.notify()

    def note_left(self) -> None:
        """A call has left the queue."""
        self._gone += 1
        self.notify()

    def notify(self) -> None:
        """Say that `poll` may let out more, or that `next_at` may have changed."""
        if self._queue:
            self.changed()

    def note_refusal(self, generation: int, error: SiliconFlowError) -> None:
        """The service has refused a call because a meter is full."""
        meter = meter_in(error)
        if meter not in MINUTE_METERS:
            return  # an hour or a day is nothing to wait for
        now = self.now()
        self.window.expire(now)
        self._refusals.expire(now)
        learned = generation == self.pace.generation and self._learn_limit(meter, generation, now)
        pause = self.pace.refuse(generation, now, asked_wait(error), learned=learned)
        if pause is not None:
            _log.warning("%s: rate limit (%s) reached, all calls wait %.2f s", self.model, meter or "?", pause)
        self._refusals.add(now, 1, 0)

    def _learn_limit(self, meter: str | None, generation: int, now: float) -> bool:
        """Take what the window holds as the limit; False if it says nothing of that."""
        taken = self.window.requests - self._refusals.requests
        if taken < _LEAST_TAKEN:
            return False
        if meter == "rpm" and self.limit.rpm is None:
            self.rpm = taken
        elif meter == "tpm" and self.limit.tpm is None and self.window.tokens:
            self.tpm = self.window.tokens
        else:
            return False
        self._learned_in = generation
        self._grow_at = now + self.window.length
        self._step = _STEP
        self._held = False
        _log.info("%s: learned a limit of %s by the window, rpm=%s tpm=%s", self.model, meter, self.rpm, self.tpm)
        return True

    def _grow(self, now: float) -> None:
        """Raise what was learned, if it held calls up: it may have been another's use that filled the meter."""
        self._grow_at = now + self.window.length
        if not self._held:
            return
        self._held = False
        if self.limit.rpm is None and self.rpm is not None:
            self.rpm = math.ceil(self.rpm * (1 + self._step))
        if self.limit.tpm is None and self.tpm is not None:
            self.tpm = math.ceil(self.tpm * (1 + self._step))
        self._step = min(1.0, 2 * self._step)


def _nothing() -> None:
    pass
