"""The lines of a batch: what each asks for, and whether a file of them can be run.

A line is a request as in OpenAI's batch files, `{"custom_id", "method", "url", "body"}`, or a bare body, which may hold
a `custom_id` too. A line without one is known as `line-7`, by its number. Blank lines don't count.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ..errors import ConfigurationError, InvalidRequestError
from ..request.params import STREAM_NAMES
from ..wire.endpoints.jsonlines import LONGEST_LINE, LineBuffer
from .keytable import KeyTable

__all__ = [
    "BAD",
    "BLANK",
    "DONE",
    "FAILED",
    "LONGEST_LINE",
    "OPEN",
    "PENDING",
    "Checked",
    "LineBuffer",
    "LineReader",
    "LineRequest",
    "as_params",
    "check",
    "open_input",
    "parse_line",
    "parse_row",
    "pieces",
    "split_lines",
    "wanted_lines",
]

# How a line fares, one byte for each. An open one has failed in this run, and is pending in the next.
PENDING, DONE, FAILED, OPEN, BLANK, BAD = range(6)
_BREATH = 1000
# The number of a line needs no more than 40 bits of 63. The others hold more of the digest of its id.
_REST_BITS = 23
_REST = (1 << _REST_BITS) - 1
_PIECE = 1024 * 1024
# Ours, and not the service's: from a file they would reach beyond the body, up to another key.
_PARAMETERS = STREAM_NAMES - {"timeout", "extra_headers", "extra_query", "extra_body"}


class LineRequest(dict[str, Any]):
    """The parameters that one line asks for, with its `custom_id`, and the number of the line from 1."""

    __slots__ = ("line",)

    def __init__(self, params: dict[str, Any], line: int) -> None:
        super().__init__(params)
        self.line = line


class LineReader:
    """Reads lines in turn, and knows which line each id is on, so that none is taken twice.

    An id takes 24 to 48 bytes of memory, whatever its length, and 72 for the moment in which the table grows.
    `models` are those that the lines name, two at most: then there are several, which is all that is asked.
    """

    def __init__(self, model: str | None) -> None:
        self.models: set[str] = set()
        self._model = model
        self._lines = KeyTable()
        # Those whose digest in the table is another's: of a hundred million ids, most likely none.
        self._others: dict[str, int] = {}

    def read(self, data: bytes, number: int) -> LineRequest | None:
        """Do as `parse_line`; raise InvalidRequestError also for an id that an earlier line has."""
        request = parse_line(data, number, self._model)
        if request is None:
            return None
        custom_id = request["custom_id"]
        first = self._first(custom_id, number)
        if first != number:
            raise _bad(number, f"custom_id {custom_id!r} is that of line {first}")
        if len(self.models) < 2:
            self.models.add(request["model"])
        return request

    def line_of(self, custom_id: str) -> int:
        """Return the number of the line that has an id, 0 if none has."""
        key, rest = _digest(custom_id)
        found = self._lines.get(key)
        if found is not None and found & _REST == rest:
            return found >> _REST_BITS
        return self._others.get(custom_id, 0)

    def _first(self, custom_id: str, number: int) -> int:
        """Return the number of the line that has an id, which is `number` from now on if none had it."""
        key, rest = _digest(custom_id)
        found = self._lines.setdefault(key, number << _REST_BITS | rest)
        return found >> _REST_BITS if found & _REST == rest else self._others.setdefault(custom_id, number)


def _digest(custom_id: str) -> tuple[int, int]:
    """Return what an id is known by in a table, and what stands beside the number of its line."""
    digest = int.from_bytes(blake2b(custom_id.encode(), digest_size=11).digest(), "big")
    return digest >> 24, digest & _REST


class Checked(NamedTuple):
    """A file after the first pass: what its lines hold, how each fares, and the file's fingerprint.

    `states` has one byte for each line, that of line 1 at index 1. `bad` counts the bad lines. `marks` are digests of
    the file up to the end of each of its pieces.
    """

    lines: LineReader
    states: bytearray
    bad: int
    marks: list[bytes]

    @property
    def fingerprint(self) -> str:
        return (self.marks[-1] if self.marks else b"").hex()


def parse_line(data: bytes, number: int, model: str | None) -> LineRequest | None:
    """Return what a line asks for, of `model` if given; None for a blank line. Raises what `parse_row` does."""
    row = parse_row(data, number, model)
    if row is None:
        return None
    custom_id = row.pop("custom_id")
    return LineRequest(as_params(row) | {"custom_id": custom_id}, number)


def parse_row(data: bytes, number: int, model: str | None) -> dict[str, Any] | None:
    """Return the body that a line asks for, of `model` if given, with its `custom_id`; None for a blank line.

    Raises InvalidRequestError, which names the line, for one that can't be sent; ConfigurationError for a first line
    that begins as UTF-16 does, of which no line can be read.
    """
    if number == 1:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ConfigurationError("the requests are in UTF-16, as their first two bytes say: save them as UTF-8")
        data = data.removeprefix(codecs.BOM_UTF8)
    if not data.strip():
        return None
    if len(data) > LONGEST_LINE:
        raise _bad(number, f"longer than {LONGEST_LINE} bytes")
    try:
        line = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _bad(number, f"not JSON: {error}") from error
    if not isinstance(line, dict):
        raise _bad(number, "not a JSON object")
    custom_id = line.pop("custom_id", None)
    if custom_id is None:
        custom_id = f"line-{number}"
    elif not isinstance(custom_id, str):
        raise _bad(number, f"custom_id must be text, not {custom_id!r}")
    body = line
    if "body" in line:
        if line.get("method", "POST") != "POST":
            raise _bad(number, f"method must be POST, not {line['method']!r}")
        url = line.get("url", "/v1/chat/completions")
        if not isinstance(url, str) or not url.endswith("/chat/completions"):
            raise _bad(number, f"url must be /v1/chat/completions, not {url!r}")
        body = line["body"]
        if not isinstance(body, dict):
            raise _bad(number, "body must be an object")
    if model is not None:
        body["model"] = model
    if not isinstance(body.get("model"), str):
        raise _bad(number, "no model")
    if not isinstance(body.get("messages"), list):
        raise _bad(number, "no list of messages")
    return body | {"custom_id": custom_id}


def as_params(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that a body asks for."""
    known = {name: value for name, value in body.items() if name in _PARAMETERS}
    # What this library does not know may be known to the service, which is asked.
    unknown = {name: value for name, value in body.items() if name not in _PARAMETERS and name != "stream"}
    if unknown:
        known["extra_body"] = unknown
    return known


