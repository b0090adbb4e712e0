"""A run over the lines of a batch: from `map`'s results to the files, and on from where the last run was stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..client import AsyncSiliconFlow
from ..errors import ConfigurationError, InvalidRequestError
from ..runs.progress import MapProgress
from ..runs.results import OnProgress, Requests
from .account import Account
from .files import errors_beside, keep_apart
from .ids import LineOfId
from .lines import (
    PENDING,
    Checked,
    Fingerprint,
    LineRequest,
    check,
    duplicate,
    note_model,
    open_input,
    parse_line,
    pieces,
    split_lines,
)
from .outcome import BatchReport, Outcome, ResumedOutcome, Sink

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
        if not isinstance(requests, Path):
            account = Account(set())
            outcome = Outcome.into(results, errors, account, 0, closing)
            source = _as_they_come(requests, model, account, skip_bad, outcome, on_bad)
        else:
            checked = await check(requests, model, skip_bad=skip_bad, on_bad=on_bad)
            account = Account(checked.models)
            if isinstance(results, Path) and isinstance(errors, Path):
                outcome = ResumedOutcome(checked, results, errors, account, closing, retry_failed=retry_failed)
            else:
                outcome = Outcome.into(results, errors, account, checked.bad, closing)
            source = pending = _Pending(closing.enter_context(open_input(requests)), checked, account, model, requests)
            if on_begin is not None:
                on_begin(outcome.before, outcome.before + len(pending))
        run = client.chat.completions.map(
            source,
            max_concurrency=max_concurrency,
            ordered=ordered,
            on_progress=_from_the_beginning(on_progress, outcome),
            patience=patience,
        )
        async with run as answers:
            async for answer in answers:
                outcome.write(answer)
                if account.refusal is not None:
                    break
            if account.refusal is not None:
                # The source has ended too. What has its answer by now is written in any case.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_SECONDS_TO_END if account.was_served else 0):
                        async for answer in answers:
                            outcome.write(answer)
        report = outcome.finish()
    if account.refusal is not None:
        account.refusal.add_note(f"stopped at {report.done} done, as no other line would fare better")
        raise account.refusal
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


class _Pending:
    """The requests of a file's lines that are to be asked for, read as they are needed."""

    def __init__(self, file: BinaryIO, checked: Checked, account: Account, model: str | None, path: Path) -> None:
        self._file = file
        self._checked = checked
        self._account = account
        self._model = model
        self._path = path
        self._count = checked.states.count(PENDING)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LineRequest]:
        states = self._checked.states
        left = self._count
        if not left:
            return
        for number, data in enumerate(split_lines(pieces(self._file, self._compare())), 1):
            if states[number] != PENDING:
                continue
            if self._account.refusal is not None:
                return
            request = parse_line(data, number, self._model)
            assert request is not None
            yield request
            left -= 1
            if not left:
                return
        raise self._changed()

    def _compare(self) -> Callable[[bytes], None]:
        """Return what raises ConfigurationError at the first piece that is not as it was."""
        again, marks = Fingerprint(), self._checked.marks

        def compare(piece: bytes) -> None:
            again.add(piece)
            count = len(again.marks)
            if again.marks[-1:] != marks[count - 1 : count]:
                raise self._changed()

        return compare

    def _changed(self) -> ConfigurationError:
        return ConfigurationError(f"{self._path} was changed while it was read")


async def _as_they_come(
    lines: AsyncIterable[bytes],
    model: str | None,
    account: Account,
    skip_bad: bool,
    outcome: Outcome,
    on_bad: Callable[[str], None] | None,
) -> AsyncIterator[LineRequest]:
    ids = LineOfId()
    number = 0
    async for data in lines:
        number += 1
        try:
            request = parse_line(data, number, model)
            if request is None:
                continue
            if first := ids.add(request["custom_id"], number):
                raise duplicate(number, request["custom_id"], first)
        except InvalidRequestError as error:
            if on_bad is not None:
                on_bad(str(error))
            if not skip_bad:
                raise
            outcome.skipped()
        else:
            if account.refusal is not None:
                return
            note_model(account.models, request)
            yield request
