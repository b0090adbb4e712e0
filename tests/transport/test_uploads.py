"""Large requests: the clocks while they are being sent, and what an error says of how far they came."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from siliconflow_async import APITimeoutError, AsyncSiliconFlow, PayloadTooLargeError, Timeouts

from ..asking import ASK, NO_WAIT
from ..tls import AUTHORITY, HOST, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

TLS = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])

SIZE = 4 * 1024 * 1024
LARGE: dict[str, Any] = {**ASK, "messages": [{"role": "user", "content": "x" * SIZE}]}
BODY = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY
REFUSAL = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno"


class Uplink:
    """A service at the end of a narrow line: it takes `piece` bytes at a time, a hundred times a second, up to `most`.

    Then it writes `answer`, closes if that is told, and takes no more. `taken` is how much each request came to.
    """

    def __init__(
        self, *, piece: int = 1 << 20, most: int = 1 << 60, answer: bytes = ANSWER, close: bool = False
    ) -> None:
        self.taken: list[int] = []
        self._piece, self._most, self._answer, self._close = piece, most, answer, close

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                assert length is not None
                left = min(int(length[1]), self._most)
                self.taken.append(0)
                while left > 0:
                    data = await reader.read(min(left, self._piece))
                    assert data
                    left -= len(data)
                    self.taken[-1] += len(data)
                    if self._piece < 1 << 20:
                        await asyncio.sleep(0.01)
                writer.write(self._answer)
                if self._close:
                    break
                if self._most < 1 << 60:
                    await asyncio.get_running_loop().create_future()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def uplink(
    *, tls: bool, timeouts: Timeouts, session: Any = None, **how: Any
) -> AsyncIterator[tuple[Uplink, AsyncSiliconFlow]]:
    service = Uplink(**how)
    listener = socket.create_server((HOST, 0))
    # Inherited by each connection: the system itself takes no more in advance.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
    context = speaking_tls(AUTHORITY.issue_cert(HOST)) if tls else None
    tasks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.ensure_future(service.serve(reader, writer)))

    async with await asyncio.start_server(accept, sock=listener, ssl=context, limit=16 * 1024):
        base_url = f"http{'s' if tls else ''}://{HOST}:{listener.getsockname()[1]}"
        options: dict[str, Any] = {"session": session} if session is not None else {"ssl": trusting()}
        async with AsyncSiliconFlow("k", base_url=base_url, retry=NO_WAIT, timeouts=timeouts, **options) as client:
            yield service, client
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def send(client: AsyncSiliconFlow, *, streaming: bool) -> int:
    """Send a large request, and return how many attempts it took."""
    async with asyncio.timeout(20):
        if not streaming:
            return (await client.chat.completions.create(**LARGE)).timing.attempts
        async with client.chat.completions.stream(**LARGE) as stream:
            return (await stream.completion()).timing.attempts


@TLS
@STREAMING
async def test_sending_may_take_longer_than_the_clocks(streaming: bool, tls: bool) -> None:
    """While bytes go out, neither the first token's clock nor the idle one ends an upload of a second."""
    timeouts = Timeouts(first_token=0.5, idle=0.5)
    async with uplink(tls=tls, timeouts=timeouts, piece=40_000) as (service, client):
        assert await send(client, streaming=streaming) == 1
    assert len(service.taken) == 1
    assert service.taken[0] > SIZE


@TLS
@STREAMING
async def test_an_upload_that_stops_ends_by_the_idle_clock_once(streaming: bool, tls: bool) -> None:
    """The error says that the request was being sent and how far it came, and is not repeated."""
    async with uplink(tls=tls, timeouts=Timeouts(idle=0.3), most=1_000_000, answer=b"") as (service, client):
        with pytest.raises(APITimeoutError) as caught:
            await send(client, streaming=streaming)
    error = caught.value
    assert (error.clock, error.seconds, error.attempts) == ("idle", 0.3, 1)
    told = re.fullmatch(
        r"the idle limit of 0.3 s ran out while (\d+) of (\d+) bytes of the request had been sent", str(error)
    )
    assert told is not None
    # The rest lies with either system and in TLS: not megabytes, for which a slow line takes minutes.
    assert service.taken[0] <= int(told[1]) <= service.taken[0] + 1_000_000
    assert int(told[2]) > SIZE
    assert len(service.taken) == 1


async def test_the_total_clock_says_so_too() -> None:
    """Whichever clock ends an upload, the error tells how far it came."""
    async with uplink(tls=False, timeouts=Timeouts(total=0.3), most=1_000_000, answer=b"") as (_, client):
        with pytest.raises(APITimeoutError, match="bytes of the request had been sent") as caught:
            await send(client, streaming=True)
    assert (caught.value.clock, caught.value.attempts) == ("total", 1)


async def test_the_first_token_is_waited_for_from_the_last_byte_on() -> None:
    """An upload of a second leaves a model all the time of its clock; what is silent then is asked again."""
    timeouts = Timeouts(first_token=0.3)
    async with uplink(tls=False, timeouts=timeouts, piece=40_000, answer=b"") as (service, client):
        with pytest.raises(APITimeoutError) as caught:
            await send(client.with_options(max_retries=1), streaming=True)
    assert (caught.value.clock, caught.value.attempts) == ("first_token", 2)
    assert str(caught.value) == "the first_token limit of 0.3 s ran out"
    assert min(service.taken) > SIZE


@TLS
@pytest.mark.parametrize("close", [False, True], ids=["open", "closed"])
async def test_an_answer_amid_the_upload_is_seen_at_once(close: bool, tls: bool) -> None:
    """Who refuses a request before it has been sent need not take the rest."""
    timeouts = Timeouts(first_token=5, idle=5)
    async with uplink(tls=tls, timeouts=timeouts, most=100_000, answer=REFUSAL, close=close) as (service, client):
        with pytest.raises(PayloadTooLargeError) as caught:
            await send(client, streaming=True)
    assert caught.value.attempts == len(service.taken) == 1


@STREAMING
async def test_a_borrowed_session_sends_alike(streaming: bool) -> None:
    """Its connector tells nothing, the body itself does."""
    async with aiohttp.ClientSession() as session:
        timeouts = Timeouts(first_token=0.5, idle=0.5)
        async with uplink(tls=False, timeouts=timeouts, piece=40_000, session=session) as (_, client):
            assert await send(client, streaming=streaming) == 1
        async with uplink(tls=False, timeouts=timeouts, most=1_000_000, answer=b"", session=session) as (_, client):
            with pytest.raises(APITimeoutError) as caught:
                await send(client, streaming=streaming)
        assert caught.value.clock == "idle"


@TLS
async def test_a_call_cancelled_amid_its_upload_leaves_nothing(tls: bool) -> None:
    """The connection goes, and so does the task that was writing."""
    async with uplink(tls=tls, timeouts=Timeouts(), most=1_000_000, answer=b"") as (service, client):
        others = asyncio.all_tasks()
        call = asyncio.ensure_future(send(client, streaming=True))
        async with asyncio.timeout(10):
            while service.taken != [1_000_000]:  # noqa: ASYNC110  # a turn of the loop, until the line is full
                await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        connector = client._pool.get(asyncio.get_running_loop()).session.connector
        assert connector is not None
        assert not connector._acquired
        await asyncio.sleep(0)
        # But for the one that serves the connection.
        assert len(asyncio.all_tasks() - others) <= 1
