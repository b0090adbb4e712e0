"""A service in bad weather, which can be killed and replaced, and whose connections come to harm.

The first segment of a request's path says what becomes of it; each segment counts apart, whatever follows another dot:

    /whole.MS         an answer after so many milliseconds
    /stale.N          N answers, given out once as many have been asked for; then whatever comes on one of these
                      connections is answered by a reset, as by a balancer that knows nothing of it
    /race.K           every K-th request on a connection used before finds it closed
    /reset.K          every K-th request, on any connection, is answered by a reset
    /quiet-reuse.X    the first answer is followed by silence: the network forgets its connection
    /quiet-answer.X   the first request is followed by silence, all others are answered
    /quiet-middle.X   the first stream falls silent after three chunks, all others are whole

Silence is without a network, and without the rights to make one: a classic BPF filter on a socket of the service's sees
each packet before TCP does. One that it refuses was never there: nothing is acknowledged, answered or reset. Only Linux
has them.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import socket
import struct
from collections import Counter
from typing import Any, Self

from .children import Child, heard, say
from .fixtures import DONE, whole_answer
from .server import STREAM_END, STREAM_HEAD, Connection, delta, framed, whole_response

_CHUNKS = 10
_CHUNK = framed(delta("so it goes on "))
_END = framed(delta("", "stop")) + framed(DONE) + STREAM_END
# The client's kernel has acknowledged an answer by then.
_SETTLED = 0.1

_SO_ATTACH_FILTER = 26
_RETURN = 0x06
_LOAD = 0x20
_JUMP_IF_AT_LEAST = 0x35
# SKF_AD_OFF + SKF_AD_RANDOM: a random number of 32 bits, instead of bytes of the packet.
_RANDOM = 0x1_0000_0000 - 0x1000 + 56
_ALL = (_RETURN, 0, 0, 0xFFFF_FFFF)
_NOTHING = (_RETURN, 0, 0, 0)


def _filter(sock: socket.socket, *instructions: tuple[int, int, int, int]) -> None:
    """Let these say how much of each packet that comes is kept; what a listener accepts inherits them."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


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


class _Connection(Connection):
    def __init__(self, service: _Service) -> None:
        super().__init__()
        self._service = service
        self._answered = 0
        self.stale: str | None = None
        self.busy = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._service.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._service.open.discard(self)
        self._service.look()

    def data_received(self, data: bytes) -> None:
        if self.stale is not None:
            self._service.asked[self.stale] += 1
            self._reset()
        else:
            super().data_received(data)

    def answer(self, path: str, body: bytes) -> None:
        self.busy = True
        service, loop = self._service, asyncio.get_running_loop()
        segment = path.split("/")[1]
        service.asked[segment] += 1
        kind, count, *_ = segment.split(".")
        number = int(count) if count.isdigit() else 0
        first = service.asked[segment] == 1
        streaming = b'"stream":true' in body.replace(b" ", b"")
        if kind == "whole":
            loop.call_later(number / 1000, self._whole)
        elif kind == "stale":
            self._hold(segment, number)
        elif kind == "race" and self._answered and service.asked[segment] % number == 0:
            self.transport.abort()
        elif kind == "reset" and service.asked[segment] % number == 0:
            self._reset()
        elif kind == "quiet-reuse" and first:
            self._whole()
            loop.call_later(_SETTLED, self._fall_silent)
        elif kind == "quiet-answer" and first:
            self._fall_silent()
        elif kind == "quiet-middle" and first and streaming:
            self.transport.write(STREAM_HEAD + _CHUNK * 3)
            loop.call_later(_SETTLED, self._fall_silent)
        elif streaming:
            self._send(STREAM_HEAD + _CHUNK * _CHUNKS + _END)
        else:
            self._whole()

    def _hold(self, segment: str, number: int) -> None:
        held = self._service.held.setdefault(segment, [])
        if len(held) == number:
            self._whole()
            return
        held.append(self)
        if len(held) == number:
            for connection in held:
                connection._whole()
                connection.stale = segment

    def _whole(self) -> None:
        self._send(whole_response(self._service.body, b"Connection: close\r\n" if self._service.leaving else b""))

    def _send(self, data: bytes) -> None:
        self._answered += 1
        self.busy = False
        self.transport.write(data)
        if self._service.leaving:
            self.transport.close()

    def _fall_silent(self) -> None:
        if not self.transport.is_closing():
            _filter(self.transport.get_extra_info("socket"), _NOTHING)

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


async def serve(port: int, loss: float) -> None:
    """Serve there, say so, and say of each segment that is named how often it was asked for.

    On SIGTERM it takes no more connections, answers what it was asked, and leaves.
    """
    loop = asyncio.get_running_loop()
    service = _Service()
    sock = _bound(port)
    if loss:
        _filter(sock, (_LOAD, 0, 0, _RANDOM), (_JUMP_IF_AT_LEAST, 0, 1, int(loss * 2**32)), _ALL, _NOTHING)
    listener = await loop.create_server(lambda: _Connection(service), sock=sock, backlog=1024)

    def leave() -> None:
        listener.close()
        service.leave()

    async def tell() -> None:
        async for line in await heard():
            say(service.asked[line.decode().strip()])

    loop.add_signal_handler(signal.SIGTERM, leave)
    telling = asyncio.create_task(tell())
    say("ready")
    await asyncio.wait((telling, asyncio.create_task(service.left.wait())), return_when=asyncio.FIRST_COMPLETED)


def _bound(port: int) -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


class Port:
    """A port, and the processes that serve it: one after another, or one while its successor starts.

    Enter it to have a service there; `loss` is the share of packets to it that are dropped.
    """

    def __init__(self, loss: float = 0.0) -> None:
        self._loss = loss
        # Bound and not listening: nobody else gets the port, and where no service is, connections are refused.
        self._kept = _bound(0)
        self._port: int = self._kept.getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.kill()
        self._kept.close()

    def url(self, segment: str) -> str:
        return f"http://127.0.0.1:{self._port}/{segment}"

    async def start(self) -> None:
        child = Child("harm.serve", self._port, self._loss, loop="asyncio")
        await child.start()
        await child.hear()
        self._child = child

    async def kill(self) -> None:
        """End it at once, with all that it was asked."""
        await self._child.end(signal.SIGKILL)

    async def replace(self) -> None:
        """Start a successor; then the old one takes no more, answers what it was asked, and leaves."""
        old = self._child
        await self.start()
        await old.end(signal.SIGTERM)

    async def asked(self, segment: str) -> int:
        """Return how many requests the process of now has seen for this segment."""
        self._child.say(segment)
        count: int = await self._child.hear()
        return count
