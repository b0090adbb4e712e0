"""What of a file of requests was sent to the service as batches: a journal beside the results.

A batch that was made twice would be paid for twice, so each step is on the disk before the next is taken: which lines a
part has, the id of its file, the id of its batch, and that its results were fetched. A part whose file was never noted
was never a batch.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from ..errors import ConfigurationError
from .files import OwnFile

__all__ = ["Part", "Submitted", "check_none_submitted", "submitted_beside"]

_SUFFIX = ".remote"
_VERSION = 1


class Part(msgspec.Struct):
    """Some lines of the requests, by the ranges of their numbers, in turn: those of one file, and of one batch."""

    part: int
    ranges: list[tuple[int, int]]
    file: str | None = None
    batch: str | None = None
    fetched: bool = False
    refused: bool = False

    @classmethod
    def of(cls, part: int, numbers: list[int]) -> Part:
        """Return the part of some lines, whose numbers grow."""
        ranges: list[tuple[int, int]] = []
        for number in numbers:
            if ranges and ranges[-1][1] == number - 1:
                ranges[-1] = (ranges[-1][0], number)
            else:
                ranges.append((number, number))
        return cls(part, ranges)

    @property
    def is_open(self) -> bool:
        """Whether there may be a batch whose results are still to be had."""
        return self.file is not None and not self.fetched and not self.refused

    def numbers(self) -> Iterator[int]:
        """Yield the numbers of its lines."""
        for first, last in self.ranges:
            yield from range(first, last + 1)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self.ranges, number, key=lambda lines: lines[0]) - 1
        return at >= 0 and number <= self.ranges[at][1]


class _Head(msgspec.Struct):
    version: int
    requests: str


_HEAD = msgspec.json.Decoder(_Head)


def submitted_beside(results: Path) -> Path:
    """Return where the journal of a file of results is."""
    return results.with_name(results.name + _SUFFIX)


def check_none_submitted(results: Path) -> None:
    """Raise ConfigurationError where requests of these results are with the service, which would answer them too."""
    if not submitted_beside(results).exists():
        return
    with ExitStack() as closing:
        if Submitted(results, closing).open():
            raise ConfigurationError(
                f"some of these requests are with the service, as {submitted_beside(results)} tells: batch --remote "
                "fetches their results"
            )


class Submitted(OwnFile):
    """The journal of the parts, which this run alone writes until `closing` is left.

    Raises ConfigurationError where it can't be read or is another run's.
    """

    def __init__(self, results: Path, closing: ExitStack) -> None:
        super().__init__(submitted_beside(results), os.O_APPEND, closing)
        self.parts: dict[int, Part] = {}
        self._requests: str | None = None
        self._read()

    def _read(self) -> None:
        data = self.path.read_bytes()
        *lines, torn = data.split(b"\n")
        if torn:
            # Of a run that was killed as it wrote: the step was not taken.
            self._cut(len(data) - len(torn))
        try:
            for line in lines:
                if self._requests is None:
                    self._requests = _HEAD.decode(line).requests  # of version 1, the only one so far
                else:
                    self._take(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ConfigurationError(f"{self.path} is no journal of batches: {error}") from error

    def _take(self, step: dict[str, Any]) -> None:
        before = self.parts.get(step["part"])
        known = {} if before is None else msgspec.to_builtins(before)
        self.parts[step["part"]] = msgspec.convert({**known, **step}, Part)

    def begin(self, fingerprint: str) -> None:
        """Go on with the parts of these requests, or begin; raise ConfigurationError where others are under way."""
        if self._requests == fingerprint:
            return
        if self.open():
            raise ConfigurationError(
                f"the requests have changed since they were sent, as {self.path} tells; give the new ones another name "
                "for their results"
            )
        self._cut(0)
        self.parts.clear()
        self._requests = fingerprint
        self._write(msgspec.json.encode(_Head(_VERSION, fingerprint)) + b"\n")
        self.sync()

    def open(self) -> list[Part]:
        """Return the parts of which there may be a batch whose results are still to be had."""
        return [part for part in self.parts.values() if part.is_open]

    def plan(self, numbers: list[int]) -> Part:
        """Note that these lines are about to be sent, and return their part."""
        part = Part.of(max(self.parts, default=0) + 1, numbers)
        self.parts[part.part] = part
        self._note({"part": part.part, "ranges": part.ranges})
        return part

    def note(self, part: Part, **step: Any) -> None:
        """Note a step of a part, which is on the disk when this returns. Raises OSError."""
        for name, value in step.items():
            setattr(part, name, value)
        self._note({"part": part.part, **step})

    def _note(self, step: dict[str, Any]) -> None:
        self._write(msgspec.json.encode(step) + b"\n")
        self.sync()
