"""Sessions, connections, and how fast they are left."""

from __future__ import annotations

import asyncio
import gc
import ssl
import warnings
import weakref
from typing import Any

import aiohttp
import pytest
import trustme

from siliconflow_async import APIConnectionError, AsyncSiliconFlow, ClosedError, RetryPolicy
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, NO_WAIT, chunk, served

pytestmark = pytest.mark.anyio


def tls_pair() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


def test_one_client_serves_several_loops() -> None:
    """Several `asyncio.run()`s in a row work with one client, and each closes its session without a warning."""
    sessions: list[weakref.ref[Any]] = []
    with FakeSiliconFlow().threaded() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        client = AsyncSiliconFlow("k", base_url=server.base_url)

        async def ask() -> str | None:
            sessions.append(weakref.ref(client._pool.get(asyncio.get_running_loop()).session))
            return (await client.chat.completions.create(**ASK)).content

        answers = {asyncio.run(ask()) for _ in range(3)}
        gc.collect()
        assert len(answers) == 1
        assert len(server.requests) == 3
        assert server.wait_disconnected() is None
        assert all(ref() is None or ref().closed for ref in sessions)


def test_an_open_stream_ends_with_its_loop() -> None:
    """A stream that is open when the loop shuts down is aborted before its session is closed."""
    with FakeSiliconFlow().threaded() as server:
        client = AsyncSiliconFlow("k", base_url=server.base_url)
        server.raw([chunk("a"), Stall()])
        streams = []

        async def leave_open() -> None:
            streams.append(await client.chat.completions.create(stream=True, **ASK))

        asyncio.run(leave_open())
        assert streams[0].ended == "closed"
        server.wait_left_early()


@pytest.mark.parametrize("arrived", ["nothing", "half"])
async def test_aclose_ends_whole_answers_of_other_threads(arrived: str) -> None:
    """However much of them came: whoever waits gets a ClosedError in the loop that it belongs to."""
    body = b'{"choices":[{"index":0,"message":{"content":"all of it"},"finish_reason":"stop"}]}'
    at = len(body) // 2 if arrived == "half" else 0
    headers = {"content-type": "application/json"}
    async with served() as (server, client):
        steps: list[Any] = [body[:at], Stall(), body[at:]] if at else [body]
        server.raw(steps, before=[] if at else [Stall()], framing="length", headers=headers, times=None)
        asked = [asyncio.ensure_future(client.chat.completions.create(**ASK)) for _ in range(2)]
        await server.received(2)
        connector: Any = client._pool.get(asyncio.get_running_loop()).session.connector
        while at and not all(protocol.answered for protocol in connector._acquired):  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0)
        await asyncio.to_thread(lambda: asyncio.run(client.aclose()))
        for answer in asked:
            with pytest.raises(ClosedError):
                await asyncio.wait_for(answer, 5)
        with pytest.raises(ClosedError):
            await client.chat.completions.create(**ASK)
        assert len(server.requests) == 2


async def test_aclose_aborts_streams_of_other_threads() -> None:
    """Whoever waits in one gets a ClosedError in the loop that it belongs to, and the service is left."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        await anext(stream)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: asyncio.run(client.aclose()))
        with pytest.raises(ClosedError):
            await asyncio.wait_for(waiting, 5)
        assert (stream.ended, stream.partial.content) == ("closed", "a")
        await server.left_early()


async def test_a_client_that_is_dropped_unclosed_warns() -> None:
    """`__del__` only warns; the loop closes the session."""
    async with FakeSiliconFlow() as server:
        client = AsyncSiliconFlow("k", base_url=server.base_url)
        await client.chat.completions.create(**ASK)
        with pytest.warns(ResourceWarning, match="unclosed AsyncSiliconFlow"):
            del client
        await server.disconnected()


async def test_a_borrowed_session_is_used_and_never_closed() -> None:
    """`session=` stays its owner's."""
    async with FakeSiliconFlow() as server, aiohttp.ClientSession() as session:
        async with AsyncSiliconFlow("k", base_url=server.base_url, session=session) as client:
            await client.chat.completions.create(**ASK)
            async with client.chat.completions.stream(**ASK) as stream:
                assert (await stream.completion()).content
        assert not session.closed
        with pytest.raises(ClosedError):
            await client.chat.completions.create(**ASK)


async def test_a_closed_borrowed_session_is_named() -> None:
    """A session that its owner has closed is a ClosedError."""
    session = aiohttp.ClientSession()
    await session.close()
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:9", session=session) as client:
        with pytest.raises(ClosedError, match="session"):
            await client.chat.completions.create(**ASK)


async def test_a_stale_kept_alive_connection_is_replayed() -> None:
    """A server that drops a kept-alive connection costs nothing, retries or not."""
    heads: list[bytes] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readuntil(b"}]}")
        body = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        # Takes the next request of this connection, and drops it unanswered.
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncSiliconFlow("k", base_url=f"http://127.0.0.1:{port}", max_retries=0) as client:
            for _ in range(3):
                assert (await client.chat.completions.create(**ASK)).content == "x"
    assert len(heads) == 3


async def test_a_new_connection_that_breaks_is_not_replayed() -> None:
    """A fresh connection that is dropped unanswered is an error, sent once."""
    heads = []

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with AsyncSiliconFlow("k", base_url=f"http://127.0.0.1:{port}", max_retries=0) as client:
            with pytest.raises(APIConnectionError):
                await client.chat.completions.create(**ASK)
    assert len(heads) == 1


@pytest.mark.parametrize("trusted", [False, True])
async def test_tls_is_verified(trusted: bool) -> None:
    """An unknown authority is refused at once, and so is a certificate for another name."""
    server_tls, client_tls = tls_pair()
    # In a thread: a handshake that the client breaks off is reported to the server's loop.
    with FakeSiliconFlow(ssl=server_tls).threaded() as server:
        base_url = server.base_url.replace("127.0.0.1", "localhost") if trusted else server.base_url
        options: Any = {"ssl": client_tls} if trusted else {}
        async with AsyncSiliconFlow("k", base_url=base_url, retry=NO_WAIT, **options) as client:
            with pytest.raises(APIConnectionError, match=r"(?i)certificate") as caught:
                await client.chat.completions.create(**ASK)
        assert caught.value.attempts == 1
        assert server.requests == []


async def test_nobody_listening_is_retried_and_then_told() -> None:
    """A refused connection is an APIConnectionError after `max_attempts` and the one more."""
    policy = RetryPolicy(max_attempts=3, base=0.0)
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:1", retry=policy) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.completions.create(**ASK)
    assert (caught.value.attempts, caught.value.stage) == (4, "connect")
    assert isinstance(caught.value.__cause__, aiohttp.ClientError)


async def test_a_cancelled_opening_leaves_the_server() -> None:
    """Cancelling a call that waits for its answer closes the connection."""
    async with served() as (server, client):
        server.raw([], before=[Stall()])
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await server.received()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await server.left_early()
