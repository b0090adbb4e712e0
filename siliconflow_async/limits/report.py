"""What a process and the store of a shared limit tell each other of one model; see `ledger`.

Tokens and requests are counts, a limit of 0 is none; times are whole milliseconds, as the two have no clock in common:
how long ago, or how long from now.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

__all__ = ["NOTHING", "Demand", "News", "Pause", "Reply", "Report", "Told"]

News: TypeAlias = Literal["", "limited", "away", "there"]
Pause: TypeAlias = Literal["", "rate_limit", "outage"]


class Demand(NamedTuple):
    """The calls that could begin now: how many, the tokens they may use, and those of the first."""

    requests: int
    tokens: int
    first: int


class Told(NamedTuple):
    """What a process has to tell of the service: its `news`, with the `meter` that is full and how long it `asked`."""

    kind: News
    meter: str = ""
    asked: int = -1

    @property
    def pauses(self) -> bool:
        """Whether calls pause for it."""
        return self.kind in ("limited", "away")


NOTHING = Told("")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a process says of one model. Tokens and requests are counts; 0 as a limit is none; times are milliseconds.

    `used` are (how long ago, requests, tokens, refused requests) since the last report that was accepted, and of the
    whole window where `epoch` is not the store's. `held` counts for calls under way, `free` for those to come; `want`
    is what those that are `waiting` need beyond it, `head_tokens` what the first of them does, `spare` what it would
    like to have free besides. `news` of "limited" is a
    full `meter`, of "away" a service that is gone, of "there" a probe that was answered; `asked` is how long the
    service asked to wait, -1 if it did not. A process that is not `staying` holds nothing and used nothing lately; one
    that was `alone` went on without the store until now, as `peers` did.
    """

    process: str
    label: str
    seq: int
    epoch: str
    peers: int
    alone: bool = False
    rpm: int = 0
    tpm: int = 0
    used: tuple[tuple[int, int, int, int], ...] = ()
    held_requests: int = 0
    held_tokens: int = 0
    free_requests: int = 0
    free_tokens: int = 0
    want_requests: int = 0
    want_tokens: int = 0
    head_tokens: int = 0
    spare_requests: int = 0
    spare_tokens: int = 0
    waiting: int = 0
    running: int = 0
    staying: bool = True
    generation: int = 0
    news: News = ""
    meter: str = ""
    asked: int = -1


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """What a process is told. `requests` and `tokens` are lent to it beyond what it said that it has.

    `accepted` is False where the store lost what it knew: the process then reports its whole window under the new
    `epoch`. `rpm` and `tpm` are the limits, 0 if none is known; `window` and `leased` are all processes'. `paused` is
    how long nobody may begin, `probe` whether this process may although a pause is not over for all. It should report
    again after `retry` if it waits, after `beat` if it is at work, and within `ttl` in any case.
    """

    epoch: str
    accepted: bool
    requests: int
    tokens: int
    rpm: int
    tpm: int
    learned: bool
    window_requests: int
    window_tokens: int
    leased_requests: int
    leased_tokens: int
    peers: int
    generation: int
    pause: Pause
    paused: int
    probe: bool
    retry: int
    beat: int
    ttl: int
