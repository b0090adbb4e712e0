"""The files that a file of requests is sent in: as many lines and bytes as the service takes in one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import msgspec

from .lines import parse_row

__all__ = ["MOST_BYTES", "MOST_LINES", "RequestFile", "RequestFiles"]

# Of one file, by the service's page.
MOST_LINES = 5000
MOST_BYTES = 1_000_000_000
_URL = "/v1/chat/completions"
# Lines that are written before the loop has a turn.
_BREATH = 100


class RequestFile(NamedTuple):
    """An open file, which its user closes, and the numbers of the lines that it holds."""

    data: IO[bytes]
    numbers: list[int]


class RequestFiles:
    """Writes numbered lines of requests, of `model` if given, into one file after another, as the service has them."""

    def __init__(
        self,
        lines: Iterator[tuple[int, bytes]],
        model: str | None,
        *,
        most_lines: int = MOST_LINES,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._lines = lines
        self._model = model
        self._most_lines = most_lines
        self._most_bytes = most_bytes
        # The line that did not fit into the file before.
        self._held: tuple[int, bytes] | None = None

    async def next(self) -> RequestFile | None:
        """Return the next file, None after the last."""
        data = TemporaryFile()  # noqa: SIM115  # its user closes it
        numbers: list[int] = []
        try:
            size = 0
            while len(numbers) < self._most_lines and (line := self._next_line()) is not None:
                size += len(line[1])
                if numbers and size > self._most_bytes:
                    self._held = line
                    break
                numbers.append(line[0])
                data.write(line[1])
                if len(numbers) % _BREATH == 0:
                    await asyncio.sleep(0)
        except BaseException:
            data.close()
            raise
        if not numbers:
            data.close()
            return None
        return RequestFile(data, numbers)

    def _next_line(self) -> tuple[int, bytes] | None:
        held, self._held = self._held, None
        if held is not None:
            return held
        for number, data in self._lines:
            row = parse_row(data, number, self._model)
            assert row is not None
            custom_id = row.pop("custom_id")
            # There is nobody to stream to.
            for name in ("stream", "stream_options"):
                row.pop(name, None)
            line = {"custom_id": custom_id, "method": "POST", "url": _URL, "body": row}
            return number, msgspec.json.encode(line) + b"\n"
        return None
