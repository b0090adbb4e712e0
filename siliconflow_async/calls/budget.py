"""The retries that a client may make, so that a service that is down or overloaded is not asked ever more."""

from __future__ import annotations

import threading
import time

__all__ = ["RetryBudget"]

_MAX_CREDIT = 10.0


class RetryBudget:
    """The retries that a client may make, all its calls together, in whatever thread.

    Each call earns a share of a retry; credit is at most 10. The first 10 are an advance, paid back by the calls that
    follow, so that n calls in a row to a dead service make at most n · (1 + share) requests once it is paid back.

    `finds` grows with each answer of the service, be it a refusal: who lost it knows so that it is there again.
    """

    def __init__(self) -> None:
        self.finds = 0
        self._credit = _MAX_CREDIT
        self._advance = _MAX_CREDIT
        self._look_at = 0.0
        self._lock = threading.Lock()

    def earn(self, share: float) -> None:
        """Credit one call."""
        with self._lock:
            if self._advance > 0:
                self._advance -= share
            else:
                self._credit = min(_MAX_CREDIT, self._credit + share)

    def draw(self) -> bool:
        """Take one retry; False if none is left."""
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True

    def draw_look(self, seconds: float) -> bool:
        """Take one retry, to look for a service that is away; for so many seconds nobody else may. False if not now."""
        with self._lock:
            now = time.monotonic()
            if self._credit < 1 or now < self._look_at:
                return False
            self._credit -= 1
            self._look_at = now + seconds
            return True

    def found(self) -> None:
        """Note an answer of the service."""
        self.finds += 1
        self._look_at = 0.0
