"""What every protocol is made of: events go into a mapping, parts come out, one JSON text each.

A `Dialect` is a protocol with what the caller said of it; `mapping()` begins one answer in it. A mapping never waits,
knows no clock and nothing random: the same events give the same parts, also where deltas of one kind that follow each
other came merged. So whoever has the events can begin anew, and go on from any of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from sys import getsizeof
from typing import ClassVar, Protocol, TypeAlias

import msgspec

from ...errors import ConfigurationError
from ...wire.events import ErrorEvent, Event, Snapshot, ToolResult

__all__ = ["DONE", "AnyEvent", "Dialect", "EventMapping", "Part", "is_stop", "unknown"]

AnyEvent: TypeAlias = Event | ToolResult | Snapshot

_encode = msgspec.json.Encoder().encode


class Part:
    """One frame of a protocol. One with a `kind` is a delta: its text may be joined with that of the next of its kind.

    `head` and `tail` stand around the text in the JSON, of which they are the rest; a part without text is all head.
    Parts of one choice (`index`) keep their order; those of index -1 keep theirs among all.
    """

    __slots__ = ("_json", "_told", "head", "index", "kind", "tail", "text")

    def __init__(
        self, index: int, head: bytes, text: str = "", tail: bytes = b"", kind: Hashable | None = None
    ) -> None:
        self.index = index
        self.head = head
        self.text = text
        self.tail = tail
        self.kind = kind
        self._json = b"" if kind is not None else head
        self._told = ""

    @property
    def json(self) -> bytes:
        """The JSON text, on one line. It is made when first asked for, and kept for all who send this part."""
        if not self._json:
            self._json = self._encoded()
        return self._json

    def told(self, seq: int | None) -> str:
        """Return the JSON text for a websocket, with its number if it has one: whoever sends this part has the same."""
        if not self._told:
            # Not kept in both forms, of which readers rarely want more than one.
            text = (self._json or self._encoded()).decode()
            self._told = text if seq is None else f'{{"seq":{seq},{text[1:]}'
        return self._told

    def _encoded(self) -> bytes:
        return self.head + _encode(self.text) + self.tail

    @property
    def weight(self) -> int:
        """How many bytes of memory it takes that others don't share, roughly."""
        return len(self.head) if self.kind is None else getsizeof(self.text)


class EventMapping(Protocol):
    """One answer in one protocol."""

    def feed(self, event: AnyEvent) -> list[Part]:
        """Return what one event is to the client."""
        ...

    def end(self, error: ErrorEvent | None) -> list[Part]:
        """Return what says that nothing follows: the answer is whole, or why it is not."""
        ...


class Dialect(Protocol):
    """A protocol, as the caller wants it; hashable, and two that are equal make the same of the same events."""

    # What a response of server-sent events has beside, or in place of, its own headers.
    headers: ClassVar[Mapping[str, str]]
    # Whether its frames have room for a number that a client can resume from.
    is_numbered: ClassVar[bool]
    # Whether all readers of a Broadcast get the same parts of an event, wherever they begin.
    is_shared: ClassVar[bool]

    def mapping(self) -> EventMapping:
        """Begin an answer."""
        ...


DONE = Part(-1, b"[DONE]")
"""The end of a response of server-sent events, in protocols that have one; it is not JSON, and websockets have none."""


def is_stop(error: ErrorEvent) -> bool:
    """Whether someone stopped the answer, so that nothing failed."""
    return error.error == "ClosedError"


def unknown(event: AnyEvent) -> ConfigurationError:
    """Return what to raise for a snapshot: it stands for what was lost, and most clients can't take back what came."""
    return ConfigurationError(f"this protocol has no {type(event).__name__}: take `reader.parts(…)` of a Broadcast")
