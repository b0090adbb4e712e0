"""The other side: a process that sends prebuilt bytes, so that no client waits for JSON to be made.

The first segment of a request's path says what is wanted; what follows it, clients may choose themselves:

    /bulk.FIXTURE.CHUNKS.PER_BLOCK/…    a fixture, one write for each of its blocks, as fast as they are read
    /paced.CHUNKS.RATE/…                a token now; after the word "go" RATE tokens per second
    /relayed/…                          the same, as the question says, which a relay hands on as it got it (`question`)
    /huge.BYTES/…                       a stream with one event of that size, in pieces of 1 KiB
    /whole/…                            an answer that is not streamed, with a Content-Length
    /embeddings/…                       32 vectors, as numbers or as base64, whichever is asked for

A paced token is the time at which it was written: nanoseconds of the monotonic clock, which the processes of a machine
share. Streams that are paced together are spread evenly over the time between two tokens. Of a relayed stream the
server says when it was asked for, and when it was closed before its end.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

from .children import Child, heard, say
from .fixtures import DONE, embeddings_answer, event, huge_event, make, usage_of, whole_answer

STAMP_DIGITS = 19
_SLOTS = 20
_PIECE = 1024
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n"
    b"x-siliconcloud-trace-id: ti_0123456789abcdef\r\n\r\n"
)
_QUESTION = re.compile(rb'"content": ?"(\w+)\.(go|now|never)\.(\d+)\.(\d+)\.(\d+)"')
_BASE64 = re.compile(rb'"encoding_format": ?"base64"')
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STREAM_END = b"0\r\n\r\n"


def question(name: str, start: Literal["go", "now", "never"], tokens: int, rate: int, size: int = STAMP_DIGITS) -> str:
    """Return what to ask a relay for.

    start: "go" has the first token sent at once and the others after the word, "now" all from now on, "never" none.
    size: the characters of a token; what follows the time is padding.
    """
    return f"{name}.{start}.{tokens}.{rate}.{size}"


def framed(block: bytes) -> bytes:
    """Return one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(block), block)


