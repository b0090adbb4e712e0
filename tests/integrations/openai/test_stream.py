"""An open answer: how it is left, how it ends, and what else openai's streams have."""

from __future__ import annotations

import asyncio
import gc
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from siliconflow_async import BusyError, ClosedError, StreamAPIError, TruncatedStreamError
from siliconflow_async.testing import Rst, Stall, sse

from ...asking import ASK, DONE, chunk
from .serving import served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.anyio


async def test_it_is_an_openai_stream_of_openai_s_chunks() -> None:
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm")
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert isinstance(stream, openai.AsyncStream)
        chunks = [chunk async for chunk in stream]
        assert {type(chunk) for chunk in chunks} == {ChatCompletionChunk}
        deltas = [choice.delta for chunk in chunks for choice in chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == "Hello there"
        assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm"
        assert chunks[-1].usage.total_tokens > 0
        assert stream.siliconflow.ended == "done"


async def by_break_in_a_block(stream: Any) -> None:
    async with stream:
        async for _ in stream:
            break


async def by_close(stream: Any) -> None:
    await anext(stream)
    await stream.close()


async def by_aclosing(stream: Any) -> None:
    async with aclosing(stream):
        await anext(stream)


async def by_closing_its_response(stream: Any) -> None:
    await anext(stream)
    await stream.response.aclose()


async def by_cancelling_the_reader(stream: Any) -> None:
    async def read() -> None:
        async for _ in stream:
            started.set()

    started = asyncio.Event()
    reading = asyncio.create_task(read())
    await started.wait()
    reading.cancel()
    await asyncio.wait([reading])


LEAVES = [by_break_in_a_block, by_close, by_aclosing, by_closing_its_response, by_cancelling_the_reader]


@pytest.mark.parametrize("leave", LEAVES, ids=lambda leave: leave.__name__)
async def test_leaving_it_closes_the_connection(leave: Callable[[Any], Awaitable[None]]) -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(**ASK, stream=True)
        await leave(stream)
        await server.left_early()
        assert stream.siliconflow.ended == "closed"
        with pytest.raises(ClosedError):
            await anext(stream)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
async def test_a_break_forgets_it_and_closes_the_connection() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async for _ in await client.chat.completions.create(**ASK, stream=True):
            break
        await server.left_early()


@pytest.mark.usefixtures("no_collector")
async def test_a_stream_with_its_response_is_forgotten_too() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        del stream
        await server.left_early()


@pytest.mark.usefixtures("no_collector")
async def test_a_raw_stream_is_forgotten_too() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        raw = await client.chat.completions.with_raw_response.create(**ASK, stream=True)
        await anext(raw.parse())
        del raw
        await server.left_early()


async def test_a_call_that_is_cancelled_closes_the_connection() -> None:
    async with served() as (server, client):
        server.raw([Stall()], times=2)
        for streaming in (False, True):
            asking = asyncio.create_task(client.chat.completions.create(**ASK, stream=streaming))
            await server.received(1 + streaming)
            asking.cancel()
            await asyncio.wait([asking])
            assert asking.cancelled()
            await server.left_early(1 + streaming)


async def test_a_finished_stream_gives_its_connection_back() -> None:
    async with served() as (server, client):
        for _ in range(3):
            async for _ in await client.chat.completions.create(**ASK, stream=True):
                pass
        assert server.connections.accepted == 1


@pytest.mark.parametrize("end", [[], [Rst()]], ids=["closed", "reset"])
async def test_one_that_is_cut_off_raises_after_what_had_arrived(end: list[Any]) -> None:
    async with served() as (server, client):
        server.raw([chunk("a") + chunk("b"), *end])
        stream = await client.chat.completions.create(**ASK, stream=True)
        got: list[Any] = []

        async def read() -> None:
            async for piece in stream:
                got.append(piece.choices[0].delta.content)

        with pytest.raises(openai.APIConnectionError) as caught:
            await read()
        assert got == ["a", "b"]
        cause = caught.value.__cause__
        assert isinstance(cause, TruncatedStreamError)
        assert cause.partial is not None
        assert cause.partial.content == "ab"
        assert str(caught.value) == str(cause)


async def test_one_that_ends_with_a_finish_reason_and_no_done_is_whole() -> None:
    async with served() as (server, client):
        server.raw([chunk("a", finish="stop")])
        stream = await client.chat.completions.create(**ASK, stream=True)
        assert [piece.choices[0].finish_reason async for piece in stream] == ["stop"]
        assert stream.siliconflow.ended == "finish"


@pytest.mark.parametrize(
    "frame",
    [{"code": 50505, "message": "Model overloaded"}, {"error": {"code": 50505, "message": "Model overloaded"}}],
    ids=["SiliconFlow's", "openai's"],
)
async def test_an_error_in_it_raises_openai_s_error(frame: dict[str, Any]) -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), sse(frame)])
        stream = await client.chat.completions.create(**ASK, stream=True)
        await anext(stream)
        with pytest.raises(openai.APIError, match="Model overloaded") as caught:
            await anext(stream)
        assert type(caught.value) is openai.APIError
        assert caught.value.code == "50505"
        assert caught.value.body == {"code": 50505, "message": "Model overloaded"}
        assert isinstance(caught.value.__cause__, StreamAPIError)


async def test_what_is_no_chunk_raises_openai_s_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("a") + b"data: {not json\n\n"])
        stream = await client.chat.completions.create(**ASK, stream=True)
        await anext(stream)
        with pytest.raises(openai.APIError):
            await anext(stream)
        assert stream.siliconflow.ended == "malformed"


async def test_two_readers_of_one_stream_are_told() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async with await client.chat.completions.create(**ASK, stream=True) as stream:
            await anext(stream)
            reading = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await anext(stream)
            reading.cancel()
            await asyncio.wait([reading])


async def test_its_response_has_headers_status_and_the_trace_id() -> None:
    async with served() as (server, client), await client.chat.completions.create(**ASK, stream=True) as stream:
        response = stream.response
        assert response is stream.response
        assert response.status_code == 200
        assert response.headers["x-request-id"] == stream.siliconflow.trace_id
        assert str(response.request.url) == f"{server.base_url}/chat/completions"


async def test_its_response_can_be_read_as_events() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), b"data: {\ndata: }\n\n", chunk("b", finish="stop") + DONE])
        async with await client.chat.completions.create(**ASK, stream=True) as stream:
            lines = [line async for line in stream.response.aiter_lines() if line]
        assert json.loads(lines[0].removeprefix("data: "))["choices"][0]["delta"]["content"] == "a"
        assert lines[1:3] == ["data: {", "data: }"]
        assert lines[-1] == "data: [DONE]"


async def test_its_response_tells_of_a_cut_too() -> None:
    async with served() as (server, client):
        server.raw([chunk("a")])
        async with await client.chat.completions.create(**ASK, stream=True) as stream:
            with pytest.raises(openai.APIConnectionError):
                [line async for line in stream.response.aiter_lines()]
