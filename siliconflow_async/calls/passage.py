"""What of a call waits at its model's gate, attempt by attempt, and tells the gate how each answer comes along."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from typing import TYPE_CHECKING, Any

from ..errors import APIConnectionError, SiliconFlowError
from ..limits.keeper import GateKeeper
from ..limits.models import ModelLimits

if TYPE_CHECKING:
    from ..limits.ticket import Ticket
    from ..stream.reading import Ended
    from ..transport.answer import Answer
    from ..wire.structs import Usage

__all__ = ["Admission", "Passage"]


class Admission:
    """One attempt that the gate has let through: an observer of its answer, of which it tells the gate."""

    __slots__ = ("_gate", "_ticket")

    def __init__(self, keeper: GateKeeper, ticket: Ticket) -> None:
        self._gate = keeper.gate
        self._ticket = ticket

    def answered(self, answer: Answer) -> None:
        self._gate.answered(self._ticket, answer.sent_at)

    def first_token(self, at: float | None) -> None:
        self._gate.first_token(self._ticket, at)

    def progress(self, chunks: int, usage: Usage | None) -> None:
        self._gate.used(self._ticket, chunks, usage)

    def ended(self, error: BaseException | None) -> None:
        self._gate.ended(self._ticket, error)

    def over(self, ended: Ended, error: SiliconFlowError | None, answer: Callable[[], Any] | None) -> None:
        """Nothing: a gate knows attempts, not calls."""


class Passage:
    """The gate of one call: that of the limits given for the model, or with `patience` one in any case.

    `weighs` are the parameters by which a gate judges the next attempt, its `model` among them; None for a call of no
    model, before which none stands. `patience` are the seconds for which an outage is waited out. `waited` are the
    seconds spent waiting here.
    """

    __slots__ = ("_before", "_first_token", "_limits", "_patience", "_since", "_ticket", "keeper", "waited", "weighs")

    def __init__(self, limits: ModelLimits, weighs: Mapping[str, Any] | None, patience: float | None) -> None:
        self.weighs = weighs
        self._limits = limits
        self._patience = patience
        self._since = time.monotonic() if patience is not None else 0.0
        self._ticket: Ticket | None = None
        # Of the attempts before the one of the ticket.
        self._before = 0
        self._first_token: float | None = None
        self.waited = 0.0
        self.keeper: GateKeeper | None = None

    @property
    def tokens(self) -> int:
        """The tokens of the answer so far, over all attempts."""
        return self._before + (self._ticket.tokens if self._ticket is not None else 0)

    @property
    def first_token(self) -> float | None:
        """Seconds from sending to the first token, None if none has come."""
        if self._first_token is None and self._ticket is not None:
            return self._ticket.first_token_after
        return self._first_token

    @property
    def is_patient(self) -> bool:
        """Whether it waits out an outage."""
        return self._patience is not None

    def shared(self) -> bool:
        """Whether the latest attempt failed in an outage, and not alone."""
        return self._ticket is not None and self._ticket.shared

    async def enter(self, *, again: bool, deadline: float | None) -> Admission | None:
        """Wait until the attempt may begin; None where no gate stands.

        `again` tells that it has failed before. Raises TimeoutError at `deadline`, a time of the loop, and the error of
        an outage once its patience is over.
        """
        # The one of now, for one that nobody uses may be forgotten.
        if self.weighs is None:
            return None
        find = self._limits.given if self._patience is None else self._limits.always
        keeper = self.keeper = find(self.weighs["model"])
        if keeper is None:
            return None
        if self._ticket is not None:
            self._before, self._first_token, self._ticket = self.tokens, self.first_token, None
        ticket = self._ticket = keeper.join(self.weighs, again=again, patience=self._patience, since=self._since)
        if not ticket.granted:
            came_at = time.monotonic()
            try:
                await keeper.wait(ticket, deadline)
            finally:
                self.waited += time.monotonic() - came_at
            if ticket.refused_by is not None:
                raise copy(ticket.refused_by)
            if not ticket.granted:
                raise self._given_up(ticket.last_seen)
        return Admission(keeper, ticket)

    def _given_up(self, last_seen: SiliconFlowError | None) -> SiliconFlowError:
        """Return the error of a call that has waited for the service as long as it may."""
        error = APIConnectionError() if last_seen is None else copy(last_seen)
        error.waited = self._patience
        error.message = f"gave up after waiting {self._patience:g} s for the service: {error.message or error}"
        return error
