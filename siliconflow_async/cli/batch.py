"""`batch`: a file of requests in, a file of results out, and a bar in between."""

from __future__ import annotations

import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from .. import AsyncSiliconFlow, ConfigurationError, InvalidRequestError, Limit, SiliconFlowError
from ..batch import BatchReport, run_batch
from ..batch.files import errors_beside
from ..client import ClientOptions
from .bar import ProgressBar
from .screen import CannotWrite, Screen, one_line
from .stdin import stdin_lines

__all__ = ["Batch", "batch"]

_BAD_LINES_SHOWN = 20
# Of what the service said, so that what stands behind it is seen.
_WORDS_SHOWN = 200


class Batch(NamedTuple):
    """What to run, and how; the names are those of the options. A path of None is stdin or stdout."""

    requests: Path | None
    output: Path | None
    errors: Path | None
    model: str | None
    concurrency: int
    rpm: int | None
    tpm: int | None
    max_retries: int | None
    patience: float
    ordered: bool
    retry_failed: bool
    skip_bad: bool
    base_url: str | None

    @property
    def goes_on(self) -> bool:
        """Whether another run can go on with this one, as both sides are files."""
        return self.requests is not None and self.output is not None

    @property
    def errors_file(self) -> Path | None:
        """Where the lines that failed are written, None for stdout."""
        return errors_beside(self.output) if self.errors is None and self.output is not None else self.errors


async def batch(options: Batch, screen: Screen) -> int:
    """Run a batch; return the exit code."""
    try:
        report = await _run(options, screen)
    except SiliconFlowError as error:
        screen.notice(f"error: {error}")
        for note in getattr(error, "__notes__", ()):
            screen.notice(f"{note}; the same command goes on from here" if options.goes_on else note)
        return 2 if isinstance(error, ConfigurationError | InvalidRequestError) else 1
    except OSError as error:
        raise CannotWrite(f"{error.filename or 'the results'}: {error.strerror}") from error
    except asyncio.CancelledError:
        if options.goes_on:
            screen.notice("stopped; the same command goes on from here")
        raise
    for line in closing_lines(report, options):
        screen.notice(line)
    return 1 if report.failed or report.open or report.bad else 0


async def _run(options: Batch, screen: Screen) -> BatchReport:
    bad = 0

    def show_bad(why: str) -> None:
        nonlocal bad
        bad += 1
        if bad <= _BAD_LINES_SHOWN:
            screen.notice(why)
        elif bad == _BAD_LINES_SHOWN + 1:
            screen.notice("and more bad lines")

    def begin(finished: int, total: int) -> None:
        if finished:
            screen.notice(f"going on: {finished} of {total} lines are finished")

    def show_line(line: bytes) -> None:
        screen.line(line.decode())

    with ExitStack() as closing:
        client = AsyncSiliconFlow(**_client_options(options))
        bar = None
        # Lines on the terminal show by themselves how far it is.
        if sys.stderr is not None and not (options.output is None and sys.stdout is not None and sys.stdout.isatty()):
            bar = closing.enter_context(ProgressBar())
            screen.lifted = bar.lifted
        async with client:
            return await run_batch(
                client,
                stdin_lines() if options.requests is None else options.requests,
                show_line if options.output is None else options.output,
                errors=options.errors,
                model=options.model,
                max_concurrency=options.concurrency,
                ordered=options.ordered,
                retry_failed=options.retry_failed,
                skip_bad=options.skip_bad,
                on_bad=show_bad,
                on_begin=begin,
                on_progress=bar,
                patience=options.patience,
            )


def _client_options(options: Batch) -> ClientOptions:
    chosen: ClientOptions = {
        "base_url": options.base_url,
        "max_connections": max(1000, options.concurrency),
    }
    if options.rpm is not None or options.tpm is not None:
        chosen["limits"] = Limit(rpm=options.rpm, tpm=options.tpm)
    if options.max_retries is not None:
        chosen["max_retries"] = options.max_retries
    return chosen


def closing_lines(report: BatchReport, options: Batch) -> list[str]:
    """Return how the batch stands: what is done, and of what is not, why, where to look, and what to do."""
    lines = [f"{report.done} done"]
    for count, what, is_open, how in (
        (report.failed, "failed", False, "--retry-failed asks"),
        (report.open, "open", True, "the same command asks"),
    ):
        if count:
            parts = [f"{count} {what}{_commonest(report, count, is_open)}"]
            if options.errors_file is not None:
                parts.append(f"see {options.errors_file}")
            if options.goes_on:
                parts.append(f"{how} {'it' if count == 1 else 'them'} again")
            lines.append("; ".join(parts))
    if report.bad:
        lines.append(f"{report.bad} bad lines skipped")
    return lines


def _commonest(report: BatchReport, count: int, is_open: bool) -> str:
    kind = next((kind for kind in report.failures if kind.is_open == is_open), None)
    if kind is None:
        return ""
    words = one_line(kind.message)
    words = words if len(words) <= _WORDS_SHOWN else f"{words[:_WORDS_SHOWN]}..."
    share = "" if count == 1 else "all of them " if kind.count == count else f"{kind.count} of them "
    return f", {share}{kind.type}: {words}"
