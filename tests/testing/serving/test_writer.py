from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme

from siliconflow_async.testing import (
    FakeSiliconFlow,
    Fin,
    Gate,
    Pause,
    Rst,
    Stall,
    Trickle,
    Until,
    stream_events,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..conftest import Client

    Connect = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

pytestmark = pytest.mark.anyio

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"


async def body_after(reader: asyncio.StreamReader) -> bytes:
    """Skip the head of an answer, and read on to its end."""
    await reader.readuntil(b"\r\n\r\n")
    return await reader.read()


async def test_each_bytes_step_is_one_chunk(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([b"one", b"", b"three"], headers={"connection": "close"})
    reader, _ = await connect(REQUEST.replace(b"host", b"connection: close\r\nhost"))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    assert head.startswith(b"http/1.1 200 ok\r\n")
    assert b"\r\ncontent-type: text/event-stream; charset=utf-8\r\n" in head
    assert b"\r\ntransfer-encoding: chunked\r\n" in head
    assert b"\r\nx-siliconcloud-trace-id: ti_" in head
    assert await reader.read() == b"3\r\none\r\n5\r\nthree\r\n0\r\n\r\n"


async def test_a_body_of_known_length_keeps_the_connection(server: FakeSiliconFlow, client: Client) -> None:
    server.raw([b"one", Trickle(b"two", 2)], framing="length", status=201, times=2)
    for _ in range(2):
        async with client.post() as response:
            assert response.status == 201
            assert response.headers["content-length"] == "6"
            assert await response.read() == b"onetwo"
    assert server.connections.accepted == 1


async def test_a_wrong_length_can_be_claimed(server: FakeSiliconFlow, client: Client) -> None:
    server.raw([b"one", Fin()], framing="length", headers={"Content-Length": "5"})
    async with client.post() as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_body_may_end_with_its_connection(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([b"one", b"two"], framing="close")
    reader, _ = await connect(REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert b"content-length" not in head
    assert await reader.read() == b"onetwo"


async def test_a_verbatim_answer_is_sent_as_it_is(server: FakeSiliconFlow, connect: Connect) -> None:
    answer = b"HTTP/1.1 299 Odd\r\ncontent-length: 1\r\n\r\nx"
    server.raw([answer], framing="verbatim")
    server.raw([answer, Fin()], framing="verbatim")
    reader, writer = await connect(REQUEST)
    assert await reader.readexactly(len(answer)) == answer
    writer.write(REQUEST)
    assert await reader.read() == answer
    assert server.connections.accepted == 1


async def test_default_headers_can_be_replaced_and_left_out(server: FakeSiliconFlow, client: Client) -> None:
    server.raw([b"x"], headers={"Content-Type": "text/plain"})
    server.raw([b"x"], headers={"Content-Type": None})
    async with client.post() as response:
        assert response.headers["content-type"] == "text/plain"
    async with client.post() as response:
        assert "content-type" not in response.headers


async def test_fin_cuts_the_body_off(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([b"one", Fin(), b"never"])
    reader, _ = await connect(REQUEST)
    assert await body_after(reader) == b"3\r\none\r\n"
    await server.disconnected()
    (request,) = server.requests
    assert request.cut
    assert request.ended
    assert not request.left_early
    assert not request.completed


async def test_rst_comes_after_all_bytes_before_it(server: FakeSiliconFlow, connect: Connect) -> None:
    data = b"x" * 3_000_000
    server.raw([data, Rst()], framing="close")
    reader, _ = await connect(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    with pytest.raises(ConnectionResetError):
        await reader.read()
    assert server.requests[0].cut
    assert server.requests[0].bytes_sent > len(data)


@pytest.mark.parametrize("cut", [Fin(), Rst()])
async def test_a_cut_may_come_before_the_headers(server: FakeSiliconFlow, client: Client, cut: Fin | Rst) -> None:
    server.reply("a", before=[cut])
    with pytest.raises(aiohttp.ClientConnectionError):
        await client.ask()
    assert server.requests[0].cut
    assert server.requests[0].bytes_sent == 0


async def test_nothing_is_sent_until_the_test_says_so(server: FakeSiliconFlow, client: Client) -> None:
    headers, last_chunk = asyncio.Event(), Gate()
    server.raw([b"body", Until(last_chunk)], before=[Until(headers)])
    answer = asyncio.create_task(client.session.post(client.url))
    assert (await server.received()).bytes_sent == 0
    headers.set()
    async with await answer as response:
        assert await response.content.readany() == b"body"
        assert not response.content.is_eof()
        last_chunk.set()
        assert await response.content.read() == b""
    assert response.content.is_eof()


async def test_a_pause_waits_and_a_trickle_sends_piece_by_piece(server: FakeSiliconFlow, connect: Connect) -> None:
    loop = asyncio.get_running_loop()
    server.raw([Trickle(b"abcde", 2, 0.001), Pause(0.02)], headers={"connection": "close"})
    begun = loop.time()
    reader, _ = await connect(REQUEST.replace(b"host", b"connection: close\r\nhost"))
    assert await body_after(reader) == b"2\r\nab\r\n2\r\ncd\r\n1\r\ne\r\n0\r\n\r\n"
    assert loop.time() - begun >= 0.02


async def test_events_of_a_reply_can_be_cut_anywhere(server: FakeSiliconFlow, client: Client) -> None:
    server.raw([*stream_events(["a", "b", "c"])[:3], Fin()])
    async with client.post() as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_paced_reply_takes_its_time(server: FakeSiliconFlow, client: Client) -> None:
    loop = asyncio.get_running_loop()
    server.reply(["a"] * 5, pause=0.005)
    begun = loop.time()
    await client.chunks()
    assert loop.time() - begun >= 0.035 - loop_resolution()
    server.reply(["a"] * 5, pause=0.005)
    begun = loop.time()
    await client.whole()
    assert loop.time() - begun >= 0.025 - loop_resolution()


def loop_resolution() -> float:
    import time

    return 2 * time.get_clock_info("monotonic").resolution + 0.001


async def test_a_slow_reader_holds_the_server_back(server: FakeSiliconFlow, connect: Connect) -> None:
    size = 1 << 16
    server.raw([b"x" * size] * 1000)
    reader, writer = await connect(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    assert 0 < server.requests[0].bytes_sent < 1000 * size
    writer.transport.abort()
    assert (await server.left_early()).bytes_sent < 1000 * size


async def test_a_client_that_goes_while_much_is_sent_has_left_early(server: FakeSiliconFlow, connect: Connect) -> None:
    gate = Gate()
    server.raw([Until(gate), *[b"x"] * 1000])
    reader, writer = await connect(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    gate.set()
    writer.transport.abort()
    assert not (await server.left_early()).completed


@pytest.mark.parametrize("late", [False, True], ids=["script", "reply behind its pace"])
async def test_a_long_answer_gives_the_loop_turns(server: FakeSiliconFlow, connect: Connect, late: bool) -> None:
    """A client in the same loop reads while it is sent, and its leaving is noticed before the end."""
    pieces = 10_000
    if late:
        server.reply(["x"] * pieces, usage_on="never", pause=1e-9)
    else:
        server.raw([b"x"] * pieces)
    reader, writer = await connect(REQUEST.replace(b"2\r\n\r\n{}", b"15\r\n\r\n" + b'{"stream":true}'))
    await reader.readuntil(b"\r\n\r\n")
    writer.transport.abort()
    left = await asyncio.wait_for(server.left_early(), 5)
    assert not left.completed


async def test_a_reply_streams_to_an_http_1_0_client(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([b"one"])
    reader, _ = await connect(b"POST / HTTP/1.0\r\ncontent-length: 0\r\n\r\n")
    assert await body_after(reader) == b"one"


async def test_an_expected_100_is_sent(server: FakeSiliconFlow, connect: Connect) -> None:
    server.fail(500, b"")
    reader, writer = await connect(b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"x")
    assert (await reader.readline()).startswith(b"HTTP/1.1 500")
    assert server.requests[0].body == b"x"


async def test_a_body_that_cannot_be_read_is_a_bad_request(connect: Connect) -> None:
    head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc"
    reader, _ = await connect(head)
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    assert (await reader.read()).endswith(b"}")


async def test_a_body_over_the_limit_is_too_large(session: aiohttp.ClientSession) -> None:
    async with (
        FakeSiliconFlow(max_body_size=10) as server,
        session.post(f"{server.base_url}/chat/completions", data=b"x" * 11) as response,
    ):
        assert response.status == 413
        assert (await response.json())["code"] == 20043


@pytest.fixture
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("cut", [Fin(), Rst()])
async def test_cuts_and_leaving_work_over_tls(
    session: aiohttp.ClientSession, contexts: tuple[ssl.SSLContext, ssl.SSLContext], cut: Any
) -> None:
    ours, theirs = contexts
    async with FakeSiliconFlow(ssl=ours) as server:
        assert server.base_url.startswith("https://")
        server.raw([b"data", cut])
        async with session.post(server.base_url, ssl=theirs) as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        server.raw([b"data", Stall()])
        response = await session.post(server.base_url, ssl=theirs)
        assert await response.content.readany() == b"data"
        response.close()
        assert (await server.left_early()).connection == 2
