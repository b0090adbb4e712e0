"""The rate limits that the stand-in keeps, one `Meter` for each model that has them.

A request counts when it arrives, refused or not, as failed requests do at the service. Its prompt is charged when it is
let in, each token of its answer as it is sent. What a window already holds decides: an answer under way is never cut,
so it may carry the window above its limit, and the requests after it are refused until enough of that has passed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import TypeAlias

from .refusals import refuse

__all__ = ["Limits", "Meter", "Meters"]

Limits: TypeAlias = tuple[int | None, int | None]
"""Requests and tokens in a window, (rpm, tpm); None is no limit."""

_WORDS = "Request was rejected due to rate limiting. Details: {} limit reached."


class Meter:
    """Requests and tokens of one model in the last `window` seconds; None is no limit.

    `peak_requests` and `peak_tokens` are the most that any window held, `refused` counts the requests that got a 429.
    """

    def __init__(self, rpm: int | None, tpm: int | None, window: float) -> None:
        self.rpm = rpm
        self.tpm = tpm
        self.window = window
        self.requests = 0
        self.tokens = 0
        self.peak_requests = 0
        self.peak_tokens = 0
        self.refused = 0
        self._log: deque[tuple[float, int, int]] = deque()

    def __repr__(self) -> str:
        return f"<Meter {self.requests} of {self.rpm} requests, {self.tokens} of {self.tpm} tokens>"

    def arrive(self) -> None:
        """Count a request. Raises Refused with 429/50601 where the window is full."""
        self._add(1, 0)
        if self.rpm is not None and self.requests > self.rpm:
            self.refused += 1
            refuse(_WORDS.format("RPM"), code=50601, status=429)

    def admit(self, prompt_tokens: int) -> None:
        """Charge a prompt. Raises Refused with 429/50602 where it does not fit; an empty window takes any."""
        self._add(0, 0)
        if self.tpm is not None and self.tokens and self.tokens + prompt_tokens > self.tpm:
            self.refused += 1
            refuse(_WORDS.format("TPM"), code=50602, status=429)
        self._add(0, prompt_tokens)

    def sent(self, tokens: int) -> None:
        """Charge tokens of an answer."""
        self._add(0, tokens)

    def _add(self, requests: int, tokens: int) -> None:
        now = time.monotonic()
        log = self._log
        while log and log[0][0] <= now - self.window:
            _, gone_requests, gone_tokens = log.popleft()
            self.requests -= gone_requests
            self.tokens -= gone_tokens
        if requests or tokens:
            log.append((now, requests, tokens))
            self.requests += requests
            self.tokens += tokens
            self.peak_requests = max(self.peak_requests, self.requests)
            self.peak_tokens = max(self.peak_tokens, self.tokens)


class Meters(dict[str, Meter]):
    """The meters by model: of those that `limits` names, or of every one that was asked, where it is one for all.

    Raises ValueError for a limit or a window that can't be.
    """

    def __init__(self, limits: Mapping[str, Limits] | Limits | None, window: float) -> None:
        super().__init__()
        if not window > 0:
            raise ValueError(f"window must be above 0, not {window}")
        self._window = window
        self._for_all = limits if isinstance(limits, tuple) else None
        if isinstance(limits, tuple):
            _check(limits, "every model")
        else:
            for model, limit in (limits or {}).items():
                _check(limit, repr(model))
                self[model] = Meter(*limit, window)

    def of(self, model: str) -> Meter | None:
        """Return the meter of a model that was asked, None where it has no limits."""
        if self._for_all is not None and model not in self:
            self[model] = Meter(*self._for_all, self._window)
        return self.get(model)


def _check(limits: Limits, whose: str) -> None:
    for limit in limits:
        if limit is not None and limit < 1:
            raise ValueError(f"the limits of {whose} must be at least 1 or None, not {limit}")
