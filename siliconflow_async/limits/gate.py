"""One model's gate, as a state machine: calls `join` it, and `poll` lets out those that had to wait. It awaits nothing.

A call is let out when a request and its tokens fit into the sliding window beside what that holds and what answers
under way may still use. The queue is first come, first served: a large request holds up those behind it until it fits,
and one above the limit runs alone in an empty window.

Where several calls in a row fail for want of the service, it is away: all pause, and one at a time is let out to see
whether it is back. Only calls with `patience` take part in this: each waits for the service so many seconds at most.

Calls may come from several threads: `join`, `poll`, `next_at` and `state` want the gate's `lock` held; what a call
tells of its answer takes it by itself.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from copy import copy
from typing import TYPE_CHECKING

from ..errors import (
    APIConnectionError,
    APIStatusError,
    ClosedError,
    ConfigurationError,
    InvalidRequestError,
    SiliconFlowError,
    StreamAPIError,
)
from .estimate import most_tokens
from .limit import Limit, LimitState, WaitingFor
from .meters import MINUTE_METERS, Meters
from .outage import Outage, absence
from .pace import Pace
from .ticket import Ticket

if TYPE_CHECKING:
    from ..wire.structs import Usage

__all__ = ["Gate"]

_log = logging.getLogger("siliconflow_async")


class Gate:
    """The gate of `model` under `limit`; `now` is its clock, `changed` what it calls when `poll` may let out more."""

    def __init__(
        self,
        model: str,
        limit: Limit,
        now: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
        meters: Meters | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.model = model
        self.limit = limit
        self.now = now
        self.changed = changed
        self.meters = meters if meters is not None else Meters(model, limit)
        self.pace = Pace(limit.window)
        self.outage = Outage()
        # Calls under way.
        self.running = 0
        self._queue: deque[Ticket] = deque()
        # Those in the queue that wait no more.
        self._gone = 0
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

        One that comes `again`, having failed, goes first: else the same few would meet every refusal, and give up. But
        while the service is away it goes last: else a request that brings the service down would be the probe each
        time. `since` is when a call with `patience`, in seconds, came for the first time.
        """
        estimate = self.meters.estimate
        tokens = estimate.prompt(size) + extra if prompt is None else prompt
        expected = estimate.answer() if max_tokens is None else max_tokens
        ticket = Ticket(
            # What holds pictures says nothing of how many tokens text has.
            size=0 if extra else size,
            prompt=tokens,
            expected=expected,
            most=most_tokens(size, extra if prompt is None else prompt, max_tokens),
            owed=tokens + expected,
            again=again,
            patience=patience,
            since=since,
        )
        if not self._queue and self._let_out(ticket, self._tick()):
            return ticket
        if again and self.outage.since is None:
            self._queue.appendleft(ticket)
        else:
            self._queue.append(ticket)
        return ticket

    def poll(self) -> list[Ticket]:
        """Let out the calls at the head of the queue that may begin now, and return them.

        With them those whose patience has run out, the service being away: they are `over`, and not `granted`.
        """
        now, granted = self._tick(), list[Ticket]()
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

    def next_at(self) -> float | None:
        """Return when to poll again though nothing has happened by then; None if only an event can change anything."""
        if not self.waiting:
            return None
        _, at = self._held_up(self.now())
        if self.outage.since is not None:
            for ticket in self._queue:
                if not ticket.over:
                    until = ticket.patient_until(self.outage.since)
                    at = until if at is None else min(at, until)
        return None if at == math.inf else at

    @property
    def waiting(self) -> int:
        """How many calls wait."""
        return len(self._queue) - self._gone

    def is_blank(self) -> bool:
        """Whether a new gate of the model would be the same: it holds no call, no use, and no limit that it found."""
        now = self._tick()
        busy = self._queue or self.running or now < self.pace.paused_until or self.outage.since is not None
        return not busy and self.meters.is_blank()

    def state(self) -> LimitState:
        """Return how the model fares."""
        now, meters = self.now(), self.meters
        meters.window.expire(now)
        left = self.pace.paused_until - now
        waits_for, opens_at = self._held_up(now) if self.waiting else (None, None)
        requests, tokens, reserved = meters.totals
        return LimitState(
            rpm=meters.rpm,
            tpm=meters.tpm,
            learned=meters.learned_in is not None,
            requests=requests,
            tokens=tokens,
            reserved=reserved,
            in_flight=self.running,
            waiting=self.waiting,
            concurrency=None if self.pace.cap == math.inf else int(self.pace.cap),
            paused_until=None if left <= 0 else time.time() + left,
            waiting_for=waits_for,
            waiting_left=None if opens_at in (None, math.inf) else max(0.0, opens_at - now),
        )

    # What a call tells of its answer

    def answered(self, ticket: Ticket, sent_at: float) -> None:
        """The service has begun to answer what was sent at `sent_at`."""
        with self.lock:
            if ticket.reached_at is None and not ticket.over:
                ticket.sent_at = sent_at
                ticket.reached_at = min(self.now(), sent_at + self.meters.slack)
                self.meters.answered(ticket)
                self._notify()

    def first_token(self, ticket: Ticket, at: float | None) -> None:
        """The first token has come, and when; None for a whole answer, of which nobody knows."""
        with self.lock:
            if ticket.over:
                return
            seconds = None if at is None or ticket.sent_at is None else at - ticket.sent_at
            ticket.first_token_after = seconds
            self._is_there(ticket)
            if self.pace.succeed(ticket.generation, self.now(), seconds):
                _log.info("%s: slow to answer, concurrency down to %d", self.model, self.pace.cap)
            self._notify()

    def used(self, ticket: Ticket, chunks: int, usage: Usage | None) -> None:
        """So many more chunks of the answer have come, and the usage so far, if it was told."""
        with self.lock:
            if ticket.over:
                return
            ticket.chunks += chunks
            if self.meters.used(ticket, usage, self.now):
                self._notify()

    def ended(self, ticket: Ticket, error: BaseException | None = None) -> None:
        """The call has ended, in whatever way: what it did not use is given back.

        A refusal slows all calls down, and so does an outage.
        """
        with self.lock:
            # A stream tells of its error, and then whoever opened it.
            if isinstance(error, SiliconFlowError) and not ticket.judged:
                ticket.judged = True
                self._judge(ticket, error)
            if isinstance(error, APIStatusError):
                ticket.prompt = None  # what is refused costs a request, but no tokens
            self._end(ticket, unsent=_is_unsent(error))

    def give_back(self, ticket: Ticket) -> None:
        """The call has ended before anything was sent."""
        with self.lock:
            self._end(ticket, unsent=True)

    def _end(self, ticket: Ticket, *, unsent: bool) -> None:
        if ticket.over:
            return
        ticket.over = True
        if not ticket.granted:
            # It may be in the middle of the queue, where it costs nothing until its turn comes.
            self._gone += 1
        else:
            if unsent and ticket.reached_at is None:
                self.meters.unanswered -= 1
            else:
                self.meters.settle(ticket, self.now())
            self.meters.owes(ticket, 0)
            self.running -= 1
            self.pace.end(ticket.generation)
        self._notify()

    def _judge(self, ticket: Ticket, error: SiliconFlowError) -> None:
        if error.refusal == 429:
            self._is_there(ticket)
            self._refused(ticket.generation, error)
            return
        away = absence(error)
        if away is None:
            if isinstance(error, APIStatusError | StreamAPIError):
                self._is_there(ticket)
            return
        if ticket.patience is not None:
            ticket.shared = self._lapsed(ticket, error, doubtful=away == "doubtful")
        if error.refusal == 503 and self.pace.overload(ticket.generation):
            _log.info("%s: overloaded, concurrency down to %d", self.model, self.pace.cap)

    def _is_there(self, ticket: Ticket) -> None:
        """The service has answered a call, if only to refuse it. (A call let out long ago does not end an outage.)"""
        self.meters.there(ticket)
        if self.outage.answered(ticket.number):
            self.pace.resume(self.now())
            self._notify()

    def _lapsed(self, ticket: Ticket, error: SiliconFlowError, *, doubtful: bool) -> bool:
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
        # The present generation, not the ticket's: a 503 in between may have cut concurrency, and so begun another.
        pause = pace.refuse(pace.generation, now, error.retry_after, bore=outage.bore)
        outage.generation = pace.generation
        self.meters.paused(None, error.retry_after, away=True, begins=True)
        _log.warning("%s: the service is away (%s), all calls wait %.2f s", self.model, type(error).__name__, pause)
        return True

    def _refused(self, generation: int, error: SiliconFlowError) -> None:
        """The service has refused a call because a meter is full."""
        meter = error.meter
        if meter not in MINUTE_METERS:
            return  # an hour or a day is nothing to wait for
        now = self.now()
        learned = self.meters.refused(meter, now, generation if generation == self.pace.generation else None)
        pause = self.pace.refuse(generation, now, error.retry_after, learned=learned)
        self.meters.paused(meter, error.retry_after, away=False, begins=pause is not None)
        if pause is not None:
            _log.warning("%s: rate limit (%s) reached, all calls wait %.2f s", self.model, meter or "?", pause)

    # Who may go

    def _tick(self) -> float:
        now = self.now()
        self.meters.pass_time(now)
        return now

    def _let_out(self, ticket: Ticket, now: float) -> bool:
        """Whether the call may begin now, which then it does."""
        if not self.pace.ready(now):
            return False
        if self.meters.full(ticket.owed, alone=not self.running) is not None:
            self.meters.hold()
            return False
        ticket.granted = True
        self._let_out_so_far += 1
        ticket.number = self._let_out_so_far
        ticket.generation = self.pace.begin()
        self.running += 1
        self.meters.take(ticket.owed)
        return True

    def _held_up(self, now: float) -> tuple[WaitingFor, float | None]:
        """Return what the first in the queue waits for, and when that may come though nothing happens by then."""
        away = self.outage.since is not None
        if now < self.pace.paused_until:
            return "outage" if away else "rate_limit", self.pace.paused_until
        if self.pace.in_flight >= self.pace.cap:
            return "outage" if away else "concurrency", None
        owed = self._queue[0].owed
        return self.meters.full(owed, alone=not self.running) or "tpm", self.meters.opens_at(now, owed)

    def _notify(self) -> None:
        if self._queue:
            self.changed()


def _is_unsent(error: BaseException | None) -> bool:
    if isinstance(error, APIConnectionError):
        return error.stage != "answer"
    return isinstance(error, ClosedError | ConfigurationError | InvalidRequestError)
