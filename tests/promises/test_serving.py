"""What web frameworks make of answers that a handler returns, over real sockets: what `to_dict()` holds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import aiohttp
import fastapi
import litestar
import msgspec
import orjson
import pytest

from siliconflow_async import ChatCompletion, ChatCompletionChunk, MapResult

from ..asking import ASK, served
from ..relay.apps import asgi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from siliconflow_async import AsyncSiliconFlow

pytestmark = pytest.mark.anyio

USAGE = {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2, "prompt_tokens_details": None}
CALL = {"name": "f", "arguments": {"a": "é"}}


async def whole(client: AsyncSiliconFlow) -> ChatCompletion:
    return await client.chat.completions.create(**ASK)


async def chunks(client: AsyncSiliconFlow) -> list[ChatCompletionChunk]:
    return [chunk async for chunk in await client.chat.completions.create(**ASK, stream=True)]


async def one_chunk(client: AsyncSiliconFlow) -> ChatCompletionChunk:
    return (await chunks(client))[0]


async def folded(client: AsyncSiliconFlow) -> ChatCompletion:
    async with client.chat.completions.stream(**ASK) as stream:
        return await stream.completion()


async def run(client: AsyncSiliconFlow) -> list[MapResult[ChatCompletion]]:
    async with client.chat.completions.map([ASK, {**ASK, "custom_id": "b"}], ordered=True) as results:
        return [result async for result in results]


async def one_result(client: AsyncSiliconFlow) -> MapResult[ChatCompletion]:
    return (await run(client))[0]


async def within(client: AsyncSiliconFlow) -> dict[str, Any]:
    return {"ok": True, "answers": {"a": await whole(client)}}


KINDS: dict[str, Callable[[AsyncSiliconFlow], Awaitable[Any]]] = {
    "a whole answer": whole,
    "a folded answer": folded,
    "a chunk": one_chunk,
    "chunks": chunks,
    "a result of map": one_result,
    "results of map": run,
    "an answer in a dict": within,
}


def plain(value: Any) -> Any:
    """Return what a handler has returned, as `to_dict()` has it."""
    if isinstance(value, ChatCompletion | ChatCompletionChunk):
        return value.to_dict()
    if isinstance(value, MapResult):
        fields = msgspec.structs.asdict(value)
        return {**fields, "completion": plain(value.completion), "times": msgspec.structs.asdict(value.times)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def on_litestar(handle: Callable[[], Awaitable[Any]]) -> Any:
    """An application that returns what `handle` does, and says nothing of its type."""

    @litestar.get("/")
    async def endpoint() -> Any:
        return await handle()

    return litestar.Litestar([endpoint], openapi_config=None)


def on_fastapi(handle: Callable[[], Awaitable[Any]]) -> Any:
    """An application that writes it out as the manual does."""
    app = fastapi.FastAPI()

    @app.get("/")
    async def endpoint() -> fastapi.Response:
        value = await handle()
        body = value.to_json() if isinstance(value, ChatCompletion) else msgspec.json.encode(value)
        return fastapi.Response(body, media_type="application/json")

    return app


FRAMEWORKS = {"Litestar": on_litestar, "FastAPI": on_fastapi}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_handler_that_returns_an_answer_sends_what_to_dict_has(kind: str, framework: str) -> None:
    """Whole JSON of the right type, whatever the handler returns of this library's."""
    returned = []

    async with served() as (server, client), aiohttp.ClientSession() as browser:

        async def handle() -> Any:
            returned.append(await KINDS[kind](client))
            return returned[-1]

        server.reply("é", "Well.", [CALL], usage=USAGE, times=None)
        async with asgi(FRAMEWORKS[framework](handle)) as address, browser.get(f"http://{address}/") as response:
            assert (response.status, response.content_type) == (200, "application/json")
            assert json.loads(await response.read()) == plain(returned[0])


async def test_litestar_knows_the_types_of_answers() -> None:
    """A handler may be annotated with them, and the OpenAPI document describes them."""
    async with served() as (server, client), aiohttp.ClientSession() as browser:

        @litestar.get("/")
        async def endpoint() -> ChatCompletion:
            return await whole(client)

        server.reply("é", usage=USAGE)
        async with asgi(litestar.Litestar([endpoint])) as address:
            async with browser.get(f"http://{address}/") as response:
                assert (await response.json())["choices"][0]["message"]["content"] == "é"
            async with browser.get(f"http://{address}/schema/openapi.json") as response:
                assert "choices" in str(await response.json(content_type=None))


@pytest.mark.parametrize("kind", KINDS)
async def test_orjson_writes_what_to_dict_has(kind: str) -> None:
    """With `default=msgspec.to_builtins`."""
    async with served() as (server, client):
        server.reply("é", "Well.", [CALL], usage=USAGE, times=None)
        value = await KINDS[kind](client)
    assert orjson.loads(orjson.dumps(value, default=msgspec.to_builtins)) == plain(value)
