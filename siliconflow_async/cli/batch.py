"""`batch`: a file of requests in, a file of results out, and a bar in between."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .. import AsyncSiliconFlow, SiliconFlowError
from ..batch import BatchReport, run_batch
from ..batch.files import errors_beside
from .bar import ProgressBar
from .demo import announced, check_service
from .errors import exit_code
from .limits import chosen_limits
from .screen import CannotWrite, Failed, Screen, one_line
from .stdin import stdin_lines

__all__ = ["batch", "concluded", "watched"]

_BAD_LINES_SHOWN = 20
# Of what the service said, so that what stands behind it is seen.
_WORDS_SHOWN = 200


class _Files(NamedTuple):
    """Where requests come from and lines go; None is stdin or stdout, `errors` of None is beside the results."""

    requests: Path | None
    results: Path | None
    errors: Path | None

    @property
    def goes_on(self) -> bool:
        """Whether another run can go on with this one, as both sides are files."""
        return self.requests is not None and self.results is not None

    @property
    def failures(self) -> Path | None:
        """The file that lines which failed are written to, None for stdout."""
        return errors_beside(self.results) if self.errors is None and self.results is not None else self.errors


async def batch(
    screen: Screen,
    *,
    requests: str,
    output: str | None,
    errors: str | None,
    retry_failed: bool,
    demo: bool,
    base_url: str | None,
    rpm: int | None,
    tpm: int | None,
    redis: str | None,
    account: str | None,
    max_retries: int | None,
    **options: Any,
) -> int:
    """Run a batch; return the exit code. The names are those of the options, `options` goes on to `run_batch`."""
    check_service(demo, base_url, otherwise="batch --demo requests.jsonl -o results.jsonl")
    if requests == "-" and sys.stdin is None:
        raise Failed("stdin is closed")
    if output is None and requests != "-":
        raise Failed("no file for the results. Name one: -o results.jsonl")
    if output in (None, "-") and sys.stdout is None:
        raise Failed("stdout is closed; name a file for the results: -o results.jsonl")
    files = _Files(
        requests=None if requests == "-" else Path(requests),
        results=None if output in (None, "-") else Path(output),
        errors=None if errors is None else Path(errors),
    )
    if retry_failed and not files.goes_on:
        raise Failed("--retry-failed goes on with an earlier run, which needs files on both sides")
    chosen: dict[str, Any] = {"max_connections": max(1000, options["max_concurrency"])}
    chosen["limits"] = chosen_limits(rpm, tpm, redis, account)
    if max_retries is not None:
        chosen["max_retries"] = max_retries

    async def run() -> BatchReport:
        async with announced(screen, demo, base_url, **chosen) as client:
            return await _run(screen, files, client, retry_failed=retry_failed, **options)

    return await concluded(screen, run(), files.failures, goes_on=files.goes_on)


async def concluded(
    screen: Screen,
    batch: Coroutine[Any, Any, BatchReport],
    failures: object,
    *,
    goes_on: bool = True,
    stopped: str = "stopped; the same command goes on from here",
) -> int:
    """Run a batch, say how it stands or what ended it, and return the exit code.

    `failures` is where lines that failed are, None for stdout. Where the same command `goes_on`, it is told so, and
    `stopped` if the user ends it.
    """
    try:
        report = await batch
    except SiliconFlowError as error:
        screen.notice(f"error: {error}")
        for note in getattr(error, "__notes__", ()):
            screen.notice(f"{note}; the same command goes on from here" if goes_on else note)
        return exit_code(error)
    except OSError as error:
        raise CannotWrite(f"can't write {error.filename or 'the results'}: {error.strerror}") from error
    except asyncio.CancelledError:
        if goes_on:
            screen.notice(stopped)
        raise
    for line in _closing_lines(report, failures, goes_on=goes_on):
        screen.notice(line)
    return 1 if report.failed or report.open or report.bad else 0


async def _run(screen: Screen, files: _Files, client: AsyncSiliconFlow, **options: Any) -> BatchReport:
    def show_line(line: bytes) -> None:
        screen.line(line.decode())

    # Lines on the terminal show by themselves how far it is.
    has_bar = not (files.results is None and sys.stdout.isatty())
    with watched(screen, has_bar=has_bar) as watching:
        return await run_batch(
            client,
            stdin_lines() if files.requests is None else files.requests,
            show_line if files.results is None else files.results,
            errors=files.errors,
            **watching,
            **options,
        )


@contextmanager
def watched(screen: Screen, *, has_bar: bool = True) -> Iterator[dict[str, Any]]:
    """Give the callbacks of a batch that show bad lines, where it begins, and how it comes along."""
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

    with ExitStack() as closing:
        bar = None
        if sys.stderr is not None and has_bar:
            bar = closing.enter_context(ProgressBar())
            screen.lifted = bar.lifted
        yield {"on_bad": show_bad, "on_begin": begin, "on_progress": bar}


def _closing_lines(report: BatchReport, failures: object, *, goes_on: bool) -> list[str]:
    """Return how the batch stands: what is done, and of what is not, why, where to look, and what to do."""
    lines = [f"{report.done} done"]
    for count, what, is_open, how in (
        (report.failed, "failed", False, "--retry-failed asks"),
        (report.open, "open", True, "the same command asks"),
    ):
        if count:
            parts = [f"{count} {what}{_commonest(report, count, is_open)}"]
            if failures is not None:
                parts.append(f"see {failures}")
            if goes_on:
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
