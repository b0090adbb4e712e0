from __future__ import annotations

import asyncio
import gc
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp
import pytest

from siliconflow_async.testing import FakeSiliconFlow, Fin, Gate, Pause, RecordedRequest, Stall, Until

from .conftest import Client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Connect = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]

pytestmark = pytest.mark.anyio

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}"
LINGER = struct.pack("ii", 1, 0)


async def test_a_request_is_recorded_as_it_came(server: FakeSiliconFlow, client: Client) -> None:
    headers = {"X-Custom": "é"}
    async with client.post({"a": "é"}, params={"q": "1"}, headers=headers) as response:
        await response.read()
    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == "/v1/chat/completions"
    assert request.query == {"q": "1"}
    assert request.headers["x-custom"] == "é"
    assert request.headers["Authorization"] == "Bearer key"
    assert request.json == {"a": "é"}
    assert request.status == 400
    assert request.completed
    assert request.trace_id == response.headers["x-siliconcloud-trace-id"]
    assert request.ended_at is not None
    assert request.ended_at >= request.received_at


async def test_connections_are_counted(server: FakeSiliconFlow, client: Client, connect: Connect) -> None:
    for _ in range(3):
        await client.whole()
    assert server.connections == (1, 1)
    reader, writer = await connect(REQUEST)
    await reader.readline()
    assert server.connections == (2, 2)
    assert [request.connection for request in server.requests] == [1, 1, 1, 2]
    ports = [request.peer_port for request in server.requests]
    assert ports[0] == ports[1] != ports[3] == writer.get_extra_info("sockname")[1]
    writer.close()
    await client.session.close()
    await server.disconnected()
    assert server.connections == (2, 0)


@pytest.mark.parametrize("by", ["FIN", "RST"])
@pytest.mark.parametrize("where", ["before the headers", "in a stall", "in a pause", "in an until"])
async def test_a_client_that_leaves_early_is_noticed(
    server: FakeSiliconFlow, connect: Connect, by: str, where: str
) -> None:
    match where:
        case "before the headers":
            server.reply("a", before=[Stall()])
        case "in a stall":
            server.raw([b"x", Stall()])
        case "in a pause":
            server.raw([b"x", Pause(60)])
        case _:
            server.raw([b"x", Until(Gate())])
    reader, writer = await connect(REQUEST)
    request = await server.received()
    if where != "before the headers":
        assert await reader.readuntil(b"x\r\n")
    if by == "RST":
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
    writer.transport.abort()
    assert await server.left_early() is request
    assert request.left_early
    assert request.ended
    assert not request.completed
    assert (request.status is None) == (where == "before the headers")


async def test_a_client_that_leaves_in_its_own_request_is_noticed(server: FakeSiliconFlow, connect: Connect) -> None:
    _, writer = await connect(REQUEST.replace(b"expect", b"").replace(b"length: 2", b"length: 9"))
    await connect(REQUEST)
    await server.received()
    writer.transport.abort()
    assert (await server.left_early()).body == b""
    assert len(server.requests) == 1


async def test_a_client_that_leaves_after_the_answer_is_not_early(server: FakeSiliconFlow, client: Client) -> None:
    await client.chunks()
    await client.session.close()
    await server.disconnected()
    with pytest.raises(TimeoutError):
        server.wait_left_early(timeout=0)
    assert server.requests[0].completed


async def test_the_waits_count(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([Stall()], times=None)
    writers = []
    for count in (1, 2, 3):
        writers.append((await connect(REQUEST))[1])
        assert (await server.received(count)).connection == count
    for count, writer in enumerate(writers, 1):
        writer.close()
        assert (await server.left_early(count)).connection == count
    assert (await server.left_early(1)).connection == 1


async def test_reset_forgets_the_script_and_the_record(server: FakeSiliconFlow, client: Client) -> None:
    server.raw([b"x", Stall()])
    response = await client.post()
    server.fail(500)
    server.reset()
    assert server.script == []
    assert server.requests == []
    assert server.connections == (0, 1)
    response.close()
    await server.disconnected()
    with pytest.raises(TimeoutError):
        server.wait_left_early(timeout=0)
    await client.whole()
    assert (await server.received()).completed


async def test_only_the_latest_requests_are_kept(session: aiohttp.ClientSession) -> None:
    async with FakeSiliconFlow(keep=2) as server:
        for path in "abc":
            async with session.get(f"{server.base_url}/{path}"):
                pass
        assert [request.path for request in server.requests] == ["/v1/b", "/v1/c"]
        assert (await server.received(3)).path == "/v1/c"
        with pytest.raises(LookupError, match="no longer kept"):
            await server.received(1)


@pytest.mark.parametrize(
    "request_bytes",
    [b"", b"POST /v1", REQUEST[:-1], REQUEST],
    ids=["connected", "in the head", "in the body", "stalled"],
)
async def test_closing_does_not_wait_for_clients(request_bytes: bytes) -> None:
    loop = asyncio.get_running_loop()
    server = FakeSiliconFlow()
    server.raw([Stall()], times=None)
    before = asyncio.all_tasks()
    async with server:
        port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        second = await asyncio.open_connection("127.0.0.1", port)
        second[1].write(REQUEST)
        await server.received()
        begun = loop.time()
    assert loop.time() - begun < 1
    assert asyncio.all_tasks() == before
    assert server.connections.open == 0
    await reader.read()
    for each in (writer, second[1]):
        each.close()
    await server.aclose()


@pytest.mark.parametrize("turns", range(6))
async def test_closing_ends_a_connection_that_was_just_made(turns: int) -> None:
    """Accepted or not, at whichever turn of the loop; its client is told at once and not when garbage is collected."""
    server = FakeSiliconFlow()
    await server.start()
    port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
    with socket.socket() as peer:
        peer.connect(("127.0.0.1", port))
        peer.setblocking(False)
        gc.disable()
        try:
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.aclose()
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(peer, 1), 5) == b""
        finally:
            gc.enable()


