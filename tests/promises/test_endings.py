"""Slow consumers: whatever ends the stream meanwhile, all that had reached this machine comes out before the error."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    ContentDelta,
    EventTooLargeError,
    MalformedStreamError,
    StreamAPIError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst, Stall, Until

from ..asking import ASK, DONE, chunk, served
from ..connection import reading_pauses
from .fault_proxy import Cut, FaultProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

TEXTS = [f"<{n}>" for n in range(300)]
EVENTS = [chunk(text) for text in TEXTS]
LIMIT = 0.3


async def texts_of(stream: Any) -> AsyncIterator[str]:
    async for c in stream:
        yield c.content or ""


async def read_on(stream: Any, chunks: list[Any], *, slow: bool = True) -> None:
    """Append every chunk; if slow, with a turn of the loop after each."""
    async for c in stream:
        chunks.append(c)
        if slow:
            await asyncio.sleep(0)


async def deltas_of(stream: Any) -> AsyncIterator[str]:
    async for event in stream.events():
        if isinstance(event, ContentDelta):
            yield event.text


READERS: dict[str, Callable[[Any], AsyncIterator[str]]] = {
    "chunks": texts_of,
    "text": lambda stream: stream.text(),
    "events": deltas_of,
}


@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize(
    ("steps", "ended", "error"),
    [
        ([Fin()], "truncated", TruncatedStreamError),
        ([Rst()], "truncated", TruncatedStreamError),
        ([b'data: {"error": {"message": "no", "code": 50505}}\n\n', Stall()], "error", StreamAPIError),
        ([b"data: {nonsense\n\n", Stall()], "malformed", MalformedStreamError),
        ([b"data: " + b"x" * 5000, Stall()], "too_large", EventTooLargeError),
        ([Stall()], "timeout", APITimeoutError),
        ([chunk("", finish="stop"), Rst()], "finish", None),
        ([DONE, Rst()], "done", None),
    ],
)
async def test_a_slow_consumer_gets_all_of_it(how: str, steps: list[Any], ended: str, error: type | None) -> None:
    """All events, in order, then the ending, and `partial` is all of it, whichever way the stream is read."""
    async with served(max_event_size=4096) as (server, client):
        rest, ending = asyncio.Event(), asyncio.Event()
        server.raw([EVENTS[0], Until(rest), b"".join(EVENTS[1:]), Until(ending), *steps])
        timeout = LIMIT if ended == "timeout" else None
        async with client.chat.completions.stream(**ASK, timeout=timeout) as stream:
            seen: list[str] = []
            caught: Exception | None = None
            try:
                async for text in READERS[how](stream):
                    seen.append(text)
                    if len(seen) == 1:
                        rest.set()
                        # A reset may take unread bytes with it: let the loop read first.
                        for _ in range(20):
                            await asyncio.sleep(0)
                        ending.set()
                        # Staying away while the stream ends is what is tested.
                        await asyncio.sleep(LIMIT * 1.5 if ended == "timeout" else 0.01)
                        assert stream.ended is None
            except Exception as exc:
                caught = exc
            assert [text for text in seen if text] == TEXTS
            assert stream.ended == ended
            assert stream.partial.content == "".join(TEXTS)
            assert type(caught) is (error or type(None))
            if caught is not None:
                assert caught.partial.content == "".join(TEXTS)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_cut_in_mid_event_loses_only_that_event(reset: bool) -> None:
    """With the consumer away, a break inside an event leaves every whole one before it."""
    async with FakeSiliconFlow() as server:
        body = b"".join(EVENTS)
        head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: %d\r\n\r\n" % len(body)
        whole = 200
        after = len(head) + len(b"".join(EVENTS[:whole])) + 30
        server.raw([head + body], framing="verbatim")
        async with (
            FaultProxy(server, Cut(after, reset)) as proxy,
            AsyncSiliconFlow("k", base_url=proxy.base_url, max_retries=0) as client,
            client.chat.completions.stream(**ASK) as stream,
        ):
            await proxy.links[0].struck.wait()
            chunks: list[Any] = []
            with pytest.raises(TruncatedStreamError) as caught:
                await read_on(stream, chunks)
            assert [c.content for c in chunks] == TEXTS[:whole]
            assert stream.ended == "truncated"
            assert caught.value.partial is not None
            assert caught.value.partial.content == "".join(TEXTS[:whole])


# A little beyond what aiohttp holds before it pauses its transport: the rest waits in the kernel, which has room.
BIG = [chunk(f"<{n}>" + "x" * 8000) for n in range(90)]


class Flood:
    """A server that sends a stream of `BIG` events at once, and knows when all of it reached the client's kernel."""

    def __init__(self) -> None:
        self.base_url = ""
        self.end = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def arrived(self) -> None:
        """Wait until the client's kernel has acknowledged every byte."""
        while not self._is_acknowledged():  # noqa: ASYNC110 - the kernel has no event for it
            await asyncio.sleep(0.001)

    def _is_acknowledged(self) -> bool:
        if self._writer is None or self._writer.transport.get_write_buffer_size():
            return False
        sock: socket.socket = self._writer.get_extra_info("socket")
        (count,) = struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
        return not count

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in BIG))
        self._writer = writer
        await self.end.wait()
        writer.close()


