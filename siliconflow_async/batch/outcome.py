"""What becomes of the lines of a batch: where they are written, how many have fared how, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from ..errors import ConfigurationError
from ..runs.results import MapResult
from .files import Journal, LineFile, OwnFile, Syncing, holds_lines, keep_apart, last_errors, replace
from .lines import DONE, FAILED, OPEN, PENDING, Checked
from .records import read_record, record_line
from .refusals import Refusals

__all__ = ["BatchReport", "FailureKind", "Failures", "Outcome", "ResumedOutcome", "Sink"]

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


class Failures:
    """Counts failures by their kinds."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, bool], FailureKind] = {}

    def add(self, error: str, message: str, *, is_open: bool) -> None:
        """Count one."""
        before = self._kinds.get((error, is_open))
        count = 1 if before is None else before.count + 1
        self._kinds[error, is_open] = FailureKind(type=error, count=count, message=message, is_open=is_open)

    def kinds(self) -> tuple[FailureKind, ...]:
        """Return what there was, the commonest first."""
        return tuple(sorted(self._kinds.values(), key=lambda kind: -kind.count))


class Outcome:
    """Of a run that no other can go on with: lines go to files or functions, and one that failed has failed.

    `refusals` tell when the service has turned the account away, which stops the run; `models` are those that the
    requests name.
    """

    def __init__(
        self,
        write_result: Callable[[bytes], None],
        write_error: Callable[[bytes], None],
        files: Sequence[OwnFile],
        models: set[str],
        bad: int,
        closing: ExitStack,
    ) -> None:
        self.refusals = Refusals(models)
        self.done = self.failed = self.before = 0
        self._write_result = write_result
        self._write_error = write_error
        self._files = files
        self._bad = bad
        self._kinds = Failures()
        self._syncing = Syncing(files, closing)

    @classmethod
    def into(cls, results: Sink, errors: Sink, models: set[str], bad: int, closing: ExitStack) -> Outcome:
        """Open what are files. Raises ConfigurationError for one that holds something."""
        files: list[OwnFile] = []

        def writer(sink: Sink) -> Callable[[bytes], None]:
            if not isinstance(sink, Path):
                return sink
            if holds_lines(sink):
                raise ConfigurationError(f"{sink} is there already, and only a run from file to file can go on with it")
            file = LineFile(sink, closing)
            files.append(file)
            return file.add

        return cls(writer(results), writer(errors), files, models, bad, closing)

    def skipped(self) -> None:
        """Count a bad line."""
        self._bad += 1

    def write(self, answer: MapResult[Any]) -> None:
        """Write the line of a request that was answered or has failed. Raises OSError."""
        self._syncing.check()
        error = answer.error
        if error is None:
            self._write_result(record_line(answer, str(answer.request.line), retryable=False))
            self.refusals.served()
            self._note(answer, DONE)
            return
        retryable = self.refusals.turns_away(error) or error.passing
        self._write_error(record_line(answer, str(answer.request.line), retryable=retryable))
        self._note(answer, OPEN if retryable else FAILED)

    def _note(self, answer: MapResult[Any], state: int) -> None:
        """Count how a line has fared."""
        if answer.error is None:
            self.done += 1
        else:
            self.failed += 1
            self._kinds.add(type(answer.error).__name__, str(answer.error), is_open=False)

    def sync(self) -> None:
        """Bring what was written to the disk. Raises OSError."""
        self._syncing.check()
        for file in self._files:
            file.sync()
            file.look()

    def finish(self) -> BatchReport:
        """Return how the batch stands, which is on the disk by then. Raises OSError."""
        self._syncing.close()
        self.sync()
        open_lines = self._close()
        return BatchReport(
            done=self.done,
            failed=self.failed,
            open=open_lines,
            bad=self._bad,
            before=self.before,
            failures=self._kinds.kinds(),
        )

    def _close(self) -> int:
        """Return how many lines are open, with the failures tallied."""
        return 0


class ResumedOutcome(Outcome):
    """Of a run from file to file, which begins with what the files say is finished.

    A failed line that is open is pending, and so are all of them with `retry_failed`.
    """

    def __init__(
        self, checked: Checked, results: Path, errors: Path, closing: ExitStack, *, retry_failed: bool
    ) -> None:
        successes, failures = LineFile(results, closing), LineFile(errors, closing)
        journal = Journal.beside(results, errors, closing)
        # Once more, as names that lead nowhere yet may still be of one file.
        keep_apart(None, results, errors)
        journal.compare(checked.fingerprint)
        files = [successes, failures, journal]
        super().__init__(successes.add, failures.add, files, checked.lines.models, checked.bad, closing)
        self._checked = checked
        self._failures = failures
        self._error_lines = 0
        states = checked.states
        # The results after the errors: a line that failed at first is done.
        for file in (failures, successes):
            for record in file.records():
                number = checked.lines.line_of(record.custom_id)
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

    def _note(self, answer: MapResult[Any], state: int) -> None:
        self._checked.states[answer.request.line] = state
        self.done += state == DONE
        self.failed += state == FAILED
        self._error_lines += state != DONE

    def _close(self) -> int:
        states = self._checked.states
        kept = map(self._tallied, last_errors(self._failures.path, self._checked.lines.line_of, states))
        if self._error_lines > states.count(FAILED) + states.count(OPEN):
            # Only at the end, in one step: until then the files say it all, as a result counts before an error.
            self._failures.close()
            replace(self._failures.path, kept)
        else:
            deque(kept, maxlen=0)
        return states.count(OPEN) + states.count(PENDING)

    def _tallied(self, line: bytes) -> bytes:
        record = read_record(line)
        if record.error is not None:
            self._kinds.add(record.error.type, record.error.message, is_open=record.is_open)
        return line
