"""The files that a batch writes: results and errors, to which lines are only ever added, and the journal.

A line that is in one of them whole is finished; there is no other account of that, which could disagree. The journal
holds the fingerprint of the requests, and is locked for as long as a run lasts.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..errors import ConfigurationError
from .lines import LineBuffer, open_input, pieces

try:
    import fcntl
except ImportError:  # no such locks on Windows: there two runs at once are the user's own care
    fcntl = None  # type: ignore[assignment]

__all__ = ["Journal", "LineFile", "holds_lines", "without"]


class _Finished(msgspec.Struct):
    custom_id: str


class _Fingerprint(msgspec.Struct):
    version: int
    requests: str


_FINISHED = msgspec.json.Decoder(_Finished)


class LineFile:
    """A file to which whole lines are added."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise ConfigurationError(f"can't write {path}: {error.strerror}") from error

    def add(self, line: bytes) -> None:
        """Add a line, which a crash of this process from here on can't take back. Raises OSError."""
        rest = memoryview(line + b"\n")
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def ids(self) -> Iterator[str]:
        """Yield the ids of all lines, and mend the last one.

        One that was cut off is taken away; one that lacks only its end gets it. Raises ConfigurationError at a line
        that is none of ours.
        """
        size = os.fstat(self._descriptor).st_size
        for number, (start, line) in enumerate(_lines(self.path), 1):
            torn = start + len(line) == size
            try:
                custom_id = _FINISHED.decode(line).custom_id
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                if not torn:
                    raise ConfigurationError(f"{self.path}, line {number}: not a line of a batch's results") from error
                os.ftruncate(self._descriptor, start)
                return
            if torn:
                os.write(self._descriptor, b"\n")
            yield custom_id

    def close(self) -> None:
        """Close the file, once it is on the disk."""
        with suppress(OSError):  # what is no file of a disk can't be synced
            os.fsync(self._descriptor)
        os.close(self._descriptor)


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    start = 0
    buffer = LineBuffer(math.inf)
    with open_input(path) as file:
        for piece in pieces(file):
            for line in buffer.feed(piece):
                yield start, line
                start += len(line) + 1
        for line in buffer.rest():
            yield start, line


def without(path: Path, line_of: Callable[[str], int], lines: int, stale: Callable[[int], bool]) -> None:
    """Replace a file of errors at once by one that has the last error of each request, and none that is stale.

    `line_of` gives the number of a request by its id, from 1 to `lines`.
    """
    last = array("Q", bytes(8)) * (lines + 1)
    for start, line in _lines(path):
        last[line_of(_FINISHED.decode(line).custom_id)] = start
    aside = path.with_name(f"{path.name}.tmp")
    with aside.open("wb") as file:
        for start, line in _lines(path):
            number = line_of(_FINISHED.decode(line).custom_id)
            if last[number] == start and not stale(number):
                file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def holds_lines(path: Path) -> bool:
    """Whether the file is there and is not empty."""
    return path.exists() and path.stat().st_size > 0


class Journal:
    """The journal beside the results: which requests they belong to, and that a run is writing them."""

    def __init__(self, results: Path, errors: Path) -> None:
        self.path = results.with_name(f"{results.name}.journal")
        self._results = results
        self._errors = errors
        try:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise ConfigurationError(f"can't write {self.path}: {error.strerror}") from error
        if fcntl is not None:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(self._descriptor)
                raise ConfigurationError(f"another run is writing {results}") from error

    def compare(self, fingerprint: str) -> None:
        """Go on if the results belong to these requests, or begin; else raise ConfigurationError."""
        written = os.read(self._descriptor, 4096)
        has_results = holds_lines(self._results) or holds_lines(self._errors)
        try:
            before = msgspec.json.decode(written, type=_Fingerprint)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            # Empty or torn: of a run that was killed before it began, or of none.
            if has_results:
                raise ConfigurationError(
                    f"{self._results} is there, but {self.path} does not say of which requests; choose another name"
                ) from error
        else:
            if before.requests != fingerprint and has_results:
                raise ConfigurationError(
                    f"the requests have changed since {self._results} was begun; give the new ones another name for "
                    "their results"
                )
            if before.requests == fingerprint:
                return
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, msgspec.json.encode(_Fingerprint(1, fingerprint)) + b"\n")
        os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file, which unlocks it."""
        os.close(self._descriptor)
