"""One request and its answer on a real socket.

aiohttp parses the request; the answer is written to the transport here, byte by byte, because a script may ask for what
no HTTP server would send: bodies without an end, cuts, late last chunks.
"""

from __future__ import annotations

import asyncio
import http
import socket
import struct
from collections.abc import Iterable, Sequence

from aiohttp import web

from .answers import ChatAnswer
from .limits import Meter
from .record import RecordedRequest, note_end
from .refusals import Refused
from .steps import Fin, Framing, Headers, Pause, Rst, Stall, Step, Trickle, Until

__all__ = ["AnswerWriter"]

# How many pieces are sent at once, before the loop has a turn.
_GROUP = 64
_EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
_JSON = {"content-type": "application/json; charset=utf-8"}


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


class AnswerWriter:
    """Writes the answer to one request, and notes in `recorded` what becomes of it.

    Every method that sends raises ConnectionError once the client has left or a step has closed the connection.
    `tokens_per_second` is the pace of chat answers, None for as fast as the client reads; `pause` are the seconds that
    each token takes.
    """

    def __init__(
        self,
        request: web.BaseRequest,
        transport: asyncio.Transport,
        recorded: RecordedRequest,
        tokens_per_second: float | None,
    ) -> None:
        self.recorded = recorded
        self._request = request
        self._transport = transport
        self.pause = 1 / tokens_per_second if tokens_per_second else 0.0
        self._chunked = False
        self._keep_alive = request.keep_alive
        self._since_turn = 0

    async def read_body(self, limit: int) -> None:
        """Read the request's body into the record, or raise Refused for one that can't be had."""
        if self._request.headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self._request.body_exists:
            return
        body = bytearray()
        try:
            async for part in self._request.content.iter_any():
                body += part
                if len(body) > limit:
                    self._keep_alive = False
                    raise Refused(413)
        except web.RequestPayloadError as error:
            self._keep_alive = False
            raise Refused(400) from error
        self.recorded.body = bytes(body)

    def response(self) -> web.StreamResponse:
        """Return what the aiohttp handler has to return."""
        return _Sent(keep_alive=self._keep_alive)

    @property
    def origin(self) -> str:
        """Where the stand-in is, as this client knows it: the beginning of its URLs."""
        scheme = "http" if self._transport.get_extra_info("sslcontext") is None else "https"
        return f"{scheme}://{self._request.host}"

    async def whole(self, status: int, body: bytes, headers: Headers | None = None) -> None:
        """Send an answer that is one body of known length."""
        head = self._head(status, {**_JSON, "content-length": str(len(body)), **(headers or {})})
        self._write(head if self.recorded.method == "HEAD" else head + body)
        await self._drain()

    async def pieces(self, pieces: Iterable[bytes], headers: Headers) -> None:
        """Send a body piece by piece, at the server's pace."""
        self._begin(200, headers, "chunked")
        for piece in pieces:
            self._write(self._framed(piece))
            await self._drain()
            if self.pause:
                await asyncio.sleep(self.pause)
        await self._end()

    async def answer(
        self,
        answer: ChatAnswer,
        *,
        stream: bool,
        pause: float | None = None,
        headers: Headers | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Send a chat answer, `pause` seconds between chunks (None: the server's pace); `meter` counts its tokens."""
        if pause is None:
            pause = self.pause
        if not stream:
            if pause:
                await asyncio.sleep(pause * answer.tokens)
            if meter is not None:
                meter.sent(answer.tokens)
            await self.whole(200, answer.body(), headers)
            return
        self._begin(200, {**_EVENT_STREAM, **(headers or {})}, "chunked")
        events = answer.events()
        size = 1 if pause else _GROUP
        now = asyncio.get_running_loop().time
        begun = now()
        charged = 0
        for start in range(0, len(events), size):
            # Against the clock, so that a late turn of the loop doesn't slow the whole answer down.
            if pause and (wait := begun + start * pause - now()) > 0:
                await asyncio.sleep(wait)
            group = events[start : start + size]
            if meter is not None:
                # The first event holds no token, the next ones one each.
                tokens = min(start + len(group) - 1, answer.tokens)
                meter.sent(tokens - charged)
                charged = tokens
            self._write(b"".join(map(self._framed, group)))
            await self._drain(len(group))
        await self._end()

    async def raw(self, steps: Sequence[Step], status: int, headers: Headers, framing: Framing) -> None:
        """Play the steps of a script."""
        if framing != "verbatim":
            usual: dict[str, str | None] = dict(_EVENT_STREAM)
            if framing == "length":
                parts = (step.data if isinstance(step, Trickle) else step for step in steps)
                usual["content-length"] = str(sum(len(part) for part in parts if isinstance(part, bytes)))
            self._begin(status, {**usual, **headers}, framing)
        await self.play(steps)
        await self._end()

    async def play(self, steps: Iterable[Step]) -> None:
        """Do one step after the other."""
        for step in steps:
            match step:
                case bytes():
                    self._write(self._framed(step))
                    await self._drain()
                case Pause():
                    await asyncio.sleep(step.seconds)
                case Until():
                    await step.event.wait()
                case Stall():
                    await asyncio.get_running_loop().create_future()
                case Trickle():
                    for start in range(0, len(step.data), step.size):
                        self._write(self._framed(step.data[start : start + step.size]))
                        await self._drain()
                        await asyncio.sleep(step.seconds)
                case Fin():
                    self._cut()
                    self._transport.close()
                    raise ConnectionAbortedError("closed by the script")
                case Rst():
                    await self._flush()
                    self._cut()
                    sock: socket.socket | None = self._transport.get_extra_info("socket")
                    if sock is not None:
                        # Closing sends RST in place of FIN then.
                        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self._transport.abort()
                    raise ConnectionAbortedError("reset by the script")

    def _cut(self) -> None:
        note_end(self.recorded, "cut")
        self._keep_alive = False

    def _begin(self, status: int, headers: Headers, framing: Framing) -> None:
        if framing == "chunked" and self._request.version >= (1, 1):
            self._chunked = True
            headers = {"transfer-encoding": "chunked", **headers}
        elif framing != "length":
            self._keep_alive = False
        self._write(self._head(status, headers))

    async def _end(self) -> None:
        if self._chunked:
            self._write(b"0\r\n\r\n")
        await self._drain()

    def _head(self, status: int, headers: Headers) -> bytes:
        self.recorded.status = status
        lines = {"x-siliconcloud-trace-id": self.recorded.trace_id, **headers}
        if not self._keep_alive:
            lines.setdefault("connection", "close")
        try:
            reason = http.HTTPStatus(status).phrase
        except ValueError:
            reason = "Unknown"
        head = [f"HTTP/1.1 {status} {reason}"]
        head += [f"{name}: {value}" for name, value in lines.items() if value is not None]
        return "\r\n".join((*head, "", "")).encode("latin-1", "replace")

    def _framed(self, data: bytes) -> bytes:
        # An empty chunk would end the body.
        return b"%x\r\n%b\r\n" % (len(data), data) if self._chunked and data else data

    def _write(self, data: bytes) -> None:
        self._transport.write(data)
        self.recorded.bytes_sent += len(data)

    async def _drain(self, pieces: int = 1) -> None:
        # A write to a client that has gone raises nothing, and a loop of them never lets the event loop say so.
        if self._transport.is_closing():
            raise ConnectionResetError("the client has left")
        await self._request.writer.drain()
        self._since_turn += pieces
        if self._since_turn >= _GROUP:
            # A client in the same loop reads nothing until then, nor can it be seen to leave.
            self._since_turn = 0
            await asyncio.sleep(0)

    async def _flush(self) -> None:
        # asyncio's TLS transport pauses at the limit, the plain one above it: 0 would pause the first one for good.
        plain = self._transport.get_extra_info("sslcontext") is None
        self._transport.set_write_buffer_limits(high=0 if plain else 1)
        await self._drain()