def _bad(number: int, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"line {number}: {why}")


async def check(
    path: Path,
    model: str | None,
    *,
    skip_bad: bool = False,
    on_bad: Callable[[str], None] | None = None,
    reader: LineReader | None = None,
) -> Checked:
    """Read a whole file before anything is sent, by a `reader` that may be stricter.

    `on_bad` is told of each bad line. Raises InvalidRequestError in the end if there were some and they are not to be
    skipped, ConfigurationError for a file that can't be read twice.
    """
    lines = LineReader(model) if reader is None else reader
    states = bytearray([BLANK])
    marks: list[bytes] = []
    first_bad: str | None = None
    with open_input(path) as file:
        for number, data in enumerate(split_lines(pieces(file, marks.append)), 1):
            if number % _BREATH == 0:
                # A cancellation gets through, and so do the other tasks of the loop.
                await asyncio.sleep(0)
            try:
                states.append(BLANK if lines.read(data, number) is None else PENDING)
            except InvalidRequestError as error:
                states.append(BAD)
                first_bad = first_bad or str(error)
                if on_bad is not None:
                    on_bad(str(error))
    bad = states.count(BAD)
    if bad and not skip_bad:
        raise InvalidRequestError(f"{path}: {bad} bad lines, nothing was sent; the first is {first_bad}")
    return Checked(lines, states, bad, marks)


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading; raise ConfigurationError if that can't be done, or not twice."""
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{path} is no regular file, which could be read again; pipe it in")
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error


def pieces(file: BinaryIO, mark: Callable[[bytes], object]) -> Iterator[bytes]:
    """Yield what a file holds, in pieces of one size; before each, `mark` is given a digest of all up to its end."""
    digest = blake2b(digest_size=16)
    while piece := file.read(_PIECE):
        digest.update(piece)
        mark(digest.digest())
        yield piece


def wanted_lines(
    path: Path, file: BinaryIO, checked: Checked, is_wanted: Callable[[int], bool], count: int
) -> Iterator[tuple[int, bytes]]:
    """Yield the `count` lines that are wanted, with their numbers, read as they are needed.

    Raises ConfigurationError at the first piece of the file that is not as it was when it was checked.
    """
    marks = iter(checked.marks)
    changed = ConfigurationError(f"{path} was changed while it was read")

    def compare(mark: bytes) -> None:
        if mark != next(marks, None):
            raise changed

    numbered = enumerate(split_lines(pieces(file, compare)), 1)
    lines = ((number, data) for number, data in numbered if is_wanted(number))
    for _ in range(count):
        line = next(lines, None)
        if line is None:
            raise changed
        yield line


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines without their ends, the last one also where it has none.

    Of a line above LONGEST_LINE only its beginning is held, one byte too long.
    """
    buffer = LineBuffer()
    for piece in pieces:
        yield from buffer.feed(piece)
    yield from buffer.rest()
