"""The rate limits that the stand-in keeps, one `Meter` for each model that has them.

A request counts when it arrives, refused or not, as failed requests do at the service. Its prompt is charged when it is
let in, each token of its answer as it is sent. What a window already holds decides: an answer under way is never cut,
so it may carry the window above its limit, and the requests after it are refused until enough of that has passed.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from .refusals import refuse

__all__ = ["Meter", "make_meters"]

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


def make_meters(limits: Mapping[str, tuple[int | None, int | None]] | None, window: float) -> dict[str, Meter]:
    """Return a meter for each model. Raises ValueError for a limit or a window that can't be."""
    if not window > 0:
        raise ValueError(f"window must be above 0, not {window}")
    meters: dict[str, Meter] = {}
    for model, (rpm, tpm) in (limits or {}).items():
        for limit in (rpm, tpm):
            if limit is not None and limit < 1:
                raise ValueError(f"the limits of {model!r} must be at least 1 or None, not {limit}")
        meters[model] = Meter(rpm, tpm, window)
    return meters
