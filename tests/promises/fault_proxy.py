"""A TCP proxy that breaks the connections it carries, each in the way that the test asked for.

    async with FakeSiliconFlow() as server, FaultProxy(server, Cut(100), Hang()) as proxy:
        … a client on proxy.base_url …

The first connection gets the first fault, and so on; those beyond pass unharmed. Faults strike the way from server to
client; positions count the bytes of the connection in that direction, from 0. Proxy, server and client share a loop.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeAlias
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

# After so many turns a client in the same loop, if it reads at all, has read what was sent before.
_TURNS = 6


@dataclass(frozen=True, slots=True)
class Pass:
    """Forward everything."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """Reset the connection as soon as it is accepted."""


@dataclass(frozen=True, slots=True)
class Hang:
    """Accept, read, forward nothing."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Close after `after` bytes of one answer, with FIN or, if `reset`, with RST.

    `answer` numbers the answers of the connection from 1; those before it pass. It is cut no sooner than a byte of its
    request has come, and than the client had time to read what was sent (a RST may take unread bytes with it).
    """

    after: int
    reset: bool = False
    answer: int = 1


@dataclass(frozen=True, slots=True)
class StallAfter:
    """Forward `after` bytes, then nothing; the connection stays open."""

    after: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """Forward `size` bytes at a time, each piece in a turn of its own."""

    size: int


@dataclass(frozen=True, slots=True)
class Flip:
    """Flip the bits of `mask` in the byte at `at`."""

    at: int
    mask: int = 0x01


@dataclass(frozen=True, slots=True)
class BreakChunk:
    """Send `line` in place of the size line of the HTTP chunk number `number`, from 0.

    If `apart`, the client has time to read what comes before; else all goes out in one piece.
    """

    number: int
    line: bytes
    apart: bool = True


@dataclass(frozen=True, slots=True)
class DropLast:
    """Leave out the last HTTP chunk, the empty one; then FIN, or, if `stall`, nothing more."""

    stall: bool = False


@dataclass(frozen=True, slots=True)
class HoldLast:
    """Hold back the last HTTP chunk of every answer until `permits` is released once more."""

    permits: asyncio.Semaphore


Fault: TypeAlias = Pass | Refuse | Hang | Cut | StallAfter | Pieces | Flip | BreakChunk | DropLast | HoldLast


class Link:
    """One connection: its fault, the bytes forwarded either way, and what happened.

    `asked` is set when a byte of a request comes (again after each answer), `struck` once the fault has happened,
    `left` when the client has closed.
    """

    def __init__(self, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.fault = fault
        self.up = 0
        self.down = 0
        self.asked = asyncio.Event()
        self.struck = asyncio.Event()
        self.left = asyncio.Event()
        self._reader = reader
        self._writer = writer
        self._server_reader = reader
        self._server_writer: asyncio.StreamWriter | None = None
        # So that `drain` waits until the kernel has it all, and closing loses nothing.
        writer.transport.set_write_buffer_limits(high=0)

    async def run(self, host: str, port: int) -> None:
        if isinstance(self.fault, Refuse):
            self.struck.set()
            self.cut(reset=True)
            return
        if not isinstance(self.fault, Hang):
            self._server_reader, self._server_writer = await asyncio.open_connection(host, port)
        ways = [asyncio.ensure_future(self._upward()), asyncio.ensure_future(self._downward())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            results = await asyncio.gather(*ways, return_exceptions=True)
            self.cut(reset=False)
        for result in results:
            # Either side may go at any time: EOFError is the server's end, OSError a reset.
            if isinstance(result, Exception) and not isinstance(result, EOFError | OSError):
                raise result

    def cut(self, *, reset: bool) -> None:
        """Close both sides, the client's by FIN or by RST."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        # Linger of 0 seconds: no farewell.
        if reset and sock is not None and sock.fileno() != -1:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()
        if self._server_writer is not None:
            self._server_writer.transport.abort()

    async def _upward(self) -> None:
        try:
            while data := await self._reader.read(65536):
                self.up += len(data)
                if self._server_writer is not None:
                    self._server_writer.write(data)
                    await self._server_writer.drain()
                self.asked.set()
        finally:
            self.left.set()

    async def _downward(self) -> None:
        match self.fault:
            case Cut(after, reset, answer):
                for _ in range(answer - 1):
                    await self._answer()
                await self.asked.wait()
                await self._forward(after)
                await self._turns()
                self.struck.set()
                self.cut(reset=reset)
                return
            case Hang():
                await self._stall()
            case StallAfter(after):
                await self._forward(after)
                await self._stall()
            case Pieces(size):
                while True:
                    await self._send(await self._take(size))
                    await asyncio.sleep(0)
            case Flip(at, mask):
                await self._forward(at)
                byte = (await self._take(1))[0]
                await self._send(bytes([byte ^ mask]))
            case BreakChunk(number, line, apart):
                before = await self._server_reader.readuntil(b"\r\n\r\n")
                for _ in range(number):
                    before += await self._chunk()
                await self._server_reader.readuntil(b"\r\n")
                if apart:
                    await self._send(before)
                    await self._turns()
                    before = b""
                await self._send(before + line + b"\r\n")
            case DropLast(stall):
                await self._head()
                await self._all_but_last()
                if stall:
                    await self._stall()
                self.struck.set()
                return
            case HoldLast(permits):
                while True:
                    await self._head()
                    last = await self._all_but_last()
                    self.struck.set()
                    await permits.acquire()
                    await self._send(last)
        self.struck.set()
        while True:
            await self._send(await self._take(65536))

    async def _stall(self) -> None:
        self.struck.set()
        await asyncio.get_running_loop().create_future()

    async def _take(self, size: int) -> bytes:
        data = await self._server_reader.read(size)
        if not data:
            raise EOFError
        return data

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        self.down += len(data)
        await self._writer.drain()

    async def _forward(self, count: int) -> None:
        while count > 0:
            data = await self._take(count)
            await self._send(data)
            count -= len(data)

    async def _turns(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    async def _head(self) -> bytes:
        head = await self._server_reader.readuntil(b"\r\n\r\n")
        await self._send(head)
        return head.lower()

    async def _chunk(self) -> bytes:
        line = await self._server_reader.readuntil(b"\r\n")
        return line + await self._server_reader.readexactly(int(line, 16) + 2)

    async def _all_but_last(self) -> bytes:
        """Forward a chunked body up to its last chunk, and return that."""
        while (piece := await self._chunk()) != b"0\r\n\r\n":
            await self._send(piece)
        return piece

    async def _answer(self) -> None:
        head = await self._head()
        if length := re.search(rb"content-length: *(\d+)", head):
            await self._forward(int(length[1]))
        else:
            await self._send(await self._all_but_last())
        self.asked.clear()


class FaultProxy:
    """Listens in front of a stand-in; `links` are its connections in the order in which they came."""

    def __init__(self, server: FakeSiliconFlow, *faults: Fault) -> None:
        self.links: list[Link] = []
        url = urlsplit(server.base_url)
        self._target = (url.hostname or "", url.port or 0)
        self._faults = faults
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        for link in self.links:
            link.cut(reset=False)
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        fault = self._faults[len(self.links)] if len(self.links) < len(self._faults) else Pass()
        link = Link(fault, reader, writer)
        self.links.append(link)
        self._tasks.add(asyncio.ensure_future(link.run(*self._target)))
