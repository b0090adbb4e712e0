"""What was used in the last minute: a sliding log of requests and tokens, without a clock of its own.

Entries that are less than a two-hundredth of the window apart share one, which counts until the last of them has left.
So the log is short however much goes through it, and never says that something has left which hasn't.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import msgspec

__all__ = ["Window"]

_GRAINS = 200


class _Bucket(msgspec.Struct):
    first: float
    last: float
    requests: int = 0
    tokens: int = 0


class Window:
    """Requests and tokens of the last `length` seconds; `requests` and `tokens` hold as of the last `expire`."""

    def __init__(self, length: float) -> None:
        self.length = length
        self.requests = 0
        self.tokens = 0
        self._grain = length / _GRAINS
        self._buckets: deque[_Bucket] = deque()

    def __len__(self) -> int:
        return len(self._buckets)

    def add(self, at: float, requests: int, tokens: int) -> None:
        """Log what was used at a time, which may lie before that of other entries."""
        bucket = self._buckets[-1] if self._buckets else None
        if bucket is None or not 0 <= at - bucket.first < self._grain:
            bucket = self._bucket(at)
        if at > bucket.last:
            bucket.last = at
        bucket.requests += requests
        bucket.tokens += tokens
        self.requests += requests
        self.tokens += tokens

    def entries(self) -> Iterator[tuple[float, int, int]]:
        """Give when the last of each entry was used, and its requests and tokens."""
        return ((bucket.last, bucket.requests, bucket.tokens) for bucket in self._buckets)

    def _bucket(self, at: float) -> _Bucket:
        """Return the bucket of a time at which the newest one is not."""
        buckets = self._buckets
        place = len(buckets)
        while place and buckets[place - 1].first > at:
            place -= 1
        if place and at - buckets[place - 1].first < self._grain:
            return buckets[place - 1]
        bucket = _Bucket(at, at)
        buckets.insert(place, bucket)
        return bucket

    def expire(self, now: float) -> None:
        """Forget what has left the window."""
        buckets = self._buckets
        while buckets and buckets[0].last + self.length <= now:
            gone = buckets.popleft()
            self.requests -= gone.requests
            self.tokens -= gone.tokens

    def leaves_at(self, requests: int, tokens: int) -> float | None:
        """Return when at least so many of both will have left; None if there are fewer."""
        for bucket in self._buckets:
            requests -= bucket.requests
            tokens -= bucket.tokens
            if requests <= 0 and tokens <= 0:
                return bucket.last + self.length
        return None
