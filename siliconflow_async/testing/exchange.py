"""One request and its answer on a real socket.

aiohttp parses the request; the answer is written to the transport here, byte by byte, because a
script may ask for what no HTTP server would send: bodies without an end, cuts, late last chunks.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct
import time
from typing import TYPE_CHECKING

from aiohttp import web

from .framing import lower
from .steps import Fin, Pause, Rst, Stall, Trickle, Until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .answers import Answer
    from .framing import Framing, Headers
    from .limits import Meter
    from .record import RecordedRequest
    from .steps import Step

# How many pieces are sent at once, before the loop has a turn.
_GROUP = 64
_EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
_JSON = {"content-type": "application/json; charset=utf-8"}


class Cut(Exception):
    """The script closed the connection: nothing more can be sent."""


class BadBody(Exception):
    """The request's body can't be had. `status` is the answer to it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Sent(web.StreamResponse):
    """Tells aiohttp that the answer is on the wire already."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._stays = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._stays

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


class Exchange:
    """Writes the answer to one request.

    transport: the connection's.
    tokens_per_second: the pace of chat answers; None: as fast as the client reads.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        transport: asyncio.Transport,
        record: RecordedRequest,
        tokens_per_second: float | None,
    ) -> None:
        self.record = record
        self.meter: Meter | None = None
        self._request = request
        self._transport = transport
        self._pace = tokens_per_second
        self._chunked = False
        self._keep_alive = request.keep_alive
        self._since_turn = 0

    async def read_body(self, limit: int) -> None:
        """Read the request's body into the record, or raise `BadBody`."""
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._request.body_exists:
            return
        size = 0
        parts: list[bytes] = []
        try:
            async for part in self._request.content.iter_any():
                size += len(part)
                if size > limit:
                    self._keep_alive = False
                    raise BadBody(413)
                parts.append(part)
        except web.RequestPayloadError as error:
            self._keep_alive = False
            raise BadBody(400) from error
        self.record.body = b"".join(parts)

    def response(self) -> web.StreamResponse:
        """Return what the aiohttp handler has to return."""
        return _Sent(keep_alive=self._keep_alive)

    async def whole(self, status: int, body: bytes, headers: Headers) -> None:
        """Send an answer that is one body of known length."""
        length = {"content-length": str(len(body))}
        head = self._head(status, {**_JSON, **length, **lower(headers)})
        self._write(head if self.record.method == "HEAD" else head + body)
        await self._drain()

    async def answer(self, answer: Answer, *, stream: bool, pause: float | None, headers: Headers) -> None:
        """Send a chat answer, at the script's or the server's pace."""
        if pause is None:
            pause = 1 / self._pace if self._pace else 0.0
        if not stream:
            if pause:
                await asyncio.sleep(pause * answer.tokens)
            self._charge(answer.tokens)
            await self.whole(200, answer.body(), headers)
            return
        self._begin(200, {**_EVENT_STREAM, **lower(headers)}, "chunked")
        events = answer.events()
        if pause:
            await self._send_paced(events, pause, answer.tokens)
        else:
            await self._send_fast(events, answer.tokens)
        self._end()
        await self._drain()

    async def raw(self, steps: Sequence[Step], status: int, headers: Headers, framing: Framing) -> None:
        """Play the steps of a script."""
        if framing != "verbatim":
            merged: dict[str, str | None] = dict(_EVENT_STREAM)
            if framing == "length":
                parts = (step.data if isinstance(step, Trickle) else step for step in steps)
                merged["content-length"] = str(sum(len(part) for part in parts if isinstance(part, bytes)))
            self._begin(status, {**merged, **lower(headers)}, framing)
        await self.play(steps)
        self._end()
        await self._drain()

    async def play(self, steps: Sequence[Step]) -> None:
        """Do one step after the other. Raises `Cut` where a step closes the connection."""
        for step in steps:
            match step:
                case bytes():
                    self._send(step)
                    await self._drain()
                case Pause():
                    await asyncio.sleep(step.seconds)
                case Until():
                    await step.event.wait()
                case Stall():
                    await asyncio.get_running_loop().create_future()
                case Trickle():
                    for start in range(0, len(step.data), step.size):
                        self._send(step.data[start : start + step.size])
                        await self._drain()
                        await asyncio.sleep(step.seconds)
                case Fin():
                    self._cut()
                    self._transport.close()
                    raise Cut
                case Rst():
                    await self._flush()
                    self._cut()
                    reset(self._transport)
                    raise Cut

    def complete(self) -> None:
        """Note that the whole answer was sent."""
        self.record.completed = True
        self.record.ended_at = time.monotonic()

    def _cut(self) -> None:
        self.record.cut = True
        self.record.ended_at = time.monotonic()
        self._keep_alive = False

    def _begin(self, status: int, headers: dict[str, str | None], framing: Framing) -> None:
        if framing == "chunked" and self._request.version >= (1, 1):
            self._chunked = True
            headers = {"transfer-encoding": "chunked", **headers}
        elif framing != "length":
            self._keep_alive = False
        self._write(self._head(status, headers))

    def _end(self) -> None:
        if self._chunked:
            self._write(b"0\r\n\r\n")

    def _head(self, status: int, headers: Headers) -> bytes:
        self.record.status = status
        lines = {"x-siliconcloud-trace-id": self.record.trace_id, **headers}
        if not self._keep_alive:
            lines.setdefault("connection", "close")
        try:
            reason = http.HTTPStatus(status).phrase
        except ValueError:
            reason = "Unknown"
        head = [f"HTTP/1.1 {status} {reason}"]
        head += [f"{name}: {value}" for name, value in lines.items() if value is not None]
        return "\r\n".join((*head, "", "")).encode("latin-1", "replace")

    def _send(self, data: bytes) -> None:
        # An empty chunk would end the body.
        if data:
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self.record.bytes_sent += len(data)

    async def _drain(self) -> None:
        # A write to a client that has gone raises nothing, and a loop of them never lets
        # the event loop say so.
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        await self._request.writer.drain()
        self._since_turn += 1
        if self._since_turn >= _GROUP:
            await self._turn()

    async def _turn(self) -> None:
        # A client in the same loop reads nothing until then, nor can it be seen to leave.
        self._since_turn = 0
        await asyncio.sleep(0)

    async def _flush(self) -> None:
        # asyncio's TLS transport pauses at the limit, the plain one above it: 0 would pause the
        # first one for good.
        plain = self._transport.get_extra_info("sslcontext") is None
        self._transport.set_write_buffer_limits(high=0 if plain else 1)
        await self._drain()

    def _charge(self, tokens: int) -> None:
        if self.meter is not None:
            self.meter.sent(tokens)

    async def _send_fast(self, events: Sequence[bytes], tokens: int) -> None:
        chunked = self._chunked
        for start in range(0, len(events), _GROUP):
            group = events[start : start + _GROUP]
            if chunked:
                group = [b"%x\r\n%b\r\n" % (len(event), event) for event in group]
            self._charge(_tokens_until(start + len(group), tokens) - _tokens_until(start, tokens))
            self._write(b"".join(group))
            await self._drain()
            await self._turn()

    async def _send_paced(self, events: Sequence[bytes], pause: float, tokens: int) -> None:
        # Against the clock, so that a late turn of the loop doesn't slow the whole answer down.
        now = asyncio.get_running_loop().time
        due = now()
        for index, event in enumerate(events):
            if index:
                due += pause
            if (wait := due - now()) > 0:
                await asyncio.sleep(wait)
            self._charge(_tokens_until(index + 1, tokens) - _tokens_until(index, tokens))
            self._send(event)
            await self._drain()


def _tokens_until(count: int, tokens: int) -> int:
    """Return how many of an answer's tokens its first `count` events hold: the first has none, the next one each."""
    return min(max(count - 1, 0), tokens)


def reset(transport: asyncio.Transport) -> None:
    """Close a connection by RST instead of FIN."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
