"""A run over the lines of a batch: from `map`'s results to the files, and on from where the last run was stopped."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import msgspec

from ..client import AsyncSiliconFlow
from ..errors import APIStatusError, ConfigurationError, InvalidRequestError, SiliconFlowError
from ..results import MapResult, OnProgress, Requests
from ..wire import jsontext
from ..wire.structs import ChatCompletion
from .files import Journal, LineFile, holds_lines, without
from .ids import LineOfId
from .lines import (
    DONE,
    FAILED,
    PENDING,
    Checked,
    LineRequest,
    check,
    duplicate,
    open_input,
    parse_line,
    pieces,
    split_lines,
)

__all__ = ["BatchReport", "run_batch"]

Sink: TypeAlias = Path | Callable[[bytes], None]


class BatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch stands after a run: lines that are `done`, that `failed`, and `bad` ones that were skipped.

    `before` says how many of the finished ones were so when the run began.
    """

    done: int
    failed: int
    bad: int
    before: int


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
) -> BatchReport:
    """Ask for what each line of `requests` says, and write a line for each: to `results`, or else to `errors`.

    A file of requests is checked before anything is sent; from lines as they come each is checked when it is read.
    With files on both sides the run goes on where an earlier one was stopped, however that was. `errors` is by default
    beside the file of results, `results.errors.jsonl` for `results.jsonl`; a failed line is finished, unless
    `retry_failed` asks for it again. A function in place of a file is called with each line.

    `model` takes the place of every line's own. Bad lines, of which `on_bad` is told, are fatal unless `skip_bad`.
    `on_begin` is told how many lines were finished before, and how many there are in all (not for lines as they come).

    Raises InvalidRequestError for bad lines, ConfigurationError where the files don't fit together or can't be used,
    OSError where they can't be written.
    """
    if errors is None:
        errors = results.with_name(f"{results.stem}.errors{results.suffix}") if isinstance(results, Path) else results
    named = [path.resolve() for path in (requests, results, errors) if isinstance(path, Path)]
    if len(set(named)) < len(named):
        raise ConfigurationError("requests, results and errors must be files of their own")
    with ExitStack() as closing:
        if not isinstance(requests, Path):
            report = _Report(_open(results, closing), _open(errors, closing), None)
            source: Requests = _as_they_come(requests, model, skip_bad, report, on_bad)
        else:
            checked = await check(requests, model, skip_bad=skip_bad, on_bad=on_bad)
            if isinstance(results, Path) and isinstance(errors, Path):
                report = _resume(checked, results, errors, retry_failed, closing)
            else:
                report = _Report(_open(results, closing), _open(errors, closing), checked.states)
            report.bad = checked.bad
            source = _Pending(closing.enter_context(open_input(requests)), checked, model, requests)
            if on_begin is not None:
                on_begin(report.before, report.before + len(source))
        run = client.chat.completions.map(
            source, max_concurrency=max_concurrency, ordered=ordered, on_progress=on_progress
        )
        async with run as answers:
            async for answer in answers:
                report.write(answer)
    return BatchReport(done=report.done, failed=report.failed, bad=report.bad, before=report.before)


class _Report:
    """Where the results of a run go, and the counts of the batch."""

    def __init__(
        self, write_result: Callable[[bytes], None], write_error: Callable[[bytes], None], states: bytearray | None
    ) -> None:
        self._write_result = write_result
        self._write_error = write_error
        self._states = states
        self.done = self.failed = self.bad = self.before = 0
        self.error_lines = 0

    def write(self, answer: MapResult[Any]) -> None:
        if answer.error is None:
            self._write_result(_result_line(answer))
            self.done += 1
        else:
            self._write_error(_error_line(answer, answer.error))
            self.failed += 1
            self.error_lines += 1
        if self._states is not None:
            self._states[answer.request.line] = DONE if answer.error is None else FAILED


def _open(sink: Sink, closing: ExitStack) -> Callable[[bytes], None]:
    if not isinstance(sink, Path):
        return sink
    if holds_lines(sink):
        raise ConfigurationError(f"{sink} is there already, and only a run from file to file can go on with it")
    file = LineFile(sink)
    closing.callback(file.close)
    return file.add


