"""A file of requests in chunks, each of which a process reads for itself, so that no request passes through another."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from .lines import BAD, open_input, parse_row

__all__ = ["LINES", "Chunk", "chunks_of", "read_chunk"]

# The most lines of a chunk, and its most bytes but for the last line.
LINES = 256
_BYTES = 8 * 1024 * 1024


class Chunk(NamedTuple):
    """Some lines of a file: from which byte on, how many bytes, the number of the first, and what they are known by.

    `bad` are the numbers of those that are skipped.
    """

    start: int
    size: int
    line: int
    digest: str
    bad: list[int]


def chunks_of(path: Path, states: bytearray, lines: int = LINES) -> Iterator[Chunk]:
    """Yield the chunks of a file in turn, of so many lines at most.

    `states` says of each line how it fares, that of line 1 at index 1. Raises ConfigurationError for a file that can't
    be read.
    """
    start = size = count = 0
    first = 1
    digest = blake2b(digest_size=16)
    with open_input(path) as file:
        for number, line in enumerate(file, 1):
            size += len(line)
            count += 1
            digest.update(line)
            if count == lines or size >= _BYTES:
                yield _chunk(start, size, first, digest.hexdigest(), states, count)
                start, size, first, count = start + size, 0, number + 1, 0
                digest = blake2b(digest_size=16)
        if count:
            yield _chunk(start, size, first, digest.hexdigest(), states, count)


def _chunk(start: int, size: int, first: int, digest: str, states: bytearray, count: int) -> Chunk:
    bad = [number for number in range(first, first + count) if number < len(states) and states[number] == BAD]
    return Chunk(start, size, first, digest, bad)


def read_chunk(path: Path, chunk: Chunk, model: str | None) -> list[dict[str, Any]]:
    """Return the rows of a chunk's lines. Raises ConfigurationError where the file is not as it was."""
    with open_input(path) as file:
        file.seek(chunk.start)
        data = file.read(chunk.size)
    if blake2b(data, digest_size=16).hexdigest() != chunk.digest:
        raise ConfigurationError(f"{path} was changed while it was read")
    rows = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), chunk.line):
        if number not in chunk.bad and (row := parse_row(line, number, model)) is not None:
            rows.append(row)
    return rows
