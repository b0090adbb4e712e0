"""The service: `python -m benchmarks.weathering.service PORT LOSS`. It ends with its standard input.

The first segment of a request's path says what becomes of it; each segment counts apart, whatever follows another dot,
and a GET of `/asked/SEGMENT` tells how often it was asked for:

    /whole.MS         an answer after so many milliseconds
    /stale.N          N answers, given out once as many have been asked for; then whatever comes on one of these
                      connections is answered by a reset, as by a balancer that knows nothing of it
    /race.K           every K-th request on a connection used before finds it closed
    /reset.K          every K-th request, on any connection, is answered by a reset
    /quiet-reuse.X    the first answer is followed by silence: the network forgets its connection
    /quiet-answer.X   the first request is followed by silence, all others are answered
    /quiet-middle.X   the first stream falls silent after three chunks, all others are whole

On SIGTERM it takes no more connections, answers what it was asked, and leaves.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import struct
import sys
from collections import Counter
from typing import Any

from ..fixtures import event, whole_answer
from ..loops import serve
from .packets import fall_silent, lose

__all__ = ["STREAMED"]

STREAMED = "so it goes on "
_CHUNKS = 10
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
# The client's kernel has acknowledged an answer by then.
_SETTLED = 0.1


def _chunk(text: str, finish: str | None = None) -> bytes:
    data = event("0" * 32, {"content": text}, finish, {})
    return b"%x\r\n%b\r\n" % (len(data), data)


def _with_head(body: bytes, *, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b" % (
        more,
        len(body),
        body,
    )


_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_DONE = b"data: [DONE]\n\n"
_STREAM_END = _chunk("", "stop") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(_DONE), _DONE)


class _Service:
    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.held: dict[str, list[_Connection]] = {}
        self.open: set[_Connection] = set()
        self.leaving = False
        self.left = asyncio.Event()
        self.body = whole_answer()[0]

    def leave(self) -> None:
        self.leaving = True
        for connection in list(self.open):
            if not connection.busy:
                connection.transport.close()
        self.look()

    def look(self) -> None:
        if self.leaving and not self.open:
            self.left.set()


class _Connection(asyncio.Protocol):
    def __init__(self, service: _Service) -> None:
        self._service = service
        self._received = b""
        self._answered = 0
        self.transport: Any = None
        self.stale: str | None = None
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._service.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.open.discard(self)
        self._service.look()

    def data_received(self, data: bytes) -> None:
        if self.stale is not None:
            self._service.asked[self.stale] += 1
            self._reset()
            return
        self._received += data
        head, end, rest = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not end or len(rest) < (int(length[1]) if length is not None else 0):
            return
        self._received = b""
        self.busy = True
        self._take(head.split(b" ", 2)[1].decode().strip("/"), streaming=b'"stream":true' in rest.replace(b" ", b""))

    def _take(self, path: str, *, streaming: bool) -> None:
        service = self._service
        segment, _, other = path.partition("/")
        if segment == "asked":
            self._send(_with_head(str(service.asked[other]).encode()))
            return
        service.asked[segment] += 1
        kind, _, detail = segment.partition(".")
        first = service.asked[segment] == 1
        count = detail.partition(".")[0]
        number = int(count) if count.isdigit() else 0
        if kind == "whole":
            asyncio.get_running_loop().call_later(number / 1000, self._answer)
        elif kind == "stale":
            self._hold(segment, number)
        elif kind == "race" and self._answered and service.asked[segment] % number == 0:
            self.transport.abort()
        elif kind == "reset" and service.asked[segment] % number == 0:
            self._reset()
        elif kind == "quiet-reuse" and first:
            self._answer()
            asyncio.get_running_loop().call_later(_SETTLED, self._fall_silent)
        elif kind == "quiet-answer" and first:
            self._fall_silent()
        elif kind == "quiet-middle" and first and streaming:
            self.transport.write(_STREAM_HEAD + _chunk(STREAMED) * 3)
            asyncio.get_running_loop().call_later(_SETTLED, self._fall_silent)
        elif streaming:
            self._send(_STREAM_HEAD + _chunk(STREAMED) * _CHUNKS + _STREAM_END)
        else:
            self._answer()

    def _hold(self, segment: str, number: int) -> None:
        held = self._service.held.setdefault(segment, [])
        if len(held) == number:
            self._answer()
            return
        held.append(self)
        if len(held) == number:
            for connection in held:
                connection._answer()
                connection.stale = segment

    def _answer(self) -> None:
        self._send(_with_head(self._service.body, more=b"Connection: close\r\n" if self._service.leaving else b""))

    def _send(self, data: bytes) -> None:
        self._answered += 1
        self.busy = False
        self.transport.write(data)
        if self._service.leaving:
            self.transport.close()

    def _fall_silent(self) -> None:
        if not self.transport.is_closing():
            fall_silent(self.transport.get_extra_info("socket"))

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def _main(port: int, loss: float) -> None:
    loop = asyncio.get_running_loop()
    service = _Service()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(("127.0.0.1", port))
        if loss:
            lose(sock, loss)
        listener = await loop.create_server(lambda: _Connection(service), sock=sock, backlog=1024)

        def leave() -> None:
            listener.close()
            service.leave()

        loop.add_signal_handler(signal.SIGTERM, leave)
        await loop.connect_read_pipe(_Parent, sys.stdin)
        print("ready", flush=True)
        await service.left.wait()


class _Parent(asyncio.Protocol):
    def connection_lost(self, exc: Exception | None) -> None:
        os._exit(0)


if __name__ == "__main__":
    serve(_main(int(sys.argv[1]), float(sys.argv[2])), "asyncio")
