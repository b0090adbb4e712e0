"""The lines of a batch: what each asks for, and whether a file of them can be run.

A line is a request as in OpenAI's batch files, `{"custom_id", "method", "url", "body"}`, or a bare body, which may hold
a `custom_id` too. A line without one is known as `line-7`, by its number. Blank lines don't count.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ..errors import ConfigurationError, InvalidRequestError
from ..request.params import STREAM_NAMES
from .ids import LineOfId

__all__ = [
    "BAD",
    "BLANK",
    "DONE",
    "FAILED",
    "LONGEST_LINE",
    "OPEN",
    "PENDING",
    "Checked",
    "Fingerprint",
    "LineBuffer",
    "LineRequest",
    "check",
    "duplicate",
    "note_model",
    "open_input",
    "parse_line",
    "pieces",
    "split_lines",
]

# How a line fares, one byte for each. An open one has failed in this run, and is pending in the next.
PENDING, DONE, FAILED, OPEN, BLANK, BAD = range(6)
# A file that is one endless line must not fill the memory. Lines with pictures are long.
LONGEST_LINE = 128 * 1024 * 1024
_BREATH = 1000
_PIECE = 1024 * 1024
# Ours, and not the service's: from a file they would reach beyond the body, up to another key.
_PARAMETERS = STREAM_NAMES - {"timeout", "extra_headers", "extra_query", "extra_body"}


class LineRequest(dict[str, Any]):
    """The parameters that one line asks for, with its `custom_id`, and the number of the line from 1."""

    __slots__ = ("line",)

    def __init__(self, params: dict[str, Any], line: int) -> None:
        super().__init__(params)
        self.line = line


class Checked(NamedTuple):
    """A file after the first pass: which line each id is on, how each line fares, and the file's fingerprint.

    `states` has one byte for each line, that of line 1 at index 1. `bad` counts the bad lines. `models` are those that
    the lines name, two at most. `marks` are what a `Fingerprint` came to after each piece of the file.
    """

    ids: LineOfId
    states: bytearray
    bad: int
    models: set[str]
    marks: list[bytes]

    @property
    def fingerprint(self) -> str:
        return (self.marks[-1] if self.marks else b"").hex()


class Fingerprint:
    """What a file holds, told from a digest of all up to each of its pieces."""

    def __init__(self) -> None:
        self._digest = blake2b(digest_size=16)
        self.marks: list[bytes] = []

    def add(self, piece: bytes) -> None:
        self._digest.update(piece)
        self.marks.append(self._digest.digest())


def parse_line(data: bytes, number: int, model: str | None) -> LineRequest | None:
    """Return what a line asks for, of `model` if given; None for a blank line.

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
    body.pop("stream", None)
    known = {name: value for name, value in body.items() if name in _PARAMETERS}
    if len(known) < len(body):
        # What this library does not know may be known to the service, which is asked.
        known["extra_body"] = {name: value for name, value in body.items() if name not in _PARAMETERS}
    known["custom_id"] = custom_id
    return LineRequest(known, number)


def _bad(number: int, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"line {number}: {why}")


def duplicate(number: int, custom_id: str, first: int) -> InvalidRequestError:
    """Return the error for an id that an earlier line has."""
    return _bad(number, f"custom_id {custom_id!r} is that of line {first}")


async def check(
    path: Path, model: str | None, *, skip_bad: bool = False, on_bad: Callable[[str], None] | None = None
) -> Checked:
    """Read a whole file before anything is sent.

    `on_bad` is told of each bad line. Raises InvalidRequestError in the end if there were some and they are not to be
    skipped, ConfigurationError for a file that can't be read twice.
    """
    ids = LineOfId()
    states = bytearray([BLANK])
    fingerprint = Fingerprint()
    models: set[str] = set()
    first_bad: str | None = None
    bad = 0
    with open_input(path) as file:
        for number, data in enumerate(split_lines(pieces(file, fingerprint.add)), 1):
            if number % _BREATH == 0:
                # A cancellation gets through, and so do the other tasks of the loop.
                await asyncio.sleep(0)
            try:
                request = parse_line(data, number, model)
                if request is None:
                    states.append(BLANK)
                    continue
                custom_id = request["custom_id"]
                if first := ids.add(custom_id, number):
                    raise duplicate(number, custom_id, first)
                states.append(PENDING)
                note_model(models, request)
            except InvalidRequestError as error:
                states.append(BAD)
                bad += 1
                first_bad = first_bad or str(error)
                if on_bad is not None:
                    on_bad(str(error))
    if bad and not skip_bad:
        raise InvalidRequestError(f"{path}: {bad} bad lines, nothing was sent; the first is {first_bad}")
    return Checked(ids, states, bad, models, fingerprint.marks)


def note_model(models: set[str], request: LineRequest) -> None:
    """Note the model of a request, up to two of them: then there are several, which is all that is asked."""
    if len(models) < 2:
        models.add(request["model"])


def open_input(path: Path) -> BinaryIO:
    """Open a file for reading; raise ConfigurationError if that can't be done, or not twice."""
    if path.exists() and not path.is_file():
        raise ConfigurationError(f"{path} is no regular file, which could be read again; pipe it in")
    try:
        return path.open("rb")
    except OSError as error:
        raise ConfigurationError(f"can't read {path}: {error.strerror}") from error


def pieces(file: BinaryIO, look: Callable[[bytes], None] | None = None) -> Iterator[bytes]:
    """Yield what a file holds, in pieces of one size, showing each to `look` first."""
    while piece := file.read(_PIECE):
        if look is not None:
            look(piece)
        yield piece


def split_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines without their ends, the last one also where it has none.

    Of a line above LONGEST_LINE only its beginning is held, one byte too long.
    """
    line = LineBuffer()
    for piece in pieces:
        yield from line.feed(piece)
    yield from line.rest()


class LineBuffer:
    """Makes lines of pieces, holding no more than one line, of that `limit` bytes and one, and one piece."""

    __slots__ = ("_held", "_limit", "_size")

    def __init__(self, limit: float = LONGEST_LINE) -> None:
        self._limit = limit
        self._held: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that end in `piece`."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            self._hold(end)
            yield self._take()
        self._hold(rest)

    def rest(self) -> Iterator[bytes]:
        """Yield the last line, if there is one without an end."""
        if self._size:
            yield self._take()

    def _hold(self, piece: bytes) -> None:
        if piece and self._size <= self._limit:
            if self._size + len(piece) > self._limit:
                piece = piece[: int(self._limit) + 1 - self._size]
            self._held.append(piece)
            self._size += len(piece)

    def _take(self) -> bytes:
        line = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._size = 0
        return line
