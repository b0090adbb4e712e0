"""Requests that fail by chance: a share of them for each status, drawn so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Mapping

__all__ = ["Failures"]

_SEED = 0
# Sums of shares such as ten times 0.1 come out a little above 1.
_ROUNDING = 1e-9


class Failures:
    """Draws the status that a request is refused with.

    `shares` are statuses and the shares of requests that get them. The generator is seeded and asked once a request, so
    that the same requests in the same order fail in every run. Raises ValueError for what is no error or no share.
    """

    def __init__(self, shares: Mapping[int, float] | None) -> None:
        self._shares = dict(shares or {})
        self._random = random.Random(_SEED)
        for status, share in self._shares.items():
            if not 400 <= status < 600:
                raise ValueError(f"failures: {status} is no status of an error, 400 to 599")
            if not 0 <= share <= 1:
                raise ValueError(f"failures: the share of {status} must be from 0 to 1, not {share}")
        if sum(self._shares.values()) > 1 + _ROUNDING:
            raise ValueError("failures: the shares are more than 1 in all")

    def draw(self) -> int | None:
        """Return the status for the next request, None for an answer."""
        if not self._shares:
            return None
        left = self._random.random()
        for status, share in self._shares.items():
            if left < share:
                return status
            left -= share
        return None
