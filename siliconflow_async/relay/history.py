"""What a Broadcast no longer keeps event by event: all of it, in order, with deltas that follow each other joined."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from ..wire.events import ContentDelta, ReasoningDelta, ToolCallDelta
from .protocols.part import AnyEvent

__all__ = ["History"]

# As many pieces are joined as they come.
_PIECES = 256
# Joined text of more characters than this is of several events: clients bound the size of a message.
_MAX_TEXT = 64 * 1024


class History:
    """Events from the first on, each with its number, and a way to begin after any of them."""

    def __init__(self) -> None:
        self._runs: list[_Run] = []

    def add(self, event: AnyEvent, seq: int) -> None:
        """Add the event that follows the last one."""
        if not self._runs or not self._runs[-1].take_in(event):
            self._runs.append(_Run(event, seq))

    def between(self, after: int, until: int) -> Iterator[AnyEvent]:
        """Give the events of higher numbers than `after`, up to `until`, as few as they can be."""
        for run in self._runs:
            if run.first <= until and run.last > after:
                yield run.between(after, until)

    def following(self, seq: int) -> tuple[AnyEvent, int]:
        """Return the event after `seq`, with those that are joined to it, and the number of the last of them."""
        run = self._runs[bisect_right(self._runs, seq, key=lambda run: run.last)]
        return run.between(seq, run.last), run.last


class _Run:
    """Deltas of one kind that follow each other, or one event of any other kind."""

    __slots__ = ("_event", "_kind", "_lengths", "_pieces", "_size", "first")

    def __init__(self, event: AnyEvent, first: int) -> None:
        self.first = first
        self._event = event
        self._kind = _kind(event)
        # The text of each event begins where those before it end.
        self._lengths = array("I")
        self._pieces: list[str] = []
        self._size = 0
        if self._kind is not None:
            self._add(_text(event))

    @property
    def last(self) -> int:
        return self.first + max(len(self._lengths), 1) - 1

    def take_in(self, event: AnyEvent) -> bool:
        """Add an event; False if it does not go with those that are there."""
        if self._kind is None or self._kind != _kind(event):
            return False
        text = _text(event)
        if self._size + len(text) > _MAX_TEXT:
            return False
        self._event = event
        self._add(text)
        return True

    def between(self, after: int, until: int) -> AnyEvent:
        """Return one event that stands for those with such numbers."""
        if self._kind is None:
            return self._event
        text = self._join()
        begin, end = (sum(self._lengths[: max(seq - self.first + 1, 0)]) for seq in (after, until))
        name = "arguments" if isinstance(self._event, ToolCallDelta) else "text"
        return msgspec.structs.replace(self._event, **{name: text[begin:end]})

    def _add(self, text: str) -> None:
        self._lengths.append(len(text))
        self._pieces.append(text)
        self._size += len(text)
        if len(self._pieces) >= _PIECES:
            self._join()

    def _join(self) -> str:
        text = "".join(self._pieces)
        self._pieces = [text]
        return text


def _kind(event: AnyEvent) -> tuple[object, ...] | None:
    """What deltas that can be joined have in common; None for all else."""
    if isinstance(event, ContentDelta | ReasoningDelta):
        return type(event), event.index
    if isinstance(event, ToolCallDelta):
        # What is known of a call is told with what it was known from on.
        return type(event), event.index, event.call, event.id, event.name
    return None


def _text(event: AnyEvent) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else getattr(event, "text", "")
