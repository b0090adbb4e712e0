"""One call's way through its model's gate: what it may use, what it has used, and how it ended."""

from __future__ import annotations

import logging
import math
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
from ..retry import absence_in, is_rate_limit
from ..wire.failures import status_in

if TYPE_CHECKING:
    from asyncio import Future

    from ..wire.structs import Usage
    from .gate import Gate

__all__ = ["Ticket"]

_log = logging.getLogger("siliconflow_async")


class Ticket:
    """One call's way through a gate: `granted` once it may begin, `over` when it has ended, or waits no more.

    `shared`, once it has failed, says that it did so in an outage, and not alone; `last_seen`, once its patience is
    over, how the service last showed that it is away.
    """

    __slots__ = (
        "_expected",
        "_judged",
        "_logged",
        "_most_answer",
        "_most_prompt",
        "_patience",
        "_prompt",
        "_reached_at",
        "_sent_at",
        "_since",
        "_size",
        "again",
        "chunks",
        "first_token_after",
        "gate",
        "generation",
        "granted",
        "last_seen",
        "number",
        "over",
        "owed",
        "shared",
        "waiter",
    )

    def __init__(
        self,
        gate: Gate,
        size: int,
        prompt: int,
        expected: int,
        most: tuple[int, int],
        again: bool,
        patience: float | None,
        since: float,
    ) -> None:
        self.gate = gate
        self.again = again
        self._patience = patience
        self._since = since
        # Counted by the gate.
        self.number = 0
        self.shared = False
        self._judged = False
        self.last_seen: SiliconFlowError | None = None
        self.granted = False
        self.over = False
        # What it may still use.
        self.owed = prompt + expected
        self.chunks = 0
        # Of whoever waits for it; the gate only carries it.
        self.waiter: Future[None] | None = None
        self._size = size
        # Estimated, until the service has told; None once that is logged.
        self._prompt: int | None = prompt
        self._expected = expected
        self._most_prompt, self._most_answer = most
        self._logged = 0
        self._reached_at: float | None = None
        self._sent_at: float | None = None
        self.first_token_after: float | None = None
        self.generation = 0

    @property
    def tokens(self) -> int:
        """The tokens of the answer so far, as the service told, or as many as there were chunks."""
        return self._logged or self.chunks

    def patient_until(self, since: float) -> float:
        """Return when a call that waits has waited long enough for a service that is away since then."""
        return math.inf if self._patience is None else max(since, self._since) + self._patience

    def answered(self, sent_at: float) -> None:
        """Note that the service has begun to answer what was sent at `sent_at`."""
        gate = self.gate
        with gate.lock:
            if self._reached_at is None and not self.over:
                self._sent_at = sent_at
                self._reached_at = min(gate.now(), sent_at + gate.slack)
                gate.note_answer(self.generation, self._reached_at)

    def first_token(self, at: float | None) -> None:
        """Note the first token and when it came; None for a whole answer, of which nobody knows."""
        gate = self.gate
        with gate.lock:
            if self.over:
                return
            seconds = None if at is None or self._sent_at is None else at - self._sent_at
            self.first_token_after = seconds
            gate.note_there(self)
            if gate.pace.succeed(self.generation, gate.now(), seconds):
                _log.info("%s: slow to answer, concurrency down to %d", gate.model, gate.pace.cap)
            gate.notify()

    def progress(self, chunks: int, usage: Usage | None) -> None:
        """Note chunks of the answer, and the usage so far, if it was told."""
        with self.gate.lock:
            if not self.over:
                self.chunks += chunks
                self._used(usage)

    def _used(self, usage: Usage | None) -> None:
        gate = self.gate
        used = self.chunks
        told = False
        if usage is not None:
            told = self._prompt is not None and 0 < usage.prompt_tokens <= self._most_prompt
            if told:
                gate.estimate.learn_prompt(self._size, usage.prompt_tokens)
                self._log_prompt(usage.prompt_tokens)
            if self._logged < usage.completion_tokens <= self._most_answer:
                gate.window.add(gate.now(), 0, usage.completion_tokens - self._logged)
                self._logged = usage.completion_tokens
            used = self.tokens
        if used > self._expected:
            self._expected = 2 * used
        gate.note_debt(self, (self._prompt or 0) + self._expected - self._logged)
        if told:
            gate.notify()

    def end(self) -> None:
        """The call has ended, in whatever way: what it did not use is given back."""
        with self.gate.lock:
            if not self.over:
                self.over = True
                self._end()

    def _end(self) -> None:
        gate = self.gate
        if not self.granted:
            # It may be in the middle of the queue, where it costs nothing until its turn comes.
            gate.note_left()
            return
        now = gate.now()
        if self._reached_at is None:
            self._reached_at = now
            gate.log_request(now)
        if self._prompt is not None:
            self._log_prompt(self._prompt)
        if self._logged:
            gate.estimate.learn_answer(self._logged)
        elif self.chunks:
            # The service told nothing; a chunk is about a token.
            gate.window.add(now, 0, self.chunks)
        gate.note_end(self)

    def give_back(self) -> None:
        """The call has ended before anything was sent."""
        with self.gate.lock:
            if self.granted and not self.over and self._reached_at is None:
                self.over = True
                self.gate.unanswered -= 1
                self.gate.note_end(self)
            else:
                self.end()

    def fail(self, error: BaseException) -> None:
        """The call has ended with an error; a refusal slows all calls down, and so does an outage."""
        with self.gate.lock:
            # A stream tells of its error, and then whoever opened it.
            if isinstance(error, SiliconFlowError) and not self._judged:
                self._judged = True
                self._judge(error)
            if _is_unsent(error):
                self.give_back()
                return
            if isinstance(error, APIStatusError) and not self.over:
                self._prompt = None  # what is refused costs a request, but no tokens
            self.end()

    def _judge(self, error: SiliconFlowError) -> None:
        gate = self.gate
        if is_rate_limit(error):
            gate.note_there(self)
            gate.note_refusal(self.generation, error)
            return
        absence = absence_in(error)
        if absence is None:
            if isinstance(error, APIStatusError | StreamAPIError):
                gate.note_there(self)
            return
        if self._patience is not None:
            self.shared = gate.note_lapse(self, error, doubtful=absence == "doubtful")
        if status_in(error) == 503 and gate.pace.overload(self.generation):
            _log.info("%s: overloaded, concurrency down to %d", gate.model, gate.pace.cap)

    def _log_prompt(self, tokens: int) -> None:
        self._prompt = None
        if self._reached_at is not None:
            self.gate.window.add(self._reached_at, 0, tokens)


def _is_unsent(error: BaseException) -> bool:
    if isinstance(error, APIConnectionError):
        return error.stage != "answer"
    return isinstance(error, ClosedError | ConfigurationError | InvalidRequestError)
