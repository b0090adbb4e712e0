"""The peers: what each framework's client gets, and that upstream is left when it has gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from websockets.asyncio.client import connect

from siliconflow_async import AsyncSiliconFlow, ConfigurationError
from siliconflow_async.relay import Peer, Relayed, relay
from siliconflow_async.relay.peers import Left
from siliconflow_async.testing import Stall, Until

from ..asking import chunk, served
from .apps import SERVED, leave

pytestmark = pytest.mark.anyio

FRAMEWORKS = pytest.mark.parametrize("framework", SERVED)


class Endpoint:
    """Relays an answer to what its client asked first, `times` over, and keeps how it ended."""

    def __init__(self, client: AsyncSiliconFlow, *, times: int = 1, **options: Any) -> None:
        self.client = client
        self.times = times
        self.options = options
        self.relayed: list[Relayed] = []
        self.ended = asyncio.Event()

    async def __call__(self, question: str, peer: Peer) -> None:
        send, left = peer
        for _ in range(self.times):
            messages = [{"role": "user", "content": question}]
            stream = self.client.chat.completions.stream(model="org/model", messages=messages)
            self.relayed.append(await relay(stream, send, left=left, **self.options))
        self.ended.set()


async def frames_until_finished(websocket: Any) -> list[Any]:
    frames: list[Any] = []
    while not frames or frames[-1]["type"] != "finished":
        frames.append(json.loads(await websocket.recv()))
    return frames


@FRAMEWORKS
async def test_the_client_gets_each_answer(framework: str) -> None:
    """Two of them on one websocket; `left` serves for both."""
    async with served() as (server, client):
        endpoint = Endpoint(client, times=2)
        async with SERVED[framework](endpoint) as url, connect(url, proxy=None) as websocket:
            await websocket.send("你好?")
            for _ in range(2):
                frames = await frames_until_finished(websocket)
                assert frames[0]["type"] == "started"
                assert "“你好?”" in "".join(frame.get("text", "") for frame in frames)
            await endpoint.ended.wait()
        assert [relayed.ended for relayed in endpoint.relayed] == ["done", "done"]
        assert len(server.requests) == 2


@FRAMEWORKS
@pytest.mark.parametrize("how", ["close", "fin", "rst"])
@pytest.mark.parametrize("when", ["before the first token", "midway"])
async def test_upstream_is_left_when_the_client_has_gone(framework: str, how: str, when: str) -> None:
    """By a close frame, FIN or RST."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()] if when == "midway" else [Stall()])
        endpoint = Endpoint(client)
        async with SERVED[framework](endpoint) as url:
            websocket = await connect(url, proxy=None)
            await websocket.send("Hi")
            if when == "midway":
                await websocket.recv()
                await websocket.recv()
            else:
                await server.received()
            if how == "close":
                await websocket.close()
            else:
                leave(websocket.transport, reset=how == "rst")
            await server.left_early()
            await endpoint.ended.wait()
            await websocket.close()
        (relayed,) = endpoint.relayed
        assert relayed.ended == "left"
        assert (relayed.completion.content if relayed.completion else None) == ("a" if when == "midway" else None)


@FRAMEWORKS
async def test_what_the_client_says_meanwhile_is_handed_on(framework: str) -> None:
    """Text and bytes; it does not disturb the answer."""
    async with served() as (server, client):
        gate, heard = asyncio.Event(), asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk(finish="stop")])
        said: list[str | bytes] = []

        def on_message(message: str | bytes) -> None:
            said.append(message)
            if message == b"it":
                heard.set()

        endpoint = Endpoint(client)
        async with SERVED[framework](endpoint, on_message) as url, connect(url, proxy=None) as websocket:
            await websocket.send("Hi")
            await websocket.send("stop")
            await websocket.send(b"it")
            await heard.wait()
            gate.set()
            await frames_until_finished(websocket)
            await endpoint.ended.wait()
    assert said == ["stop", b"it"]


@FRAMEWORKS
async def test_a_client_that_reads_nothing_is_dropped(framework: str) -> None:
    """Once its buffers are full, with slow="drop"; upstream is left."""
    async with served() as (server, client):
        server.raw([*(chunk("x" * 60_000) for _ in range(400)), Stall()])
        endpoint = Endpoint(client, slow="drop", buffer=4, patience=0.05)
        async with SERVED[framework](endpoint) as url:
            websocket = await connect(url, proxy=None, max_queue=1, compression=None)
            await websocket.send("Hi")
            await websocket.recv()
            websocket.transport.pause_reading()
            await server.left_early()
            await endpoint.ended.wait()
            leave(websocket.transport, reset=True)
        assert [relayed.ended for relayed in endpoint.relayed] == ["dropped"]


