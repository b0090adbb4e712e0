"""langchain-openai on the facade."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from siliconflow_async import ContextLengthError, TruncatedStreamError
from siliconflow_async.integrations.openai import siliconflow_error

from ..asking import chunk
from ..integrations.openai.serving import served
from .asking import MODEL, PARIS, TOO_LONG, City, calls, stalls, weather

pytest.importorskip("langchain_openai")

from langchain_core.exceptions import ContextOverflowError
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

pytestmark = pytest.mark.anyio


def chat(client: Any, **options: Any) -> ChatOpenAI:
    given: dict[str, Any] = {"async_client": client.chat.completions, "root_async_client": client}
    return ChatOpenAI(model=MODEL, api_key="unused", **given, **options)


async def test_an_answer() -> None:
    async with served() as (server, client):
        server.reply("Hello", reasoning="Hm")
        answer = await chat(client, max_tokens=9, extra_body={"enable_thinking": True}).ainvoke("hi")
        assert answer.content == "Hello"
        assert answer.usage_metadata is not None
        sent = server.requests[0].json
        assert (sent["max_tokens"], sent["enable_thinking"]) == (9, True)


async def test_a_stream() -> None:
    """langchain-openai hands on no reasoning, whichever client it is given."""
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm")
        assert "".join([piece.text async for piece in chat(client).astream("hi")]) == "Hello there"
        server.reply("Hello there")
        told = [piece async for piece in chat(client, include_response_headers=True).astream("hi")]
        assert told[0].response_metadata["headers"]["x-request-id"].startswith("ti_")


async def test_tools_are_called_and_answered() -> None:
    async with served() as (server, client):
        model = chat(client).bind_tools([weather])
        calls(server, "weather", city="Paris")
        server.reply("It is sunny.")
        asked: list[Any] = [HumanMessage("Weather?")]
        asked.append(await model.ainvoke(asked))
        asked.append(await tool(weather).ainvoke(asked[-1].tool_calls[0]))
        assert (await model.ainvoke(asked)).content == "It is sunny."
        assert server.requests[1].json["messages"][-1]["content"] == "sunny in Paris"


async def test_structured_output() -> None:
    """By `parse`, and as a stream by `beta.chat`."""
    async with served() as (server, client):
        server.reply(PARIS.model_dump_json())
        assert await chat(client).with_structured_output(City).ainvoke("Which?") == PARIS
        assert server.requests[0].json["response_format"]["type"] == "json_schema"
        calls(server, "City", **PARIS.model_dump())
        by_call = chat(client).with_structured_output(City, method="function_calling")
        assert await by_call.ainvoke("Which?") == PARIS


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # with openai's client too
async def test_structured_output_as_a_stream() -> None:
    async with served() as (server, client):
        server.reply(PARIS.model_dump_json())
        assert [value async for value in chat(client).with_structured_output(City).astream("Which?")][-1] == PARIS


async def test_errors_are_the_framework_s_with_ours_as_their_cause() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(openai.RateLimitError):
            await chat(client).ainvoke("hi")
        server.fail(400, body=TOO_LONG)
        with pytest.raises(ContextOverflowError) as long:
            await chat(client).ainvoke("hi")
        assert isinstance(siliconflow_error(long.value), ContextLengthError)


async def test_a_stream_that_is_cut_off_is_an_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("Hel")])
        with pytest.raises(openai.APIConnectionError) as caught:
            [piece async for piece in chat(client).astream("hi")]
        assert isinstance(siliconflow_error(caught.value), TruncatedStreamError)


async def test_a_break_closes_the_connection() -> None:
    async with served() as (server, client):
        stalls(server, "Hel", "lo")
        async for _ in chat(client).astream("hi"):
            break
        await server.left_early()
