"""What a model's sliding window holds and how much it may: limits given, or learned from refusals.

A request counts from the moment it was let out until a window after the service has answered it, so that neither a slow
network nor a slow service can make two requests fall into one window of theirs.

What a call may use is an estimate, prompt and answer. As its answer comes, tokens pass from the estimate to the log of
the window, under the time at which they came, and the estimate of the rest is corrected; at the end what is left of it
is given back.

A limit that nobody gave is learned: a refusal says which meter is full, and the log how much that meter took. It is
then raised step by step, as long as nothing is refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .estimate import Estimate
from .limit import Limit, WaitingFor
from .ticket import Ticket
from .window import Window

if TYPE_CHECKING:
    from ..wire.structs import Usage

__all__ = ["MINUTE_METERS", "Meters"]

_log = logging.getLogger("siliconflow_async")

# The meters that are worth waiting for; one that isn't named most likely is one of them.
MINUTE_METERS = ("rpm", "tpm", "ipm", None)
# By what share a learned limit is raised first; each further window without a refusal doubles it.
_STEP = 0.02
# Fewer requests than these teach nothing: it was another's use that filled the meter.
_LEAST_TAKEN = 5
# A request is taken to have reached the service's meter this long after it was sent, in seconds and in windows.
_SLACK = 1.0
_SLACK_SHARE = 0.05
# While answers under way hold all there is, what the passing window frees is looked for so often in a window.
_LOOKS = 8


class Meters:
    """The requests and tokens of `model` under `limit`; `rpm` and `tpm` are kept to, None where none is known.

    `unanswered` are requests that the service has not answered, `reserved` the tokens that calls may still use,
    `learned_in` the generation of calls whose refusal taught a limit.
    """

    def __init__(self, model: str, limit: Limit) -> None:
        self.model = model
        self.limit = limit
        self.rpm: int | None = limit.rpm
        self.tpm: int | None = limit.tpm
        self.window = Window(limit.window)
        self.estimate = Estimate()
        self.slack = max(_SLACK, _SLACK_SHARE * limit.window)
        self.unanswered = 0
        self.reserved = 0
        self.learned_in: int | None = None
        # What was refused in the last window; the window itself holds that too.
        self._refusals = Window(limit.window)
        self._grow_at = math.inf
        self._step = _STEP
        self._held = False

    @property
    def requests(self) -> int:
        """What counts against `rpm`."""
        return self.window.requests + self.unanswered

    def pass_time(self, now: float) -> None:
        """Forget what has left the window, and raise what was learned when it is time."""
        self.window.expire(now)
        if now >= self._grow_at:
            self._grow(now)

    @property
    def totals(self) -> tuple[int, int, int]:
        """Requests and tokens in the window, and tokens that answers under way may still use."""
        return self.requests, self.window.tokens, self.reserved

    def full(self, owed: int, *, alone: bool) -> WaitingFor | None:
        """Return the meter that has no room for a request that may use `owed` tokens: "rpm", "tpm", or None.

        One above the limit runs `alone` in an empty window.
        """
        if self.rpm is not None and self.requests + 1 > self.rpm:
            return "rpm"
        if self.tpm is not None:
            held = self.window.tokens + self.reserved
            if held + owed > self.tpm and (held > 0 or not alone):
                return "tpm"
        return None

    def take(self, owed: int) -> None:
        """A request that may use `owed` tokens was let out."""
        self.unanswered += 1
        self.reserved += owed

    def hold(self) -> None:
        """A request was held up by what is kept to."""
        self._held = True

    def opens_at(self, now: float, owed: int) -> float:
        """Return when there may be room for a request that has none now, though no call ends."""
        requests = 0 if self.rpm is None else self.requests + 1 - self.rpm
        tokens = 0
        if self.tpm is not None:
            # An answer under way can only give back by ending, the window by passing.
            tokens = min(self.window.tokens, self.window.tokens + self.reserved + owed - self.tpm)
        leaves_at = self.window.leaves_at(requests, tokens)
        return now + self.window.length / _LOOKS if leaves_at is None else leaves_at

    def answered(self, ticket: Ticket) -> None:
        """The service has begun to answer a request, which counts in the window from now on."""
        self._count(ticket)
        if ticket.generation == self.learned_in and self.limit.rpm is None and self.rpm is not None:
            # Sent before the refusal that taught the limit, and taken all the same.
            self.rpm += 1

    def used(self, ticket: Ticket, usage: Usage | None, now: Callable[[], float]) -> bool:
        """Correct what a call may still use; return whether the tokens of its prompt have become known."""
        used = ticket.chunks
        told = False
        if usage is not None:
            most_prompt, most_answer = ticket.most
            told = ticket.prompt is not None and 0 < usage.prompt_tokens <= most_prompt
            if told:
                self.estimate.learn_prompt(ticket.size, usage.prompt_tokens)
                self._log_prompt(ticket, usage.prompt_tokens)
            if ticket.logged < usage.completion_tokens <= most_answer:
                self.log(now(), 0, usage.completion_tokens - ticket.logged)
                ticket.logged = usage.completion_tokens
            used = ticket.tokens
        if used > ticket.expected:
            ticket.expected = 2 * used
        self.owes(ticket, (ticket.prompt or 0) + ticket.expected - ticket.logged)
        return told

    def settle(self, ticket: Ticket, now: float) -> None:
        """Log what a call has used that is not logged yet, and learn from it."""
        if ticket.reached_at is None:
            ticket.reached_at = now
            self._count(ticket)
        if ticket.prompt is not None:
            self._log_prompt(ticket, ticket.prompt)
        if ticket.logged:
            self.estimate.learn_answer(ticket.logged)
        elif ticket.chunks:
            # The service told nothing; a chunk is about a token.
            self.log(now, 0, ticket.chunks)

    def owes(self, ticket: Ticket, tokens: int) -> None:
        """A call may still use so many tokens."""
        self.reserved += tokens - ticket.owed
        ticket.owed = tokens

    def refused(self, meter: str | None, now: float, generation: int | None) -> bool:
        """The service has refused a request because a meter is full; return whether that taught a limit.

        `generation` is the request's; None if it was sent before the last refusal, and so says nothing new.
        """
        self.window.expire(now)
        self._refusals.expire(now)
        learned = generation is not None and self._learn(meter, now)
        if learned:
            self.learned_in = generation
        self._refusals.add(now, 1, 0)
        return learned

    def log(self, at: float, requests: int, tokens: int) -> None:
        """So much was used at a time."""
        self.window.add(at, requests, tokens)

    def paused(self, meter: str | None, asked: float | None, *, away: bool, begins: bool) -> None:
        """Calls pause, for the seconds that the service asked, if it did: a meter is full, or the service `away`.

        `begins` is False where they paused already. One's own meters learn of it by `refused`.
        """

    def there(self, ticket: Ticket) -> None:
        """The service has answered a call."""

    def is_blank(self) -> bool:
        """Whether nothing was used, and nothing learned."""
        return not len(self.window) and self.learned_in is None

    def _count(self, ticket: Ticket) -> None:
        assert ticket.reached_at is not None
        self.unanswered -= 1
        self.log(ticket.reached_at, 1, 0)

    def _log_prompt(self, ticket: Ticket, tokens: int) -> None:
        ticket.prompt = None
        if ticket.reached_at is not None:
            self.log(ticket.reached_at, 0, tokens)

    def _learn(self, meter: str | None, now: float) -> bool:
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