def _resume(checked: Checked, results: Path, errors: Path, retry_failed: bool, closing: ExitStack) -> _Report:
    ids, states = checked.ids, checked.states
    journal = Journal(results, errors)
    closing.callback(journal.close)
    journal.compare(checked.fingerprint)

    def tidy(kind: type[BaseException] | None, *_: object) -> None:
        # Only at the end, in one step: until then the files say it all, as a result counts before an error.
        if kind is None and report.error_lines > states.count(FAILED):
            without(errors, ids.get, len(states), lambda number: states[number] != FAILED)

    closing.push(tidy)
    failures = LineFile(errors)
    closing.callback(failures.close)
    successes = LineFile(results)
    closing.callback(successes.close)
    report = _Report(successes.add, failures.add, states)
    # The results after the errors: a line that failed at first is done.
    for state, file in ((FAILED, failures), (DONE, successes)):
        for custom_id in file.ids():
            number = ids.get(custom_id)
            if not number:
                raise ConfigurationError(f"{file.path} has a line for {custom_id!r}, which the requests have not")
            states[number] = state
            report.error_lines += state == FAILED
    if retry_failed:
        states[:] = states.translate(bytes(PENDING if state == FAILED else state for state in range(256)))
    report.done = states.count(DONE)
    report.failed = states.count(FAILED)
    report.before = report.done + report.failed
    return report


class _Pending:
    """The requests of a file's lines that are to be asked for, read as they are needed."""

    def __init__(self, file: BinaryIO, checked: Checked, model: str | None, path: Path) -> None:
        self._file = file
        self._checked = checked
        self._model = model
        self._path = path
        self._count = checked.states.count(PENDING)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LineRequest]:
        ids, states = self._checked.ids, self._checked.states
        left = self._count
        if not left:
            return
        for number, data in enumerate(split_lines(pieces(self._file)), 1):
            if number >= len(states):
                break
            if states[number] != PENDING:
                continue
            try:
                request = parse_line(data, number, self._model)
            except InvalidRequestError:
                request = None
            if request is None or ids.get(request["custom_id"]) != number:
                break
            yield request
            left -= 1
            if not left:
                return
        raise ConfigurationError(f"{self._path} was changed while it was read")


async def _as_they_come(
    lines: AsyncIterable[bytes],
    model: str | None,
    skip_bad: bool,
    report: _Report,
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
            report.bad += 1
        else:
            yield request


def _result_line(answer: MapResult[Any]) -> bytes:
    completion = answer.completion
    assert completion is not None
    response = {"status_code": 200, "request_id": completion.trace_id, "body": _json(completion)}
    return _line(answer, response, None)


def _error_line(answer: MapResult[Any], error: SiliconFlowError) -> bytes:
    response = None
    if isinstance(error, APIStatusError):
        response = {"status_code": error.status, "request_id": error.trace_id, "body": _body(error.body)}
    partial: ChatCompletion | None = getattr(error, "partial", None)
    return _line(
        answer,
        response,
        {
            "code": getattr(error, "code", None),
            "message": _sound(str(error)),
            "type": type(error).__name__,
            "request_id": getattr(error, "trace_id", None),
            "attempts": answer.attempts,
            "partial": None if partial is None else _json(partial),
        },
    )


def _line(answer: MapResult[Any], response: dict[str, Any] | None, error: dict[str, Any] | None) -> bytes:
    line = {
        "id": f"batch_req_{answer.request.line}",
        "custom_id": answer.custom_id,
        "response": response,
        "error": error,
    }
    return msgspec.json.encode(line)


def _json(completion: ChatCompletion) -> msgspec.Raw:
    return msgspec.Raw(completion.to_json().encode())


def _body(text: str) -> Any:
    """Return the body of a refusal as JSON where it is, else as text."""
    try:
        return jsontext.encode(jsontext.parse(text.encode("utf-8", "replace"))) or _sound(text)
    except ValueError:
        return _sound(text)


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
