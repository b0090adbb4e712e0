"""The files that a batch writes: results and errors, to which lines are only ever added, and the journal.

What they say is the only account of what is finished, so nothing is taken for written that is not: a file that was
removed or cut during the run, or can't be written, is an OSError that names it. Each is locked for as long as a run
lasts. The journal holds the fingerprint of the requests.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import combinations
from pathlib import Path
from typing import Self

import msgspec

from ..errors import ConfigurationError
from .lines import DONE, open_input
from .records import Record, read_record

try:
    import fcntl
except ImportError:  # no such locks on Windows: there two runs at once are the user's own care
    fcntl = None  # type: ignore[assignment]

__all__ = [
    "Journal",
    "LineFile",
    "OwnFile",
    "Syncing",
    "errors_beside",
    "holds_lines",
    "is_being_written",
    "keep_apart",
    "last_errors",
    "replace",
]

_SYNC_SECONDS = 5.0
_JOURNAL = ".journal"
# What is to take the place of the errors.
_ASIDE = ".tmp"


class _Fingerprint(msgspec.Struct):
    version: int
    requests: str


class OwnFile:
    """A file that this run alone writes, until `closing` is left."""

    def __init__(self, path: Path, flags: int, closing: ExitStack) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | flags, 0o666)
        except OSError as error:
            raise ConfigurationError(f"can't write {path}: {error.strerror}") from error
        closing.callback(self.close)
        found = os.fstat(self._descriptor)
        self._inode = (found.st_dev, found.st_ino)
        self._size = found.st_size
        self._dirty = False
        # A pipe or a device can be neither locked, nor cut, nor brought to the disk.
        self._is_regular = stat.S_ISREG(found.st_mode)
        if fcntl is not None and self._is_regular:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigurationError(f"another run is writing {path}") from error
            except OSError:
                pass  # a file system without locks is as good as Windows

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _named(self.path):
            while rest:
                written = os.write(self._descriptor, rest)
                self._size += written
                self._dirty = True
                rest = rest[written:]

    def _cut(self, size: int) -> None:
        self._size = size
        with _named(self.path):
            os.ftruncate(self._descriptor, size)

    def sync(self) -> None:
        """Bring what was written to the disk; raise OSError where that fails."""
        if self._dirty and self._is_regular:
            self._dirty = False
            with _named(self.path):
                os.fsync(self._descriptor)

    def look(self) -> None:
        """Raise OSError unless the path still leads to all that was written. May be called in another thread."""
        if not self._is_regular:
            return
        expected = self._size
        try:
            found = os.stat(self.path)
        except FileNotFoundError as error:
            raise self._lost("removed") from error
        if (found.st_dev, found.st_ino) != self._inode:
            raise self._lost("replaced")
        if found.st_size < expected:
            raise self._lost("cut")

    def _lost(self, how: str) -> OSError:
        return OSError(errno.EIO, f"it was {how} by someone else during the run", str(self.path))

    def close(self) -> None:
        """Close the file, which unlocks it; a second time does nothing."""
        if self._descriptor >= 0:
            # Whoever wants to know has synced it before.
            with suppress(OSError):
                self.sync()
            os.close(self._descriptor)
            self._descriptor = -1


class LineFile(OwnFile):
    """A file to which whole lines are added."""

    def __init__(self, path: Path, closing: ExitStack) -> None:
        super().__init__(path, os.O_APPEND, closing)

    def add(self, line: bytes) -> None:
        """Add a line, which a crash of this process from here on can't take back. Raises OSError."""
        if self._is_regular and os.fstat(self._descriptor).st_size < self._size:
            # What follows would hide the torn end, which only the last line may have.
            raise self._lost("cut")
        self._write(line + b"\n")

    def records(self) -> Iterator[Record]:
        """Yield what all lines say, and mend the last one.

        One that was cut off is taken away; one that lacks only its end gets it. Raises ConfigurationError at a line
        that this library did not write.
        """
        start = 0
        is_torn = False
        for number, line in enumerate(_lines(self.path), 1):
            is_torn = not line.endswith(b"\n")
            try:
                record = read_record(line)
            except ValueError as error:
                if not is_torn:
                    raise ConfigurationError(f"{self.path}, line {number}: not a line of a batch's results") from error
                self._cut(start)
                return
            start += len(line)
            yield record
        if is_torn:
            self._write(b"\n")


