"""What was answered for which row: a folder that many processes write at once, each its own segments, and all read.

A row is known by its id and by what it asks, so that a changed request is another row. Of a row that was answered
nothing is asked again. One that failed is asked again by a later run if that may help, and never in the run in which it
failed.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

import msgspec

from ..errors import ConfigurationError, InvalidRequestError
from .keytable import KeyTable
from .records import PREFIX, read_record
from .segments import ERRORS, open_segments

__all__ = ["FAILED", "RowStore", "key_of_line", "key_of_row", "place", "segment_of", "short"]

_JSON = msgspec.json.Encoder(order="deterministic")
_START = f'{{"id":"{PREFIX}'.encode()
_DIGITS = 32
_KEY = slice(len(_START), len(_START) + _DIGITS)
# Where a row's line stands, in one number: whether its request failed, in which segment it is, where it begins.
_OFFSET_BITS = 42
_SEGMENT_BITS = 20
FAILED = 1 << (_OFFSET_BITS + _SEGMENT_BITS)
_OFFSET = (1 << _OFFSET_BITS) - 1
_SEGMENT = (1 << _SEGMENT_BITS) - 1
# As many lines are noted at a time as hold nobody up.
_BURST = 500


def key_of_row(custom_id: str, params: Mapping[str, Any]) -> str:
    """Return the fingerprint of a row's id and its request. Raises InvalidRequestError for what JSON can't hold."""
    digest = blake2b(digest_size=_DIGITS // 2)
    try:
        digest.update(msgspec.json.encode(custom_id))
        digest.update(_JSON.encode(params))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(f"row {custom_id!r} can't be sent as JSON: {error}") from error
    return digest.hexdigest()


def key_of_line(line: bytes) -> bytes:
    """Return the fingerprint of the row whose result a line has; raise ValueError for a line of something else."""
    if not line.startswith(_START) or line[_KEY.stop : _KEY.stop + 1] != b'"':
        raise ValueError("not a line of a row's result")
    return line[_KEY]


def short(key: bytes) -> int:
    """Return what a row is known by in a table."""
    return int(key[:16], 16)


def place(segment: int, start: int, *, failed: bool) -> int:
    """Return, as one number, where a row's line stands: in which segment, and where it begins; and if it failed."""
    return segment << _OFFSET_BITS | start | (FAILED if failed else 0)


def segment_of(place: int) -> int:
    """Return the number of the segment of a place."""
    return place >> _OFFSET_BITS & _SEGMENT


class RowStore:
    """The results of rows in a folder, or on what fsspec knows by a URL, as this process writes and reads them.

    `run` names the run that it is part of, the same in all its processes; of the failures of other runs it takes only
    those for good that were refused, or none with `retry_failed`. What it knows takes 24 to 48 bytes of memory for each
    row of the folder. Raises ConfigurationError where the folder can't be used.
    """

    def __init__(self, where: str | os.PathLike[str], run: str, *, retry_failed: bool = False) -> None:
        if not run.isalnum():
            raise ConfigurationError(f"the name of a run must be letters and digits, not {run!r}")
        self._where = where
        self._run = run
        self._retry_failed = retry_failed
        self._segments = open_segments(where, run)
        self._table = KeyTable()
        # Segments by their numbers, and how far each was read; of those that this process writes nothing is read.
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._own: set[str] = set()
        # Of the table; and one for those who read the folder.
        self._lock = threading.Lock()
        self._reading = threading.Lock()

    def __len__(self) -> int:
        return len(self._table)

    @property
    def delay(self) -> float | None:
        """Seconds for which lines wait to be written together by what `cut` returns; None: each is written at once."""
        return self._segments.delay

    def refresh(self) -> None:
        """Read what others have written, if there are segments that were not there before.

        A process that goes on for another one has segments of its own. As long as there are no new ones, nobody asks
        for rows that others had been given. May be called in any thread. Raises OSError, and ConfigurationError for a
        segment that this library did not write.
        """
        with self._reading:
            sizes = self._segments.sizes()
            if not sizes.keys() - self._read.keys() - self._own:
                return
            for name, size in sorted(sizes.items()):
                if name not in self._own and size > self._read.get(name, -1):
                    self._read[name] = self._read_segment(name, self._read.get(name, 0))

    def find(self, key: str) -> bytes | None:
        """Return the line that a row has; None for one that is to be asked."""
        with self._lock:
            found = self._table.get(short(key.encode()))
        if found is None:
            return None
        try:
            line = self._segments.line(self._names[segment_of(found)], found & _OFFSET)
        except OSError:
            # Someone removed it.
            return None
        # Else of a row whose fingerprint begins as this one's.
        return line if line[_KEY] == key.encode() else None

    def add(self, line: bytes, *, failed: bool) -> None:
        """Write the line of a row. Raises OSError."""
        name, start = self._segments.add(line, failed=failed)
        self._own.add(name)
        self._note(key_of_line(line), name, start, failed=failed)

    def cut(self) -> Callable[[], None]:
        """Return what writes the lines that wait to be written, which may be called in another thread: OSError."""
        return self._segments.cut()

    def close(self) -> None:
        """End writing; a second time does nothing. Raises OSError."""
        self._segments.close()

    def _read_segment(self, name: str, start: int) -> int:
        failed = name.endswith(ERRORS)
        every = not failed or self._run_of(name) == self._run
        burst: list[tuple[bytes, int]] = []
        for line in self._segments.lines(name, start):
            try:
                key = key_of_line(line)
                if every or not (self._retry_failed or read_record(line).is_open):
                    burst.append((key, start))
            except ValueError as error:
                raise ConfigurationError(f"{self._where}: {name} is no segment of a row store: {error}") from error
            start += len(line)
            if len(burst) == _BURST:
                self._note_all(burst, name, failed)
        self._note_all(burst, name, failed)
        return start

    def _note_all(self, burst: list[tuple[bytes, int]], name: str, failed: bool) -> None:
        with self._lock:
            for key, start in burst:
                self._put(short(key), name, start, failed)
        burst.clear()

    def _note(self, key: bytes, name: str, start: int, *, failed: bool) -> None:
        with self._lock:
            self._put(short(key), name, start, failed)

    def _put(self, digest: int, name: str, start: int, failed: bool) -> None:
        """Note where a row's line stands. An answer is for good."""
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        before = self._table.get(digest)
        if before is None or before & FAILED:
            self._table.put(digest, place(number, start, failed=failed))

    @staticmethod
    def _run_of(name: str) -> str:
        return name.split("-")[1]
