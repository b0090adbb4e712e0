"""A run over the lines of a batch: from `map`'s results to the files, and on from where the last run was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..client import AsyncSiliconFlow
from ..errors import InvalidRequestError
from ..runs.progress import MapProgress
from ..runs.results import OnProgress, Requests
from .files import errors_beside, keep_apart
from .lines import PENDING, Checked, LineReader, LineRequest, check, open_input, parse_line, wanted_lines
from .outcome import BatchReport, Outcome, ResumedOutcome, Sink
from .submitted import check_none_submitted

__all__ = ["run_batch"]

# What is under way when a run is stopped has been paid for, or will be.
_SECONDS_TO_END = 30.0


async def run_batch(
    client: AsyncSiliconFlow,
    requests: Path | AsyncIterable[bytes],
    results: Sink,
    *,
    errors: Sink | None = None,
    model: str | None = None,
    max_concurrency: int = 64,
    ordered: bool = False,
    retry_failed: bool = False,
    skip_bad: bool = False,
    on_bad: Callable[[str], None] | None = None,
    on_begin: Callable[[int, int], None] | None = None,
    on_progress: OnProgress | None = None,
    patience: float | None = 600.0,
) -> BatchReport:
    """Ask for what each line of `requests` says, and write a line for each: to `results`, or else to `errors`.

    A file of requests is checked before anything is sent; from lines as they come each is checked when it is read.
    With files on both sides the run goes on where an earlier one was stopped, however that was. `errors` is by default
    beside the file of results, `results.errors.jsonl` for `results.jsonl`. A line that failed for a reason that may
    pass is asked again by the next run; one that was refused is finished, unless `retry_failed` asks for it again. A
    function in place of a file is called with each line.

    `model` takes the place of every line's own. Bad lines, of which `on_bad` is told, are fatal unless `skip_bad`.
    `on_begin` is told how many lines were finished before, and how many there are in all (not for lines as they come);
    `on_progress` is told of the whole batch, with what was finished before. `patience` is that of `map`: a line whose
    request has waited so many seconds for a service that is away stays open.

    Raises InvalidRequestError for bad lines, ConfigurationError where the files don't fit together or can't be used,
    or the requests change meanwhile, OSError, with its `filename`, where one can't be written or was lost during the
    run, and the APIStatusError (AuthenticationError, InsufficientBalanceError, PermissionDeniedError) by which the
    service turned the account away.
    """
    if errors is None:
        errors = errors_beside(results) if isinstance(results, Path) else results
    keep_apart(*(path if isinstance(path, Path) else None for path in (requests, results, errors)))
    with ExitStack() as closing:
        source: Requests
        pending: int | None = None
        if not isinstance(requests, Path):
            reader = LineReader(model)
            outcome = Outcome.into(results, errors, reader.models, 0, closing)
            source = _as_they_come(requests, reader, skip_bad, outcome, on_bad)
        else:
            checked = await check(requests, model, skip_bad=skip_bad, on_bad=on_bad)
            if isinstance(results, Path) and isinstance(errors, Path):
                check_none_submitted(results)
                outcome = ResumedOutcome(checked, results, errors, closing, retry_failed=retry_failed)
            else:
                outcome = Outcome.into(results, errors, checked.lines.models, checked.bad, closing)
            source = _pending(closing.enter_context(open_input(requests)), checked, outcome, model, requests)
            pending = checked.states.count(PENDING)
            if on_begin is not None:
                on_begin(outcome.before, outcome.before + pending)
        refusals = outcome.refusals
        run = client.chat.completions.map(
            source,
            max_concurrency=max_concurrency,
            ordered=ordered,
            on_progress=_from_the_beginning(on_progress, outcome),
            total=pending,
            patience=patience,
        )
        run.kind = "batch"
        async with run as answers:
            async for answer in answers:
                outcome.write(answer)
                if refusals.refusal is not None:
                    break
            if refusals.refusal is not None:
                # The source has ended too. What has its answer by now is written in any case.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SECONDS_TO_END if refusals.was_served else 0):
                        async for answer in answers:
                            outcome.write(answer)
        report = outcome.finish()
    if refusals.refusal is not None:
        refusals.refusal.add_note(f"stopped at {report.done} done, as no other line would fare better")
        raise refusals.refusal
    return report


def _from_the_beginning(on_progress: OnProgress | None, outcome: Outcome) -> OnProgress | None:
    """Return what tells of the whole batch, of which a run does what is left."""
    done, failed = outcome.done, outcome.failed
    if on_progress is None or not outcome.before:
        return on_progress

    def told(progress: MapProgress) -> None:
        total = None if progress.total is None else progress.total + done + failed
        on_progress(
            msgspec.structs.replace(progress, done=progress.done + done, failed=progress.failed + failed, total=total)
        )

    return told


def _pending(
    file: BinaryIO, checked: Checked, outcome: Outcome, model: str | None, path: Path
) -> Iterator[LineRequest]:
    """Yield the requests of a file's lines that are to be asked for, read as they are needed.

    Raises ConfigurationError at the first piece of the file that is not as it was.
    """
    states = checked.states
    for number, data in wanted_lines(
        path, file, checked, lambda number: states[number] == PENDING, states.count(PENDING)
    ):
        if outcome.refusals.refusal is not None:
            return
        request = parse_line(data, number, model)
        assert request is not None
        yield request


async def _as_they_come(
    lines: AsyncIterable[bytes],
    reader: LineReader,
    skip_bad: bool,
    outcome: Outcome,
    on_bad: Callable[[str], None] | None,
) -> AsyncIterator[LineRequest]:
    number = 0
    async for data in lines:
        if outcome.refusals.refusal is not None:
            return
        number += 1
        try:
            request = reader.read(data, number)
        except InvalidRequestError as error:
            if on_bad is not None:
                on_bad(str(error))
            if not skip_bad:
                raise
            outcome.skipped()
        else:
            if request is not None:
                yield request