class Conversation:
    """Answers each message that its client sends, on one websocket, and keeps how each answer ended."""

    def __init__(self, client: AsyncSiliconFlow, **options: Any) -> None:
        self.client = client
        self.options = options
        self.questions: list[str | bytes] = []
        self.relayed: list[Relayed] = []
        self.ended = asyncio.Event()

    async def __call__(self, first: str, peer: Peer) -> None:
        async for question in peer.messages():
            self.questions.append(question)
            messages = [{"role": "user", "content": str(question)}]
            stream = self.client.chat.completions.stream(model="org/model", messages=messages)
            self.relayed.append(await relay(stream, peer, **self.options))
            assert peer.left.on_stop is None
        self.ended.set()


async def until(websocket: Any, *kinds: str) -> list[Any]:
    frames: list[Any] = []
    while not frames or frames[-1]["type"] not in kinds:
        frames.append(json.loads(await websocket.recv()))
    return frames


@FRAMEWORKS
async def test_a_client_asks_stops_and_asks_again(framework: str) -> None:
    """On one websocket: a stopped answer ends by an error that says so, and upstream is left at once."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        conversation = Conversation(client)
        async with SERVED[framework](conversation) as url, connect(url, proxy=None) as websocket:
            await websocket.send("begin")
            await websocket.send("First?")
            await until(websocket, "content_delta")
            await websocket.send('{"type": "stop"}')
            (last,) = await until(websocket, "error")
            assert last["error"] == "ClosedError"
            await server.left_early()
            await websocket.send('{"type":"stop"}')
            await websocket.send("Second?")
            assert "“Second?”" in "".join(frame.get("text", "") for frame in await until(websocket, "finished"))
            await websocket.close()
            await conversation.ended.wait()
        first, second = conversation.relayed
        assert (first.ended, first.error, first.completion and first.completion.content) == ("stopped", None, "a")
        assert second.ended == "done"
        assert conversation.questions == ["First?", "Second?"]


@FRAMEWORKS
async def test_what_a_client_says_while_it_is_answered_is_its_next_turn(framework: str) -> None:
    """In order, text and bytes; what merely looks like a stop is a message."""
    said = ["Second?", b"Third?", '{"type": "stop it"}', '["stop"]', "stop", '"stop']
    async with served() as (_, client):
        conversation = Conversation(client)
        async with SERVED[framework](conversation) as url, connect(url, proxy=None) as websocket:
            await websocket.send("begin")
            for message in ["First?", *said]:
                await websocket.send(message)
            for _ in range(1 + len(said)):
                await until(websocket, "finished")
            await websocket.close()
            await conversation.ended.wait()
        assert conversation.questions == ["First?", *said]
        assert {relayed.ended for relayed in conversation.relayed} == {"done"}


@FRAMEWORKS
async def test_a_client_that_says_too_much_is_heard_again_after_the_answer(framework: str) -> None:
    """Nothing of it is lost, and no more than so much waits in memory."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk(finish="stop")])
        conversation = Conversation(client)
        async with SERVED[framework](conversation) as url, connect(url, proxy=None) as websocket:
            await websocket.send("begin")
            await websocket.send("First?")
            await until(websocket, "content_delta")
            for number in range(70):
                await websocket.send(f"{number}")
            gate.set()
            for _ in range(71):
                await until(websocket, "finished")
            await websocket.close()
            await conversation.ended.wait()
        assert conversation.questions == ["First?", *map(str, range(70))]


@pytest.mark.parametrize(("message", "kept"), [("x", 64), ("x" * 400_000, 3)])
async def test_no_more_is_kept_of_what_a_client_says_than_may_be(message: str, kept: int) -> None:
    """By number and by size, while an answer is sent."""
    heard = 0

    async def receive() -> str:
        nonlocal heard
        heard += 1
        return message

    left = Left(receive, None)
    left.keep()
    hearing = asyncio.ensure_future(left)
    for _ in range(3):
        await asyncio.sleep(0)
    assert heard == kept
    hearing.cancel()


@FRAMEWORKS
async def test_a_conversation_ends_when_its_client_goes_midway(framework: str) -> None:
    """And upstream is left."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        conversation = Conversation(client)
        async with SERVED[framework](conversation) as url:
            async with connect(url, proxy=None) as websocket:
                await websocket.send("begin")
                await websocket.send("First?")
                await until(websocket, "content_delta")
            await server.left_early()
            await conversation.ended.wait()
        assert [relayed.ended for relayed in conversation.relayed] == ["left"]


async def test_a_plain_send_needs_to_be_told_how_the_client_leaves() -> None:
    """Before upstream is asked."""
    async with served() as (server, client):

        async def send(text: str) -> None: ...

        with pytest.raises(ConfigurationError, match="left must be given"):
            await relay(client.chat.completions.stream(model="m", messages=[]), send)
        assert server.connections.accepted == 0
