"""What a user says about limits, and what they can read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import msgspec

from ..checks import is_count, is_finite
from ..errors import ConfigurationError

__all__ = ["Limit", "LimitState", "WaitingFor", "share_of"]


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a model: requests (`rpm`) and tokens (`tpm`) in a sliding window of `window` seconds.

    None is no limit. `count_tokens`, if given, is called with the request's parameters and returns the tokens of its
    prompt; otherwise they are estimated from the length of the text, the better the more answers have come.
    """

    rpm: int | None = None
    tpm: int | None = None
    window: float = 60.0
    count_tokens: Callable[[Mapping[str, Any]], int] | None = None

    def __post_init__(self) -> None:
        for name in ("rpm", "tpm"):
            value = getattr(self, name)
            if value is not None and not is_count(value, 1):
                raise ConfigurationError(f"Limit: {name} must be an integer >= 1 or None, not {value!r}")
        window = self.window
        if not is_finite(window) or window <= 0:
            raise ConfigurationError(f"Limit: window must be a positive number of seconds, not {window!r}")
        if self.count_tokens is not None and not callable(self.count_tokens):
            raise ConfigurationError(f"Limit: count_tokens must be a function or None, not {self.count_tokens!r}")


WaitingFor: TypeAlias = Literal["rpm", "tpm", "rate_limit", "outage", "concurrency"]


class LimitState(msgspec.Struct, frozen=True, kw_only=True):
    """How a model fares, at the moment of asking.

    `rpm` and `tpm` are the limits kept to, given or learned from refusals (None: none known). `requests` and `tokens`
    are what the last window holds, with `reserved` tokens for answers under way; `in_flight` and `waiting` count calls.
    `concurrency` is how many calls the model is given at a time, None where nothing bounds them. `paused_until` is
    when calls go on after a refusal, a time of `time.time()`; None where they are not paused. `waiting_for` says what
    the calls that wait wait for, None if none does: "rpm" or "tpm" (room in the window), "rate_limit" (the pause after
    a refusal), "outage" (the pause of a service that is away), "concurrency" (the end of a call under way);
    `waiting_left` the seconds until that may change by itself, None if only an answer can tell.

    Of limits that processes share, `requests`, `tokens` and `reserved` are those of all of them, as this one was last
    told, with what each was lent for calls to come.
    """

    rpm: int | None
    tpm: int | None
    learned: bool
    requests: int
    tokens: int
    reserved: int
    in_flight: int
    waiting: int
    concurrency: int | None
    paused_until: float | None
    waiting_for: WaitingFor | None
    waiting_left: float | None


def share_of(limit: int | None, peers: int, has: int, taken: int | None) -> int | None:
    """Return what one of so many may use, of which it `has` something; `taken` is what all have, if that matters."""
    if not limit:
        return None
    share = max(1, limit // peers)
    return share if taken is None else min(share, has + max(0, limit - taken) // peers)
