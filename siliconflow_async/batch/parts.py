"""A folder of results that many processes write: a row store whose segments are the parts, and what the whole is.

While a run goes on the parts are only added to. What they hold too much by then, since a process was killed amid its
work or a line that had failed is done by now, is taken out when nobody writes: before a run, and after it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..errors import ConfigurationError
from .files import Journal, errors_beside, is_being_written, replace
from .keytable import KeyTable
from .outcome import FailureKind, Failures
from .records import read_record
from .rowstore import FAILED, key_of_line, place, segment_of, short
from .segments import ERRORS, LINES

__all__ = ["JOURNAL", "Settled", "join", "open_parts", "settle"]

JOURNAL = ".journal"
_PIECE = 4 * 1024 * 1024


class Settled:
    """What the parts hold: lines that are done, that failed for good, and that are open, with the kinds of failures."""

    def __init__(self) -> None:
        self.done = self.failed = self.open = 0
        self._kinds = Failures()

    @property
    def kinds(self) -> tuple[FailureKind, ...]:
        return self._kinds.kinds()

    def note_error(self, line: bytes) -> None:
        record = read_record(line)
        if record.is_open:
            self.open += 1
        else:
            self.failed += 1
        if record.error is not None:
            self._kinds.add(record.error.type, record.error.message, is_open=record.is_open)


def open_parts(folder: Path, fingerprint: str, closing: ExitStack) -> None:
    """Begin a folder of results of the requests with a fingerprint, or go on with it, as the only run that does.

    Raises ConfigurationError where it belongs to other requests, is in use, or can't be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"can't write {folder}: {error.strerror}") from error
    Journal(folder, folder / JOURNAL, lambda: any(_parts(folder)), closing).compare(fingerprint)


def settle(folder: Path) -> Settled:
    """Leave each row once in the parts: its first answer, else its last failure. Raises OSError, ConfigurationError.

    It takes 24 to 48 bytes of memory for each row. A part that another process still writes is left as it is.
    """
    parts = [*_parts(folder, failed=False), *_parts(folder, failed=True)]
    table = KeyTable()
    surplus = [0] * len(parts)
    for number, part in enumerate(parts):
        failed = part.name.endswith(ERRORS)
        for start, line in _lines(part):
            if not line.endswith(b"\n"):
                surplus[number] += 1
                continue
            key = short(_key(part, line))
            before = table.get(key)
            if before is None or (failed and before & FAILED):
                if before is not None:
                    surplus[segment_of(before)] += 1
                table.put(key, place(number, start, failed=failed))
            else:
                surplus[number] += 1
    for number, part in enumerate(parts):
        if surplus[number] and not is_being_written(part):
            kept = _kept(part, number, table)
            replace(part, kept)
            if part.stat().st_size == 0:
                part.unlink()
    settled = Settled()
    for part in _parts(folder, failed=True):
        for _, line in _lines(part):
            settled.note_error(line)
    settled.done = len(table) - settled.failed - settled.open
    return settled


def join(folder: Path, results: Path) -> None:
    """Write one file of all results, and one of all errors beside it, in place of what was there. Raises OSError."""
    for path, failed in ((results, False), (errors_beside(results), True)):
        replace(path, (line for part in _parts(folder, failed=failed) for _, line in _lines(part)))


def _parts(folder: Path, *, failed: bool | None = None) -> list[Path]:
    """Return the parts by name, those with what failed, the others, or all."""
    found = sorted(
        folder / entry for entry in os.listdir(folder) if entry.startswith("part-") and entry.endswith(LINES)
    )
    return [path for path in found if failed is None or path.name.endswith(ERRORS) == failed]


def _lines(part: Path) -> Iterator[tuple[int, bytes]]:
    """Yield where each line begins, and the line with its end, which a torn one lacks."""
    start = 0
    with part.open("rb", buffering=_PIECE) as file:
        for line in file:
            yield start, line
            start += len(line)


def _kept(part: Path, number: int, table: KeyTable) -> Iterable[bytes]:
    failed = part.name.endswith(ERRORS)
    for start, line in _lines(part):
        if line.endswith(b"\n") and table.get(short(_key(part, line))) == place(number, start, failed=failed):
            yield line


def _key(part: Path, line: bytes) -> bytes:
    try:
        return key_of_line(line)
    except ValueError as error:
        raise ConfigurationError(f"{part} is no part of results: {error}") from error
