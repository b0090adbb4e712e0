"""What the limiter's tests share: a clock that they turn, and usage as the service reports it."""

from __future__ import annotations

import json

from msgspec import Raw


class FakeClock:
    """`clock()` is the time, which passes only by `advance`."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def usage(prompt: int, completion: int) -> Raw:
    return Raw(
        json.dumps(
            {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        ).encode()
    )
