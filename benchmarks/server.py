"""The other side: a process that sends prebuilt bytes, so that no client waits for JSON to be made.

The first segment of a request's path says what is wanted; what follows it, clients may choose themselves:

    /bulk.FIXTURE.CHUNKS.PER_BLOCK/…    a fixture, one write for each of its blocks, as fast as they are read
    /paced.CHUNKS.RATE/…                one chunk now; after the word "go" on standard input RATE chunks per second
    /huge.BYTES/…                       a stream with one event of that size, in pieces of 1 KiB
    /whole/…                            an answer that is not streamed, with a Content-Length

The content of a paced chunk is the time at which it was written: nanoseconds of the monotonic clock, which the
processes of a machine share. Streams that are paced together are spread evenly over the time between two tokens.
The process ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import functools
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from . import ROOT, loops
from .fixtures import event, huge_event, make, whole_answer

__all__ = ["Server"]

STAMP_DIGITS = 19
_SLOTS = 20
_PIECE = 1024
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"x-siliconcloud-trace-id: ti_0123456789abcdef\r\n\r\n"
)
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_LAST = b"0\r\n\r\n"


def _framed(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


@functools.lru_cache(maxsize=32)
def _stream(name: str, chunks: int, per_block: int) -> tuple[bytes, ...]:
    return (_STREAM_HEAD, *map(_framed, make(name, chunks, per_block).blocks), _LAST)


@functools.lru_cache(maxsize=4)
def _huge(size: int) -> tuple[bytes, ...]:
    whole = huge_event(size)[0] + event("0" * 32, {"content": ""}, "stop", {}) + b"data: [DONE]\n\n"
    return (_STREAM_HEAD, *(_framed(whole[at : at + _PIECE]) for at in range(0, len(whole), _PIECE)), _LAST)


@functools.lru_cache(maxsize=1)
def _whole() -> bytes:
    body, _ = whole_answer()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@functools.lru_cache(maxsize=1)
def _stamped() -> tuple[bytes, bytes, bytes]:
    """What stands around the time in a paced chunk, and what ends such a stream."""
    usage = {"prompt_tokens": 1234, "completion_tokens": 100, "total_tokens": 1334}
    usage["completion_tokens_details"] = {"reasoning_tokens": 0}  # type: ignore[assignment]  # JSON, not integers
    usage["prompt_tokens_details"] = {"cached_tokens": 1152}  # type: ignore[assignment]
    mark = "#" * STAMP_DIGITS
    token = event("0" * 32, {"content": mark, "reasoning_content": None}, None, usage)
    before, after = _framed(token).split(mark.encode())
    end = event("0" * 32, {"content": "", "reasoning_content": None}, "stop", usage) + b"data: [DONE]\n\n"
    return before, after, _framed(end) + _LAST


class _Paced:
    """The streams that wait for "go", then get a token each in every period."""

    def __init__(self) -> None:
        self._waiting: list[_Connection] = []
        self._spec = (0, 1.0)

    def add(self, connection: _Connection, chunks: int, rate: float) -> None:
        self._spec = (chunks, rate)
        self._waiting.append(connection)
        connection.write(_STREAM_HEAD)
        self._token(connection)

    def go(self) -> None:
        waiting, self._waiting = self._waiting, []
        chunks, rate = self._spec
        start = asyncio.get_running_loop().time()
        for number in range(_SLOTS):
            slot = waiting[number::_SLOTS]
            if slot:
                self._tick(slot, chunks - 1, start + (number + 1) / _SLOTS / rate, 1 / rate)

    def _tick(self, slot: list[_Connection], left: int, at: float, period: float) -> None:
        asyncio.get_running_loop().call_at(at, self._send, slot, left, at, period)

    def _send(self, slot: list[_Connection], left: int, at: float, period: float) -> None:
        if left == 0:
            end = _stamped()[2]
            for connection in slot:
                connection.write(end)
            return
        for connection in slot:
            self._token(connection)
        self._tick(slot, left - 1, at + period, period)

    def _token(self, connection: _Connection) -> None:
        before, after, _ = _stamped()
        connection.write(before + b"%0*d" % (STAMP_DIGITS, time.monotonic_ns()) + after)


class _Connection(asyncio.Protocol):
    def __init__(self, paced: _Paced) -> None:
        self._paced = paced
        self._transport: asyncio.Transport | None = None
        self._received = b""
        self._blocks: Iterator[bytes] = iter(())
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._blocks = iter(())

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length is not None else 0
            if not end or len(rest) < size:
                return
            self._received = rest[size:]
            self._answer(head.split(b" ", 2)[1].decode())

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def _answer(self, path: str) -> None:
        match path.split("/")[1].split("."):
            case ["bulk", name, chunks, per_block]:
                self._blocks = iter(_stream(name, int(chunks), int(per_block)))
                self._pump()
            case ["paced", chunks, rate]:
                self._paced.add(self, int(chunks), float(rate))
            case ["huge", size]:
                self._blocks = iter(_huge(int(size)))
                self._pump()
            case ["whole"]:
                self.write(_whole())
            case _:
                self.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _pump(self) -> None:
        while not self._paused:
            block = next(self._blocks, None)
            if block is None:
                return
            self.write(block)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    paced = _Paced()
    listener = await loop.create_server(lambda: _Connection(paced), "127.0.0.1", 0, backlog=4096)
    print(listener.sockets[0].getsockname()[1], flush=True)
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        paced.go()


class Server:
    """Runs the server's process for as long as a `with` block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._origin = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def bulk(self, name: str, chunks: int, per_block: int = 50) -> str:
        return f"{self._origin}/bulk.{name}.{chunks}.{per_block}/v1"

    def paced(self, chunks: int, rate: int) -> str:
        return f"{self._origin}/paced.{chunks}.{rate}/v1"

    def huge(self, size: int) -> str:
        return f"{self._origin}/huge.{size}/v1"

    def whole(self) -> str:
        return f"{self._origin}/whole/v1"

    def go(self) -> None:
        """Start the streams that are waiting to be paced."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()


if __name__ == "__main__":
    loops.serve(_serve())
