"""What the limiter's tests share: a clock that they turn, and usage as the service reports it."""

from __future__ import annotations

from siliconflow_async.wire.structs import Usage


class FakeClock:
    """`clock()` is the time, which passes only by `advance`."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time

    def advance(self, seconds: float) -> None:
        self.time += seconds


def usage(prompt: int, completion: int) -> Usage:
    return Usage(prompt, completion, prompt + completion)