def whole_response(body: bytes, more: bytes = b"") -> bytes:
    """Return an answer that is not streamed; `more` are header lines."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\n\r\n" % (more, len(body))
    return head + body


def delta(content: str, finish: str | None = None) -> bytes:
    """Return an event with this text."""
    return event("0" * 32, {"content": content, "reasoning_content": None}, finish, usage_of(100))


@functools.lru_cache(maxsize=32)
def _bulk(name: str, chunks: int, per_block: int) -> tuple[bytes, ...]:
    return (STREAM_HEAD, *map(framed, make(name, chunks, per_block).blocks), STREAM_END)


@functools.lru_cache(maxsize=4)
def _huge(size: int) -> tuple[bytes, ...]:
    whole = huge_event(size)[0] + delta("", "stop") + DONE
    return (STREAM_HEAD, *(framed(whole[at : at + _PIECE]) for at in range(0, len(whole), _PIECE)), STREAM_END)


@functools.lru_cache(maxsize=1)
def _whole() -> bytes:
    return whole_response(whole_answer()[0])


@functools.lru_cache(maxsize=2)
def _vectors(form: str) -> bytes:
    return whole_response(embeddings_answer(form))


@functools.lru_cache(maxsize=4)
def _around(size: int) -> tuple[bytes, bytes]:
    """What stands before and after the time in a token of that size."""
    before, after = framed(delta("#" * size)).split(b"#" * size)
    return before, b"." * (size - STAMP_DIGITS) + after


_PACED_END = framed(delta("", "stop") + DONE) + STREAM_END


class _Paced:
    """A stream of so many tokens, that many a second; its end is reported if it has a name."""

    def __init__(self, transport: Any, name: str, tokens: int, rate: int, size: int = STAMP_DIGITS) -> None:
        self._transport = transport
        self._left = tokens
        self._before, self._after = _around(size)
        self._name = name
        self.rate = rate
        self.over = False
        transport.write(STREAM_HEAD)

    def next(self) -> None:
        """Send one more token, or the end."""
        if self._left == 0:
            self.over = True
            self._transport.write(_PACED_END)
            return
        self._left -= 1
        self._transport.write(self._before + b"%0*d" % (STAMP_DIGITS, time.monotonic_ns()) + self._after)

    def closed(self) -> None:
        if self._name and not self.over:
            say({"closed": self._name, "at": time.monotonic_ns()})
        self.over = True


def _pace(streams: Sequence[_Paced], at: float) -> None:
    """Send the next token of streams of one rate at that time, and so on until all are over."""
    asyncio.get_running_loop().call_at(at, _beat, streams, at)


def _beat(streams: Sequence[_Paced], at: float) -> None:
    for stream in streams:
        if not stream.over:
            stream.next()
    if left := [stream for stream in streams if not stream.over]:
        _pace(left, at + 1 / left[0].rate)


class Connection(asyncio.Protocol):
    """Takes requests apart; a server says how to `answer` them."""

    def __init__(self) -> None:
        self._received = b""
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            head, end, rest = self._received.partition(b"\r\n\r\n")
            length = _LENGTH.search(head)
            size = int(length[1]) if length is not None else 0
            if not end or len(rest) < size:
                return
            self._received = rest[size:]
            self.answer(head.split(b" ", 2)[1].decode(), rest[:size])

    def answer(self, path: str, body: bytes) -> None:
        raise NotImplementedError


class _Connection(Connection):
    def __init__(self, waiting: list[_Paced]) -> None:
        super().__init__()
        self._waiting = waiting
        self._blocks: Iterator[bytes] = iter(())
        self._paused = False
        self._stream: _Paced | None = None

    def eof_received(self) -> None:
        if self._stream is not None:
            self._stream.closed()

    def connection_lost(self, exc: Exception | None) -> None:
        self._blocks = iter(())
        self.eof_received()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pump()

    def answer(self, path: str, body: bytes) -> None:
        match path.split("/")[1].split("."):
            case ["bulk", name, chunks, per_block]:
                self._send(_bulk(name, int(chunks), int(per_block)))
            case ["huge", size]:
                self._send(_huge(int(size)))
            case ["whole"]:
                self.transport.write(_whole())
            case ["embeddings"]:
                self.transport.write(_vectors("base64" if _BASE64.search(body) else "float"))
            case ["paced", chunks, rate]:
                self._start(_Paced(self.transport, "", int(chunks), int(rate)), "go")
            case ["relayed"] if found := _QUESTION.search(body):
                asked, start = found[1].decode(), found[2].decode()
                self._start(_Paced(self.transport, asked, *map(int, found.groups()[2:])), start)
                say({"asked": asked})
            case _:
                self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    def _send(self, blocks: Sequence[bytes]) -> None:
        self._blocks = iter(blocks)
        self._pump()

    def _pump(self) -> None:
        while not self._paused:
            block = next(self._blocks, None)
            if block is None:
                return
            self.transport.write(block)

    def _start(self, stream: _Paced, start: str) -> None:
        self._stream = stream
        if start != "never":
            stream.next()
        if start == "go":
            self._waiting.append(stream)
        elif start == "now":
            _pace([stream], asyncio.get_running_loop().time() + 1 / stream.rate)


async def serve() -> None:
    """Serve on a port, which is the first word; at each word of the parent, streams that wait go on."""
    loop = asyncio.get_running_loop()
    waiting: list[_Paced] = []
    listener = await loop.create_server(lambda: _Connection(waiting), "127.0.0.1", 0, backlog=4096)
    say(listener.sockets[0].getsockname()[1])
    async for _ in await heard():
        streams, now = waiting.copy(), loop.time()
        waiting.clear()
        for number in range(_SLOTS):
            if slot := streams[number::_SLOTS]:
                _pace(slot, now + (number + 1) / _SLOTS / slot[0].rate)


class Server(Child):
    """The server's process, and what it has said of relayed streams."""

    def __init__(self) -> None:
        super().__init__("server.serve")
        # name of a stream: when it was closed before its end
        self.closed: dict[str, int] = {}
        self._asked: set[str] = set()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        self._origin = f"http://127.0.0.1:{await self.hear()}"
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._listening.cancel()
        await asyncio.wait([self._listening])
        await super().__aexit__(*error)

    async def _listen(self) -> None:
        while True:
            said = await self.hear()
            async with self._news:
                if "asked" in said:
                    self._asked.add(said["asked"])
                else:
                    self.closed[said["closed"]] = said["at"]
                self._news.notify_all()

    def url(self, *wanted: str | float) -> str:
        """Return the base URL of what is wanted, such as `"huge", 65536`."""
        return f"{self._origin}/{'.'.join(map(str, wanted))}/v1"

    def go(self) -> None:
        """Start the streams that are waiting to be paced."""
        self.say("go")

    async def asked(self, name: str) -> None:
        """Wait until the relayed stream of that name was asked for."""
        async with self._news:
            await self._news.wait_for(lambda: name in self._asked)

    async def left(self, name: str, seconds: float) -> int | None:
        """Wait until the stream of that name was closed before its end, and say when; None: not within `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: name in self.closed)
        except TimeoutError:
            return None
        return self.closed[name]
