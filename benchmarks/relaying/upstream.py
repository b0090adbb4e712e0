"""The upstream of the relays: what is asked for stands in the question, which a relay hands on as it got it.

    NAME.START.TOKENS.RATE.SIZE     such as client7.go.300.10.19

START says when the first token is sent: "go" and "now" at once, "never" after the head nothing. Then RATE tokens per
second follow, with "go" after the word on standard input, and spread evenly over the time between two tokens. A token
has SIZE characters: the time at which it was written, in nanoseconds of the monotonic clock, which the processes of a
machine share, then padding. It says on standard output, a JSON object a line, which question was asked, and which
stream was closed before its end, and when. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Sequence

from .. import loops
from ..fixtures import event

__all__ = ["STAMP_DIGITS", "question"]

STAMP_DIGITS = 19
_SLOTS = 20
_QUESTION = re.compile(rb'"content": ?"(\w+)\.(go|now|never)\.(\d+)\.(\d+)\.(\d+)"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"x-siliconcloud-trace-id: ti_0123456789abcdef\r\n\r\n"
)
_USAGE = {"prompt_tokens": 1234, "completion_tokens": 100, "total_tokens": 1334}


def question(name: str, start: str, tokens: int, rate: int, size: int = STAMP_DIGITS) -> str:
    return f"{name}.{start}.{tokens}.{rate}.{size}"


def _framed(block: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(block), block)


def _delta(content: str, finish: str | None = None) -> bytes:
    return event("0" * 32, {"content": content, "reasoning_content": None}, finish, _USAGE)


_END = _framed(_delta("", "stop") + b"data: [DONE]\n\n") + b"0\r\n\r\n"


def _say(**what: str | int) -> None:
    print(json.dumps(what), flush=True)


class _Stream:
    def __init__(self, transport: asyncio.Transport, name: str, tokens: int, rate: int, size: int) -> None:
        self._transport = transport
        self._left = tokens
        mark = "#" * size
        self._before, self._after = _framed(_delta(mark)).split(mark.encode())
        self._padding = b"." * (size - STAMP_DIGITS)
        self.name = name
        self.rate = rate
        self.over = False

    def next(self) -> None:
        """Send one more token, or the end."""
        if self._left == 0:
            self.over = True
            self._transport.write(_END)
            return
        self._left -= 1
        stamp = b"%0*d" % (STAMP_DIGITS, time.monotonic_ns())
        self._transport.write(self._before + stamp + self._padding + self._after)


def _pace(streams: Sequence[_Stream], at: float) -> None:
    """Send the next token of streams of one rate at that time, and so on until all are over."""
    if streams:
        asyncio.get_running_loop().call_at(at, _beat, streams, at)


def _beat(streams: Sequence[_Stream], at: float) -> None:
    for stream in streams:
        if not stream.over:
            stream.next()
    left = [stream for stream in streams if not stream.over]
    if left:
        _pace(left, at + 1 / left[0].rate)


class _Connection(asyncio.Protocol):
    def __init__(self, waiting: list[_Stream]) -> None:
        self._waiting = waiting
        self._stream: _Stream | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length is not None else 0
            if not end or len(rest) < size:
                return
            self._received = rest[size:]
            self._answer(rest[:size])

    def eof_received(self) -> None:
        self._closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed()

    def _closed(self) -> None:
        stream = self._stream
        if stream is not None and not stream.over:
            stream.over = True
            _say(closed=stream.name, at=time.monotonic_ns())

    def _answer(self, body: bytes) -> None:
        found = _QUESTION.search(body)
        if found is None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            return
        name, start = found[1].decode(), found[2].decode()
        tokens, rate, size = int(found[3]), int(found[4]), int(found[5])
        self._stream = stream = _Stream(self._transport, name, tokens, rate, size)
        self._transport.write(_HEAD)
        _say(asked=name)
        if start == "never":
            return
        stream.next()
        if start == "go":
            self._waiting.append(stream)
        else:
            _pace([stream], asyncio.get_running_loop().time() + 1 / rate)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    waiting: list[_Stream] = []
    listener = await loop.create_server(lambda: _Connection(waiting), "127.0.0.1", 0, backlog=4096)
    _say(port=listener.sockets[0].getsockname()[1])
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while await commands.readline():
        streams, now = waiting.copy(), loop.time()
        waiting.clear()
        for number in range(_SLOTS):
            slot = streams[number::_SLOTS]
            if slot:
                _pace(slot, now + (number + 1) / _SLOTS / slot[0].rate)


if __name__ == "__main__":
    loops.serve(_serve())
