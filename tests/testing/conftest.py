"""A stand-in in the test's own loop, and plain aiohttp as its client."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from siliconflow_async.testing import FakeSiliconFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Client:
    """Posts chat requests to a stand-in."""

    def __init__(self, session: aiohttp.ClientSession, server: FakeSiliconFlow) -> None:
        self.session = session
        self.url = f"{server.base_url}/chat/completions"

    def post(self, body: object = None, **options: Any) -> Any:
        return self.session.post(self.url, json=body or {}, **options)

    def ask(self, text: str = "Hi", model: str = "org/plain", **more: Any) -> Any:
        return self.post({"model": model, "messages": [{"role": "user", "content": text}], **more})

    async def chunks(self, text: str = "Hi", model: str = "org/plain", **more: Any) -> list[Any]:
        """Return the chunks of a stream that ends with [DONE]."""
        async with self.ask(text, model, stream=True, **more) as response:
            assert response.status == 200, await response.text()
            events = (await response.text()).split("\n\n")
        assert events[-2:] == ["data: [DONE]", ""]
        return [json.loads(event.removeprefix("data: ")) for event in events[:-2]]

    async def whole(self, text: str = "Hi", model: str = "org/plain", **more: Any) -> Any:
        """Return a whole answer."""
        async with self.ask(text, model, **more) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    async def error(self, body: object, **options: Any) -> tuple[int, Any]:
        """Return the status and the body of an error."""
        async with self.post(body, **options) as response:
            assert response.headers["x-siliconcloud-trace-id"].startswith("ti_")
            return response.status, await response.json()


@pytest.fixture
async def server() -> AsyncIterator[FakeSiliconFlow]:
    async with FakeSiliconFlow() as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers={"authorization": "Bearer key"}) as session:
        yield session


@pytest.fixture
def client(session: aiohttp.ClientSession, server: FakeSiliconFlow) -> Client:
    return Client(session, server)


@pytest.fixture
async def connect(server: FakeSiliconFlow) -> AsyncIterator[Callable[[bytes], Awaitable[Any]]]:
    """Open a bare socket to the stand-in and send some bytes; gives its reader and writer."""
    writers: list[asyncio.StreamWriter] = []

    async def connect(data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        url = urlsplit(server.base_url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writers.append(writer)
        writer.write(data)
        return reader, writer

    yield connect
    for writer in writers:
        writer.transport.abort()
    await server.disconnected()
