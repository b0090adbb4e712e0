"""How a run on a cluster comes along: what the actors last told of themselves."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ...runs.progress import MapProgress

__all__ = ["ProgressActor", "total_of"]

# An actor tells four times as often. One that does not has died, or is about to.
_STALE_SECONDS = 3.0


class ProgressActor:
    """An actor that keeps the last report of each worker."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._reports: dict[str, tuple[float, MapProgress]] = {}

    def report(self, worker: str, progress: MapProgress) -> None:
        """Take the report of a worker, in place of the one before."""
        self._reports[worker] = (self._clock(), progress)

    def reports(self) -> list[MapProgress]:
        """Return the last of each; of one that tells no more, what it has done."""
        now = self._clock()
        return [
            progress
            if now - at < _STALE_SECONDS
            else msgspec.structs.replace(
                progress, in_flight=0, tokens_per_second=0.0, concurrency=0, waiting_for=None, waiting_left=None
            )
            for at, progress in self._reports.values()
        ]


def total_of(reports: list[MapProgress], done: int, failed: int, total: int) -> MapProgress:
    """Return how all workers together come along, where so many lines of so many were done and had failed before."""
    now_done = sum(report.done for report in reports)
    now_failed = sum(report.failed for report in reports)
    elapsed = max((report.elapsed for report in reports), default=0.0)
    now_finished = now_done + now_failed
    left = total - done - failed - now_finished
    # Of several that wait, the one that is held up for longest.
    waiting = [report for report in reports if report.waiting_for is not None]
    longest = max(waiting, key=lambda report: report.waiting_left or 0.0, default=None)
    return MapProgress(
        done=done + now_done,
        failed=failed + now_failed,
        in_flight=sum(report.in_flight for report in reports),
        total=total,
        tokens=sum(report.tokens for report in reports),
        tokens_per_second=sum(report.tokens_per_second for report in reports),
        concurrency=sum(report.concurrency for report in reports),
        paused_until=max((report.paused_until for report in reports if report.paused_until), default=None),
        waiting_for=None if longest is None else longest.waiting_for,
        waiting_left=None if longest is None else longest.waiting_left,
        elapsed=elapsed,
        time_left=elapsed * left / now_finished if now_finished else None,
    )