@asynccontextmanager
async def flooded(**options: Any) -> AsyncIterator[tuple[Flood, AsyncSiliconFlow]]:
    """A client on a `Flood`, which closes its connection when `end` is set."""
    flood = Flood()
    server = await asyncio.start_server(flood.serve, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            async with AsyncSiliconFlow("k", base_url=base_url, max_retries=0, **options) as client:
                yield flood, client
        finally:
            flood.end.set()


def numbers(chunks: list[Any]) -> list[int]:
    return [int(c.content[1 : c.content.index(">")]) for c in chunks]


async def test_a_break_behind_a_paused_reader_comes_last() -> None:
    """Bytes that wait in the kernel, because the consumer was slow, are delivered before the FIN is noticed."""
    async with flooded() as (flood, client), client.chat.completions.stream(**ASK) as stream:
        chunks = [await anext(stream)]
        await asyncio.wait_for(flood.arrived(), 5)
        await reading_pauses(client)
        flood.end.set()
        with pytest.raises(TruncatedStreamError) as caught:
            await read_on(stream, chunks)
        assert numbers(chunks) == list(range(len(BIG)))
        assert stream.ended == "truncated"
        assert caught.value.partial is not None
        assert caught.value.partial.content == "".join(c.content or "" for c in chunks)


@pytest.mark.parametrize("slow", [False, True], ids=["then fast", "then slow"])
async def test_a_clock_behind_a_paused_reader_comes_last(slow: bool) -> None:
    """When total ran out while bytes waited in the kernel, they are delivered before the timeout."""
    async with flooded() as (flood, client), client.chat.completions.stream(**ASK, timeout=LIMIT) as stream:
        chunks = [await anext(stream)]
        await asyncio.wait_for(flood.arrived(), 5)
        await reading_pauses(client)
        # The consumer stays away until total has run out.
        await asyncio.sleep(LIMIT * 1.5)
        with pytest.raises(APITimeoutError) as caught:
            await read_on(stream, chunks, slow=slow)
        assert caught.value.clock == "total"
        assert numbers(chunks) == list(range(len(BIG)))
        assert stream.ended == "timeout"
        assert caught.value.partial is not None
        assert caught.value.partial.content == "".join(c.content or "" for c in chunks)


async def test_an_expired_clock_ends_an_endless_stream() -> None:
    """A server that never stops sending does not keep a stream alive beyond its total."""
    async with served() as (server, client):
        server.raw([chunk("x" * 8000)] * 100_000)
        async with client.chat.completions.stream(**ASK, timeout=LIMIT) as stream:
            chunks: list[Any] = []
            with pytest.raises(APITimeoutError):
                await read_on(stream, chunks, slow=False)
            assert stream.ended == "timeout"
            assert 0 < len(chunks) < 100_000


async def test_idle_does_not_fire_on_a_slow_consumer() -> None:
    """The idle clock measures the server: a consumer that stays away longer than that is safe."""
    async with flooded(timeouts=Timeouts(idle=0.1)) as (flood, client), client.chat.completions.stream(**ASK) as stream:
        chunks = [await anext(stream)]
        await asyncio.wait_for(flood.arrived(), 5)
        # Staying away is what is tested.
        await asyncio.sleep(0.2)
        chunks += [await anext(stream) for _ in range(len(BIG) - 1)]
        assert numbers(chunks) == list(range(len(BIG)))
        with pytest.raises(APITimeoutError) as caught:
            await anext(stream)
        assert caught.value.clock == "idle"
