"""What becomes of the lines of a batch: where they are written, how many have fared how, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..runs.results import MapResult
from .account import Account
from .files import Journal, LineFile, OwnFile, Syncing, holds_lines, keep_apart, last_errors, replace
from .lines import DONE, FAILED, OPEN, PENDING, Checked
from .records import error_line, read_record, result_line

__all__ = ["BatchReport", "FailureKind", "Outcome", "ResumedOutcome", "Sink"]

Sink: TypeAlias = Path | Callable[[bytes], None]


class FailureKind(msgspec.Struct, frozen=True, kw_only=True):
    """How many lines failed with one type of error, such as "ContextLengthError", and what the last of them said.

    `is_open` tells lines that the next run asks again from refused ones.
    """

    type: str
    count: int
    message: str
    is_open: bool


class BatchReport(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch stands after a run: lines that are `done`, that `failed`, and `bad` ones that were skipped.

    `open` lines failed too, for reasons that may pass: the next run asks them again. Without files there is none, and
    they count as failed. `before` says how many of the finished ones, done and failed, were so when the run began.
    `failures` are the kinds of failed and open lines, the commonest first.
    """

    done: int
    failed: int
    open: int
    bad: int
    before: int
    failures: tuple[FailureKind, ...]


class Outcome:
    """Of a run that no other can go on with: lines go to files or functions, and one that failed has failed."""

    def __init__(
        self,
        write_result: Callable[[bytes], None],
        write_error: Callable[[bytes], None],
        files: Sequence[OwnFile],
        account: Account,
        bad: int,
        closing: ExitStack,
    ) -> None:
        self.done = self.failed = self.before = 0
        self._write_result = write_result
        self._write_error = write_error
        self._files = files
        self._account = account
        self._bad = bad
        self._kinds: dict[tuple[str, bool], tuple[int, str]] = {}
        self._syncing = Syncing(files)
        closing.callback(self._syncing.close)

    @classmethod
    def into(cls, results: Sink, errors: Sink, account: Account, bad: int, closing: ExitStack) -> Outcome:
        """Open what are files. Raises ConfigurationError for one that holds something."""
        files: list[OwnFile] = []

        def writer(sink: Sink) -> Callable[[bytes], None]:
            if not isinstance(sink, Path):
                return sink
            if holds_lines(sink):
                raise ConfigurationError(f"{sink} is there already, and only a run from file to file can go on with it")
            file = _opened(sink, closing)
            files.append(file)
            return file.add

        return cls(writer(results), writer(errors), files, account, bad, closing)

    def skipped(self) -> None:
        """Count a bad line."""
        self._bad += 1

    def write(self, answer: MapResult[Any]) -> None:
        """Write the line of a request that was answered or has failed. Raises OSError."""
        self._syncing.check()
        error = answer.error
        if error is None:
            self._write_result(result_line(answer))
            self._account.served()
            self._note(answer.request.line, DONE, "", "")
            return
        is_refused = self._account.is_refused(error)
        retryable = is_refused or error.passing
        self._write_error(error_line(answer, error, retryable=retryable))
        self._note(answer.request.line, OPEN if retryable else FAILED, type(error).__name__, str(error))
        if is_refused:
            self._account.refused(error)

    def _note(self, line: int, state: int, error: str, message: str) -> None:
        if state == DONE:
            self.done += 1
        else:
            self.failed += 1
            self._tally(error, message, is_open=False)

    def _tally(self, error: str, message: str, *, is_open: bool) -> None:
        count, _ = self._kinds.get((error, is_open), (0, ""))
        self._kinds[error, is_open] = (count + 1, message)

    def finish(self) -> BatchReport:
        """Return how the batch stands, which is on the disk by then. Raises OSError."""
        self._syncing.close()
        self._syncing.check()
        for file in self._files:
            file.sync()
            file.look()
        return self._report()

    def _report(self) -> BatchReport:
        return self._counted(open_lines=0)

    def _counted(self, open_lines: int) -> BatchReport:
        kinds = sorted(self._kinds.items(), key=lambda kind: -kind[1][0])
        return BatchReport(
            done=self.done,
            failed=self.failed,
            open=open_lines,
            bad=self._bad,
            before=self.before,
            failures=tuple(
                FailureKind(type=error, count=count, message=message, is_open=is_open)
                for (error, is_open), (count, message) in kinds
            ),
        )


class ResumedOutcome(Outcome):
    """Of a run from file to file, which begins with what the files say is finished.

    A failed line that is open is pending, and so are all of them with `retry_failed`.
    """

    def __init__(
        self, checked: Checked, results: Path, errors: Path, account: Account, closing: ExitStack, *, retry_failed: bool
    ) -> None:
        successes, failures = _opened(results, closing), _opened(errors, closing)
        journal = Journal(results, errors)
        closing.callback(journal.close)
        # Once more, as names that lead nowhere yet may still be of one file.
        keep_apart(None, results, errors)
        journal.compare(checked.fingerprint)
        super().__init__(successes.add, failures.add, [successes, failures, journal], account, checked.bad, closing)
        self._checked = checked
        self._failures = failures
        self._error_lines = 0
        ids, states = checked.ids, checked.states
        # The results after the errors: a line that failed at first is done.
        for file in (failures, successes):
            for record in file.records():
                number = ids.get(record.custom_id)
                if not number:
                    raise ConfigurationError(
                        f"{file.path} has a line for {record.custom_id!r}, which the requests have not"
                    )
                if file is successes:
                    states[number] = DONE
                else:
                    states[number] = PENDING if record.is_open or retry_failed else FAILED
                    self._error_lines += 1
        self.done = states.count(DONE)
        self.failed = states.count(FAILED)
        self.before = self.done + self.failed

    def _note(self, line: int, state: int, error: str, message: str) -> None:
        states = self._checked.states
        states[line] = state
        self.done += state == DONE
        self.failed += state == FAILED
        self._error_lines += state != DONE

    def _report(self) -> BatchReport:
        states = self._checked.states
        open_lines = states.count(OPEN) + states.count(PENDING)
        kept = self._tallied(
            last_errors(self._failures.path, self._checked.ids.get, len(states), lambda line: states[line] == DONE)
        )
        if self._error_lines > states.count(FAILED) + states.count(OPEN):
            # Only at the end, in one step: until then the files say it all, as a result counts before an error.
            self._failures.close()
            replace(self._failures.path, kept)
        else:
            for _ in kept:
                pass
        return self._counted(open_lines)

    def _tallied(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        for line in lines:
            record = read_record(line)
            if record.error is not None:
                self._tally(record.error.type, record.error.message, is_open=record.is_open)
            yield line


def _opened(path: Path, closing: ExitStack) -> LineFile:
    file = LineFile(path)
    closing.callback(file.close)
    return file
