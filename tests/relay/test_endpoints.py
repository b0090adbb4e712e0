"""The endpoints of the chapter on `relay` do what it says, under real servers with real clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from quart import Quart
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.relay import sse_response
from siliconflow_async.testing import FakeSiliconFlow, Stall
from siliconflow_async.wire.sse import SSEDecoder

from ..asking import ASK, chunk
from ..test_readme import PYTHON, compiled
from .apps import aiohttp_app, asgi

pytestmark = pytest.mark.anyio

# By the name of the file in the first line, or what is imported first.
BLOCKS = {block.code.split()[1]: block for block in PYTHON if block.path.parent.name == "relay"}
RELAYS = pytest.mark.parametrize("framework", ["fastapi", "aiohttp"])


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeSiliconFlow]:
    async with FakeSiliconFlow() as server:
        monkeypatch.setenv("SILICONFLOW_BASE_URL", server.base_url)
        monkeypatch.setenv("SILICONFLOW_API_KEY", "key-of-the-readme")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


class Program:
    """One of the chapter's programs, running at `address`."""

    def __init__(self, first_import: str) -> None:
        self.names: dict[str, Any] = {"__name__": "readme"}
        exec(compiled(BLOCKS[first_import]), self.names)
        app = self.names["app"]
        self._serving = aiohttp_app(app) if first_import == "aiohttp" else asgi(app)

    async def __aenter__(self) -> str:
        return await self._serving.__aenter__()

    async def __aexit__(self, *error: Any) -> None:
        await self._serving.__aexit__(*error)
        await self.names["client"].aclose()


def objects(body: bytes) -> list[Any]:
    return [{"seq": int(event.id), **json.loads(event.data)} for event in SSEDecoder(2**20).feed(body)]


def text(frames: list[Any]) -> str:
    return "".join(frame["text"] for frame in frames if frame["type"] == "content_delta")


def test_there_are_endpoints_for_each_framework() -> None:
    """Five programs, and three that have a page in a browser; those that only relay an answer are short."""
    files = {"chat.py", "use_chat.py", "resume.py"}
    assert BLOCKS.keys() == {
        "fastapi",
        "aiohttp",
        "starlette.applications",
        "quart",
        "uuid",
        "siliconflow_async",
        *files,
    }
    for name in ("fastapi", "aiohttp", "starlette.applications", "quart"):
        code = BLOCKS[name].code
        assert sum(bool(line.strip()) and "import" not in line for line in code.splitlines()) <= 15


@RELAYS
async def test_a_websocket_endpoint_streams_an_answer(server: FakeSiliconFlow, framework: str) -> None:
    """And closes the websocket after it."""
    async with Program(framework) as address, connect(f"ws://{address}/chat", proxy=None) as websocket:
        await websocket.send("Why is the sky blue?")
        frames = [json.loads(message) async for message in websocket]
        with pytest.raises(ConnectionClosedOK):
            await websocket.recv()
    assert frames[0]["type"] == "started"
    assert frames[-1]["type"] == "finished"
    assert "“Why is the sky blue?”" in text(frames)


@RELAYS
async def test_a_websocket_endpoint_leaves_upstream_with_its_client(server: FakeSiliconFlow, framework: str) -> None:
    """When it closes the websocket before the first token."""
    server.raw([Stall()])
    async with Program(framework) as address:
        async with connect(f"ws://{address}/chat", proxy=None) as websocket:
            await websocket.send("Why is the sky blue?")
            await server.received()
        await server.left_early()


@pytest.mark.parametrize("framework", ["starlette.applications", "quart"])
async def test_an_endpoint_streams_server_sent_events(server: FakeSiliconFlow, framework: str) -> None:
    """And leaves upstream with its client."""
    async with Program(framework) as address, aiohttp.ClientSession() as session:
        url = f"http://{address}/chat?question=Why?"
        async with session.get(url) as response:
            assert response.content_type == "text/event-stream"
            frames = objects(await response.read())
        assert frames[-1]["type"] == "finished"
        assert "“Why?”" in text(frames)
        server.raw([Stall()])
        response = await session.get(url)
        await server.received(2)
        response.close()
        await server.left_early()


async def test_a_body_that_the_framework_refuses_asks_for_nothing(server: FakeSiliconFlow) -> None:
    """Quart takes no body but of kinds that it knows; the one who asked is told, and upstream nobody is."""
    async with AsyncSiliconFlow() as client:
        app = Quart("refusing")

        @app.get("/chat")
        async def chat() -> Any:
            body = sse_response(client.chat.completions.stream(**ASK))
            return body, body.status, body.headers

        async with (
            asgi(app) as address,
            aiohttp.ClientSession() as session,
            session.get(f"http://{address}/chat") as response,
        ):
            assert response.status == 500
        await client.models.list()
    assert [request.path for request in server.requests] == ["/v1/models"]


async def test_readers_follow_leave_come_back_and_stop(server: FakeSiliconFlow) -> None:
    """By the ids of the events; a reader that has seen it all is told that there is no more."""
    server.raw([chunk("a") + chunk("b"), Stall()])
    async with Program("uuid") as address, aiohttp.ClientSession(f"http://{address}/") as session:
        async with session.post("answers", data=b"Why?") as response:
            url = f"answers/{(await response.json())['name']}"
        seen: list[Any] = []
        async with session.get(url) as response:
            while text(seen) != "ab":
                seen += objects(await response.content.readuntil(b"\n\n"))
        async with session.get(url, headers={"Last-Event-ID": "2"}) as response:
            assert objects(await response.content.readuntil(b"\n\n"))[0]["text"] == "b"
            async with session.post(f"{url}/stop") as stopped:
                assert stopped.status == 200
            (last,) = objects(await response.read())
        assert (last["type"], last["error"], last["seq"]) == ("error", "ClosedError", 4)
        await server.left_early()
        async with session.get(url, headers={"Last-Event-ID": "4"}) as response:
            assert response.status == 204