class Journal(OwnFile):
    """Which requests the results belong to, in a file beside them; `has_lines` says whether there are some."""

    def __init__(self, results: Path, path: Path, has_lines: Callable[[], bool], closing: ExitStack) -> None:
        self._results = results
        self._has_lines = has_lines
        super().__init__(path, 0, closing)

    @classmethod
    def beside(cls, results: Path, errors: Path, closing: ExitStack) -> Self:
        """Return that of two files."""
        return cls(results, _beside(results, _JOURNAL), lambda: holds_lines(results) or holds_lines(errors), closing)

    def compare(self, fingerprint: str) -> None:
        """Go on if the results belong to these requests, or begin; else raise ConfigurationError."""
        try:
            before = msgspec.json.decode(os.read(self._descriptor, 4096), type=_Fingerprint).requests
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Empty or torn: of a run that was killed before it began, or of none.
            before = None
        if before == fingerprint:
            return
        if self._has_lines():
            raise ConfigurationError(
                f"{self._results} is there, but {self.path} does not say of which requests; choose another name"
                if before is None
                else f"the requests have changed since {self._results} was begun; give the new ones another name for "
                "their results"
            )
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self._cut(0)
        self._write(msgspec.json.encode(_Fingerprint(1, fingerprint)) + b"\n")
        self.sync()


class Syncing:
    """Brings files to the disk every few seconds, and looks whether they are there, in a thread of its own."""

    def __init__(self, files: Sequence[OwnFile], closing: ExitStack) -> None:
        self._files = files
        self._closed = threading.Event()
        self._failure: OSError | None = None
        # A disk may take seconds, for which the loop can't wait.
        self._thread = threading.Thread(target=self._run, name="siliconflow-batch-sync", daemon=True)
        self._thread.start()
        closing.callback(self.close)

    def _run(self) -> None:
        try:
            while not self._closed.wait(_SYNC_SECONDS):
                for file in self._files:
                    file.sync()
                    file.look()
        except OSError as error:
            self._failure = error

    def check(self) -> None:
        """Raise the OSError that it has met, if it has."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it, once it is through with what it is at."""
        self._closed.set()
        self._thread.join()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Give an OSError of the block the name of the file, which those of descriptors lack."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file with their ends, which the last one may lack."""
    with open_input(path) as file:
        yield from file


def last_errors(path: Path, line_of: Callable[[str], int], states: bytearray) -> Iterator[bytes]:
    """Yield of a file of errors the last line of each request that is not done.

    `line_of` gives the number of a request by its id, `states` has how it fares by its number.
    """
    last = array("Q", bytes(8)) * len(states)
    for at, line in enumerate(_lines(path)):
        last[line_of(read_record(line).custom_id)] = at
    for at, line in enumerate(_lines(path)):
        number = line_of(read_record(line).custom_id)
        if last[number] == at and states[number] != DONE:
            yield line


def replace(path: Path, lines: Iterable[bytes]) -> None:
    """Replace a file at once by one that has these lines, with their ends. Raises OSError, and then it is as it was."""
    aside = _beside(path, _ASIDE)
    with _named(aside):
        # Never into what a name of ours may lead to.
        aside.unlink(missing_ok=True)
        with aside.open("xb") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
    aside.replace(path)


def errors_beside(results: Path) -> Path:
    """Return where the errors of a batch go if nothing else is said."""
    return results.with_name(f"{results.stem}.errors{results.suffix}")


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def keep_apart(requests: Path | None, results: Path | None, errors: Path | None) -> None:
    """Raise ConfigurationError if two of the files of a batch are one, by whatever names and links."""
    named = {"the requests": requests, "the results": results, "the errors": errors}
    if requests is not None and results is not None and errors is not None:
        named["the journal"] = _beside(results, _JOURNAL)
        named["what becomes the errors"] = _beside(errors, _ASIDE)
    paths = [(what, path) for what, path in named.items() if path is not None]
    for (what, path), (other, its) in combinations(paths, 2):
        if _is_one(path, its):
            raise ConfigurationError(f"{what} and {other} must be files of their own: {path} and {its} are one")


def _is_one(path: Path, other: Path) -> bool:
    with suppress(OSError):  # one that is not there yet has its name alone
        return os.path.samefile(path, other)
    return os.path.realpath(path) == os.path.realpath(other)


def is_being_written(path: Path) -> bool:
    """Whether another process has the file locked, as an OwnFile; False where nobody can tell."""
    if fcntl is None:
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return False
    return False


def holds_lines(path: Path) -> bool:
    """Whether the file is there and is not empty."""
    return path.exists() and path.stat().st_size > 0
