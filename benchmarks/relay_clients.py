"""The clients of a relay: light, so that what is measured is the relay. They check every token that comes.

`WebSocketClient` reads, or hardly reads, or leaves; `SSEClient` reads until it leaves. Both take a token for what
`server` makes of it: no relay may lose one, send one twice, or change their order.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import socket
import time
from array import array
from typing import Any, Literal, Self, TypeAlias

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.uri import parse_uri

from .measure import WrongAnswer
from .server import STAMP_DIGITS

# How to leave: with websocket's closing frame, or by closing the socket.
Way: TypeAlias = Literal["frame", "socket"]

# A slow client has small buffers, and the segments of an Ethernet: those of loopback would take megabytes.
_SLOW_BUFFER = 4096
_SLOW_SEGMENT = 1400
_SLOW_SECONDS = 2.0


class _Client(asyncio.Protocol):
    """Collects when each token was sent and came, in nanoseconds of the monotonic clock."""

    def __init__(self, asked: str, size: int) -> None:
        self.name = asked.partition(".")[0]
        self._asked = asked
        self._size = size
        self._padding = "." * (size - STAMP_DIGITS)
        self._loop = asyncio.get_running_loop()
        self._wanted = math.inf
        self._waiter: asyncio.Future[None] | None = None
        self._error: Exception | None = None
        self._lost = False
        self.left = 0
        self.sent = array("q")
        self.came = array("q")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._wake()

    def take(self, text: str, now: int) -> None:
        """Note the tokens of one frame; a relay may merge several."""
        for at in range(0, len(text), self._size):
            token = text[at : at + self._size]
            if not token[:STAMP_DIGITS].isdigit() or token[STAMP_DIGITS:] != self._padding:
                self._fail(f"{token[:30]!r} is no token")
                return
            stamp = int(token[:STAMP_DIGITS])
            if self.sent and stamp <= self.sent[-1]:
                self._fail("a token came twice, or too late")
                return
            self.sent.append(stamp)
            self.came.append(now)
        if len(self.sent) >= self._wanted:
            self._wake()

    def _fail(self, why: str) -> None:
        self._error = self._error or WrongAnswer(f"{why}, after {len(self.sent)} tokens")
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def got(self, count: int) -> None:
        """Wait for so many tokens. Raises WrongAnswer if they don't come."""
        await self._until(count)
        if len(self.sent) < count:
            raise WrongAnswer(f"the connection was lost after {len(self.sent)} tokens of {count}")

    async def _until(self, count: float) -> None:
        if not self._lost and self._error is None and len(self.sent) < count:
            self._wanted, self._waiter = count, self._loop.create_future()
            await self._waiter
            self._wanted, self._waiter = math.inf, None
        self.check()

    def check(self) -> None:
        """Raise WrongAnswer for what has come so far."""
        if self._error is not None:
            raise self._error

    def leave(self, way: Way) -> int:
        """Leave now, and return when that was."""
        self.left = time.monotonic_ns()
        self._transport.close()
        return self.left


class WebSocketClient(_Client):
    """Asks its question at `/chat`; if it is slow, reads a few KiB every two seconds until `hurry()`."""

    def __init__(self, url: str, asked: str, size: int, *, slow: bool) -> None:
        super().__init__(asked, size)
        self._slow = slow
        self._pause: asyncio.TimerHandle | None = None
        self._websocket = ClientProtocol(parse_uri(url), max_size=None)

    @classmethod
    async def connect(cls, port: int, asked: str, size: int = STAMP_DIGITS, *, slow: bool = False) -> Self:
        loop = asyncio.get_running_loop()
        # asyncio switches Nagle's algorithm off where the protocol is named: else a closing frame would wait for it.
        sock = socket.socket(proto=socket.IPPROTO_TCP)
        sock.setblocking(False)
        if slow:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_BUFFER)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SLOW_SEGMENT)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        url = f"ws://127.0.0.1:{port}/chat"
        _, client = await loop.create_connection(lambda: cls(url, asked, size, slow=slow), sock=sock)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._websocket.send_request(self._websocket.connect())
        self._flush()

    def _flush(self) -> None:
        for data in self._websocket.data_to_send():
            if data:
                self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Frame):
                if event.opcode is Opcode.TEXT and not self.left:
                    self._frame(bytes(event.data), now)
            elif isinstance(event, Response):
                if self._websocket.handshake_exc is not None:
                    self._fail(f"no websocket: {self._websocket.handshake_exc}")
                    return
                self._websocket.send_text(self._asked.encode())
        self._flush()
        if self._slow and self.sent:
            self._transport.pause_reading()
            self._pause = self._loop.call_later(_SLOW_SECONDS, self._transport.resume_reading)

    def _frame(self, data: bytes, now: int) -> None:
        """Take one frame: this library's relay sends events, a plain one the text alone."""
        if not data.startswith(b"{"):
            self.take(data.decode(), now)
            return
        event: dict[str, Any] = json.loads(data)
        if event["type"] == "error":
            self._fail(f"the relay says {event['message']}")
        else:
            self.take(event.get("text", ""), now)

    def hurry(self) -> None:
        """Read all that is there, from now on."""
        self._slow = False
        if self._pause is not None:
            self._pause.cancel()
            if not self._lost:
                self._transport.resume_reading()

    def leave(self, way: Way) -> int:
        if way == "socket":
            return super().leave(way)
        self.left = time.monotonic_ns()
        self._websocket.send_close(1001)
        self._flush()
        return self.left

    async def ended(self, count: int) -> None:
        """Wait for the end. Raises WrongAnswer unless it was a closing frame in good order, after so many tokens."""
        await self._until(math.inf)
        close = self._websocket.close_rcvd
        if len(self.sent) != count or close is None or close.code != 1000:
            raise WrongAnswer(f"{len(self.sent)} tokens of {count}, closed with {close or 'no closing frame'}")


class SSEClient(_Client):
    """Asks its question at `/sse`. What frames the tokens it skips, which have nothing like a stamp in it."""

    _STAMP = re.compile(rb"\d{%d}" % STAMP_DIGITS)

    def __init__(self, asked: str) -> None:
        super().__init__(asked, STAMP_DIGITS)
        self._received = b""

    @classmethod
    async def connect(cls, port: int, asked: str) -> Self:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: cls(asked), "127.0.0.1", port)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._transport.write(f"GET /sse?question={self._asked} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        *whole, self._received = (self._received + data).split(b"\n")
        for line in whole:
            for stamp in self._STAMP.findall(line):
                self.take(stamp.decode(), now)
