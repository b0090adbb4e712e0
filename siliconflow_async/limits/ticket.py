"""What a gate knows of one call."""

from __future__ import annotations

import math

import msgspec

from ..errors import SiliconFlowError

__all__ = ["Ticket"]


class Ticket(msgspec.Struct, eq=False, kw_only=True):
    """One attempt of a call: `granted` once it may begin, `over` when it has ended, or waits no more.

    It is data alone, so that a gate may stand in another process. The gate alone changes it, under its lock. Tokens are
    of the prompt and of the answer; times are the gate's.
    """

    size: int  # bytes of text in the prompt; 0 where they say nothing of its tokens
    prompt: int | None  # estimated, until the service has told; None once that is logged
    expected: int  # of the answer
    most: tuple[int, int]  # what prompt and answer can come to: a usage above that is not to be believed
    owed: int  # what it may still use
    again: bool  # it has failed before
    patience: float | None  # seconds for which it waits out an outage; None: it takes no part in one
    since: float  # when a call with patience came for the first time

    granted: bool = False
    over: bool = False
    number: int = 0  # among those that were let out, from 1
    generation: int = 0
    sent_at: float | None = None
    reached_at: float | None = None  # when the service's own meter counted it
    first_token_after: float | None = None  # seconds
    chunks: int = 0
    logged: int = 0  # tokens of the answer in the window
    judged: bool = False
    shared: bool = False  # it has failed in an outage, and not alone
    refused_by: SiliconFlowError | None = None  # why it never begins
    last_seen: SiliconFlowError | None = None  # how the service showed that it is away, once patience is over

    @property
    def tokens(self) -> int:
        """The tokens of the answer so far, as the service told, or as many as there were chunks."""
        return self.logged or self.chunks

    def patient_until(self, away_since: float) -> float:
        """Return when a call that waits has waited long enough for a service that is away since then."""
        return math.inf if self.patience is None else max(away_since, self.since) + self.patience
