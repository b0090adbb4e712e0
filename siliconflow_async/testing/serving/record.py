"""What the stand-in saw: one `RecordedRequest` per request."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from .steps import Scripted

__all__ = ["Connections", "RecordedRequest", "Seen", "note_end"]

_decode = msgspec.json.Decoder().decode


class Connections(NamedTuple):
    """How many connections were `accepted` since the start or the last `reset()`, and how many are `open`.

    With TLS, those whose handshake succeeded.
    """

    accepted: int
    open: int


class RecordedRequest(msgspec.Struct, eq=False):
    """One request as it arrived, and how its answer ended.

    `headers` finds names in any case. `connection` numbers the server's connections from 1, so requests with the same
    number came over the same one. Times are `time.monotonic()`.

    How it ended: `completed` once the last byte of the answer was handed to the kernel or its send buffer; `left_early`
    when the client closed the connection before that; `cut` when the script did (`Fin`, `Rst`). None of them while the
    answer goes on.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    connection: int
    peer_port: int
    trace_id: str
    body: bytes = b""
    scripted: Scripted | None = None
    status: int | None = None
    bytes_sent: int = 0
    completed: bool = False
    left_early: bool = False
    cut: bool = False
    received_at: float = msgspec.field(default_factory=time.monotonic)
    ended_at: float | None = None

    @property
    def json(self) -> Any:
        """The body, decoded. Raises ValueError where it is no JSON."""
        return _decode(self.body)

    @property
    def ended(self) -> bool:
        """Whether the answer is over, in whatever way."""
        return self.ended_at is not None

    def __repr__(self) -> str:
        flags = ("completed", "left_early", "cut")
        how = next((flag for flag in flags if getattr(self, flag)), "open")
        return f"<RecordedRequest {self.method} {self.path} connection={self.connection} status={self.status} {how}>"


def note_end(request: RecordedRequest, how: Literal["completed", "left_early", "cut"]) -> bool:
    """Note how a request's answer ended; return whether it went on until now."""
    if request.ended:
        return False
    setattr(request, how, True)
    request.ended_at = time.monotonic()
    return True


class Seen:
    """All that was seen since the start or the last reset, the last `keep` requests of it. Use it under a lock."""

    def __init__(self, keep: int) -> None:
        self.requests: deque[RecordedRequest] = deque(maxlen=keep)
        self.left: list[RecordedRequest] = []
        self.received = 0
        self.accepted = 0

    def note_received(self, request: RecordedRequest) -> None:
        """Note a request that has arrived whole."""
        self.received += 1
        self.requests.append(request)

    def note_left(self, request: RecordedRequest) -> bool:
        """Note that a request's client has gone, unless its answer was over; return whether it was not."""
        left = note_end(request, "left_early")
        if left:
            self.left.append(request)
        return left

    def nth_received(self, count: int) -> RecordedRequest:
        """Return the request that was the `count`-th to arrive. Raises LookupError if it is no longer kept."""
        index = count - 1 - (self.received - len(self.requests))
        if index < 0:
            raise LookupError(f"request {count} is no longer kept")
        return self.requests[index]
