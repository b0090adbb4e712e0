"""Leaving is free: however a stream is left, its socket is closed within two turns of the loop, the collector off."""

from __future__ import annotations

import asyncio
import gc
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from siliconflow_async import AsyncSiliconFlow, ClosedError
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, DONE, chunk
from ..connection import protocol_of
from .fault_proxy import FaultProxy, HoldLast

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.anyio

CLIENT_TURNS = 2
SERVER_TURNS = 10


class Scene:
    """A client with one stream or call under way, and the socket that it uses."""

    def __init__(self, server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
        self.server = server
        self.client = client
        self.socket: socket.socket | None = None
        # Tasks that were cancelled, to be looked at once the turns are counted.
        self.cancelled: list[asyncio.Task[Any]] = []
        # Where leaving is not forgetting, something still refers to the stream.
        self.kept: list[Any] = []

    async def open(self, *, keep: bool = True) -> Any:
        """A stream with two chunks there, and no more to come."""
        self.server.raw([chunk("a") + chunk("b"), Stall()])
        stream = await self.client.chat.completions.create(stream=True, **ASK)
        await self.note_socket()
        if keep:
            self.kept.append(stream)
        return stream

    async def note_socket(self) -> None:
        self.socket = protocol_of(self.client).transport.get_extra_info("socket")

    async def cancel(self, waiting: Awaitable[Any]) -> None:
        """Let it run until it waits for the server, and cancel it."""

        async def run() -> Any:
            return await waiting

        task = asyncio.ensure_future(run())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        self.cancelled.append(task)


async def by_break(scene: Scene) -> None:
    async with await scene.open() as stream:
        async for _ in stream:
            break


async def by_return(scene: Scene) -> None:
    async def first() -> Any:
        async with await scene.open() as stream:
            return await anext(stream)

    assert (await first()).content == "a"


async def by_exception(scene: Scene) -> None:
    async def fail() -> None:
        async with await scene.open() as stream:
            await anext(stream)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()


async def by_manager(scene: Scene) -> None:
    scene.server.raw([chunk("a"), Stall()])
    async with scene.client.chat.completions.stream(**ASK) as stream:
        scene.kept.append(stream)
        await scene.note_socket()


async def by_cancelled_block(scene: Scene) -> None:
    opened = asyncio.Event()

    async def stay() -> None:
        async with await scene.open():
            opened.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.ensure_future(stay())
    await opened.wait()
    task.cancel()
    scene.cancelled.append(task)


async def by_aclose(scene: Scene) -> None:
    await (await scene.open()).aclose()


async def by_client_aclose(scene: Scene) -> None:
    stream = await scene.open()
    closing = asyncio.ensure_future(scene.client.aclose())
    # The task's own start.
    await asyncio.sleep(0)
    assert stream.ended == "closed"
    scene.cancelled.append(closing)


async def by_forgetting(scene: Scene) -> None:
    stream = await scene.open(keep=False)
    await anext(stream)
    del stream


async def by_forgetting_text(scene: Scene) -> None:
    texts = (await scene.open(keep=False)).text()
    assert await anext(texts) == "a"
    del texts


async def by_forgetting_events(scene: Scene) -> None:
    events = (await scene.open(keep=False)).events()
    await anext(events)
    del events


async def by_an_ended_task(scene: Scene) -> None:
    async def read() -> None:
        async for _ in await scene.open(keep=False):
            break

    await asyncio.ensure_future(read())


async def by_cancelled_next(scene: Scene) -> None:
    stream = await scene.open()
    await anext(stream)
    await anext(stream)
    await scene.cancel(anext(stream))


async def by_cancelled_completion(scene: Scene) -> None:
    await scene.cancel((await scene.open()).completion())


async def by_cancelled_text(scene: Scene) -> None:
    texts = (await scene.open()).text()
    await anext(texts)
    await anext(texts)
    await scene.cancel(anext(texts))


async def by_cancelled_events(scene: Scene) -> None:
    async def read(stream: Any) -> None:
        async for _ in stream.events():
            pass

    await scene.cancel(read(await scene.open()))


async def cancel_silent(scene: Scene, call: Any) -> None:
    scene.server.raw([], before=[Stall()])
    task = asyncio.ensure_future(call)
    await scene.server.received()
    await scene.note_socket()
    task.cancel()
    scene.cancelled.append(task)


async def by_cancelled_create(scene: Scene) -> None:
    await cancel_silent(scene, scene.client.chat.completions.create(stream=True, **ASK))


async def by_cancelled_stream(scene: Scene) -> None:
    async def enter() -> None:
        async with scene.client.chat.completions.stream(**ASK):
            pass

    await cancel_silent(scene, enter())


async def by_cancelled_whole_answer(scene: Scene) -> None:
    await cancel_silent(scene, scene.client.chat.completions.create(**ASK))


async def by_cancelled_first_chunk(scene: Scene) -> None:
    scene.server.raw([b": nothing yet\n\n", Stall()])
    task = asyncio.ensure_future(scene.client.chat.completions.create(stream=True, **ASK))
    await scene.server.received()
    for _ in range(10):
        await asyncio.sleep(0)
    await scene.note_socket()
    task.cancel()
    scene.cancelled.append(task)


WAYS: dict[str, Callable[[Scene], Awaitable[None]]] = {
    name.removeprefix("by_").replace("_", " "): way for name, way in list(globals().items()) if name.startswith("by_")
}


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context, and a client's that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("way", WAYS)
async def test_leaving_closes_the_socket_at_once(
    way: str, secure: bool, tls: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    """The client's socket is closed within two turns; a server in the same loop has noticed within ten."""
    server_tls, client_tls = tls if secure else (None, None)
    async with (
        FakeSiliconFlow(ssl=server_tls) as server,
        AsyncSiliconFlow("k", base_url=server.base_url, ssl=client_tls, max_retries=0) as client,
    ):
        scene = Scene(server, client)
        with collector_off():
            await WAYS[way](scene)
            assert scene.socket is not None
            turns = 0
            while scene.socket.fileno() != -1 and turns < CLIENT_TURNS:
                await asyncio.sleep(0)
                turns += 1
            assert scene.socket.fileno() == -1
            while server.connections.open and turns < SERVER_TURNS:
                await asyncio.sleep(0)
                turns += 1
            assert server.connections.open == 0
            for task in scene.cancelled:
                if way == "client aclose":
                    await task
                else:
                    with pytest.raises(asyncio.CancelledError):
                        await task


async def test_an_open_stream_keeps_its_socket() -> None:
    """Turns alone close nothing: what the test above counts is the leaving."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("k", base_url=server.base_url) as client:
        scene = Scene(server, client)
        stream = await scene.open()
        for _ in range(50):
            await asyncio.sleep(0)
        assert scene.socket is not None
        assert scene.socket.fileno() != -1
        assert server.connections.open == 1
        await stream.aclose()
        with pytest.raises(ClosedError):
            await anext(stream)


FINISHED = [chunk("a"), chunk("b", finish="stop"), DONE]


async def test_finished_streams_share_one_connection() -> None:
    """Ten streams use one connection, though the last HTTP chunk of each comes only after the client has [DONE]."""
    permits = asyncio.Semaphore(0)
    async with (
        FakeSiliconFlow() as server,
        FaultProxy(server, HoldLast(permits)) as proxy,
        AsyncSiliconFlow("k", base_url=proxy.base_url) as client,
    ):
        server.raw(FINISHED, times=None)
        for _ in range(10):
            async with client.chat.completions.stream(**ASK) as stream:
                assert [(await anext(stream)).content for _ in range(2)] == ["a", "b"]
                # The last chunk was given out before the wait for the body's end begins.
                assert stream.ended is None
                (link,) = proxy.links
                await link.struck.wait()
                link.struck.clear()
                reader = asyncio.ensure_future(stream.completion())
                for _ in range(3):
                    await asyncio.sleep(0)
                assert not reader.done()
                permits.release()
                assert (await reader).content == "ab"
                assert stream.ended == "done"
        assert len(server.requests) == 10
        assert len(proxy.links) == 1
        assert not proxy.links[0].left.is_set()


async def test_a_body_that_does_not_end_in_time_costs_its_connection() -> None:
    """The drain is short: without a last chunk the stream ends all the same, whole, and its connection is closed."""
    async with (
        FakeSiliconFlow() as server,
        FaultProxy(server, HoldLast(asyncio.Semaphore(0))) as proxy,
        AsyncSiliconFlow("k", base_url=proxy.base_url) as client,
    ):
        server.raw(FINISHED)
        async with client.chat.completions.stream(**ASK) as stream:
            assert [(await anext(stream)).content for _ in range(2)] == ["a", "b"]
            assert stream.ended is None
            assert not proxy.links[0].left.is_set()
            async with asyncio.timeout(5):
                with pytest.raises(StopAsyncIteration):
                    await anext(stream)
                await proxy.links[0].left.wait()
            assert (stream.ended, stream.partial.content) == ("done", "ab")
        # The next call gets a connection of its own.
        server.reply("x")
        assert (await client.chat.completions.create(**ASK)).content == "x"
        assert len(proxy.links) == 2


async def test_endless_bytes_after_done_are_not_drained() -> None:
    """More than 64 KiB after [DONE] are not read: the connection is given up."""
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("k", base_url=server.base_url) as client:
        server.raw([*FINISHED, *([b": comment\n\n" * 1000] * 1000)])
        async with asyncio.timeout(5), client.chat.completions.stream(**ASK) as stream:
            assert (await stream.completion()).content == "ab"
            assert stream.ended == "done"
            assert (await server.left_early()).bytes_sent < 10_000_000
