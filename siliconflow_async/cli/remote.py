"""`batch --remote`: a file of requests in, a file of results out, answered by batches of the service itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..batch import BatchReport, run_remote_batch
from ..batch.files import errors_beside
from .batch import concluded, watched
from .demo import announced, check_service
from .screen import Failed, Screen

__all__ = ["batch_remotely"]


async def batch_remotely(
    screen: Screen,
    *,
    requests: str,
    output: str | None,
    errors: str | None,
    window: str,
    ordered: bool,
    demo: bool,
    base_url: str | None,
    max_retries: int | None,
    **options: Any,
) -> int:
    """Run a batch; return the exit code. The names are those of the options, `options` goes on to the run."""
    check_service(demo, base_url, otherwise="batch --remote --demo requests.jsonl -o results.jsonl")
    if "-" in (requests, output) or output is None:
        raise Failed("--remote reads a file, and writes one that the next run goes on with: -o results.jsonl")
    if ordered:
        raise Failed("the service keeps no order; leave --ordered out")
    chosen: dict[str, Any] = {} if max_retries is None else {"max_retries": max_retries}
    results = Path(output)
    beside = errors_beside(results) if errors is None else Path(errors)

    def tell_sent(batch_id: str, lines: int) -> None:
        screen.notice(f"sent {lines} {'line' if lines == 1 else 'lines'} as {batch_id}")

    async def run() -> BatchReport:
        async with announced(screen, demo, base_url, **chosen) as client:
            with watched(screen) as watching:
                return await run_remote_batch(
                    client,
                    Path(requests),
                    results,
                    errors=beside,
                    completion_window=window,
                    on_sent=tell_sent,
                    **watching,
                    **options,
                )

    stopped = "stopped; what was sent goes on at the service, and the same command goes on from here"
    return await concluded(screen, run(), beside, stopped=stopped)