async def test_closing_does_not_wait_for_a_client_that_does_not_read() -> None:
    async with FakeSiliconFlow() as server:
        server.raw([b"x" * 10_000_000])
        port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(REQUEST)
        await server.received()
    assert server.connections.open == 0
    writer.close()


async def test_a_wait_that_can_no_longer_come_true_fails() -> None:
    async with FakeSiliconFlow() as server:
        wait = asyncio.create_task(server.left_early())
        await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="has closed"):
        await wait


async def test_it_listens_where_it_is_told() -> None:
    async with FakeSiliconFlow() as first:
        port = int(first.base_url.removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(OSError, match="in use"):
            await FakeSiliconFlow(port=port).start()
        with pytest.raises(RuntimeError, match="started once"):
            await first.start()
    async with FakeSiliconFlow(host="0.0.0.0", port=port) as second:
        assert second.base_url == f"http://127.0.0.1:{port}/v1"
        assert repr(second) == f"<FakeSiliconFlow http://127.0.0.1:{port}/v1>"
    assert repr(second) == "<FakeSiliconFlow closed>"


def test_there_is_no_url_before_the_start() -> None:
    server = FakeSiliconFlow()
    assert repr(server) == "<FakeSiliconFlow not started>"
    with pytest.raises(RuntimeError, match="has not started"):
        _ = server.base_url


def test_a_pace_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="tokens_per_second"):
        FakeSiliconFlow(tokens_per_second=0)


async def test_the_pace_of_the_server_holds_for_every_answer(session: aiohttp.ClientSession) -> None:
    loop = asyncio.get_running_loop()
    async with FakeSiliconFlow(tokens_per_second=200) as server:
        server.reply(["a"] * 5)
        begun = loop.time()
        async with session.post(server.base_url, json={"stream": True}) as response:
            await response.read()
    assert loop.time() - begun >= 0.034


async def test_requests_on_one_connection_may_be_pipelined(server: FakeSiliconFlow, connect: Connect) -> None:
    server.raw([b"a"], framing="length")
    server.raw([b"b"], framing="close")
    reader, writer = await connect(REQUEST * 2)
    answers = await reader.read()
    assert answers.count(b"HTTP/1.1 200") == 2
    assert answers.endswith(b"b")
    writer.close()


async def test_a_delay_comes_before_every_answer(session: aiohttp.ClientSession) -> None:
    """Before a refusal too."""
    async with FakeSiliconFlow(delay=0.05) as server:
        client = Client(session, server)
        await client.whole()
        await client.error({})
        for request in server.requests:
            assert request.ended_at is not None
            assert request.ended_at - request.received_at >= 0.05


async def test_a_scripted_answer_stands_outside_of_the_delay(session: aiohttp.ClientSession) -> None:
    async with FakeSiliconFlow(delay=3600) as server, asyncio.timeout(30):
        server.reply("a")
        await Client(session, server).whole()


@pytest.mark.parametrize("delay", [-1, float("nan"), float("inf")])
def test_a_delay_that_cannot_be_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay must be seconds from 0"):
        FakeSiliconFlow(delay=delay)


class TestEnds:
    """`on_end` is told of each request once."""

    @pytest.fixture
    def ended(self) -> list[RecordedRequest]:
        return []

    @pytest.fixture
    async def server(self, ended: list[RecordedRequest]) -> AsyncIterator[FakeSiliconFlow]:
        async with FakeSiliconFlow(on_end=ended.append) as server:
            yield server

    async def test_of_answers_and_refusals(
        self, server: FakeSiliconFlow, client: Client, ended: list[RecordedRequest]
    ) -> None:
        await client.whole()
        await client.chunks()
        await client.error({})
        # The last bytes arrive before the server has told.
        await client.session.close()
        await server.disconnected()
        assert ended == server.requests
        assert [(request.status, request.completed) for request in ended] == [(200, True), (200, True), (400, True)]

    async def test_of_a_client_that_leaves(
        self, server: FakeSiliconFlow, connect: Connect, ended: list[RecordedRequest]
    ) -> None:
        server.raw([b"data: a\n\n", Stall()])
        reader, writer = await connect(REQUEST)
        await reader.readuntil(b"data: a\n\n")
        assert ended == []
        writer.transport.abort()
        await server.left_early()
        await server.disconnected()
        assert [request.left_early for request in ended] == [True]

    async def test_of_a_client_that_leaves_while_much_is_sent(
        self, server: FakeSiliconFlow, connect: Connect, ended: list[RecordedRequest]
    ) -> None:
        """Be it the writing or the reading that notices first."""
        server.raw([b"x" * 1000] * 100_000)
        reader, writer = await connect(REQUEST)
        await reader.readexactly(5000)
        writer.transport.abort()
        await server.left_early()
        await server.disconnected()
        assert [request.left_early for request in ended] == [True]

    async def test_of_an_answer_that_the_script_cuts(
        self, server: FakeSiliconFlow, connect: Connect, ended: list[RecordedRequest]
    ) -> None:
        server.raw([b"data: a\n\n", Fin()])
        reader, _ = await connect(REQUEST)
        await reader.read()
        await server.disconnected()
        assert [request.cut for request in ended] == [True]
