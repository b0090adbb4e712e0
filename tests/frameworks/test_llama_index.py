"""llama-index' OpenAILike on the facade."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from siliconflow_async import RateLimitError, TruncatedStreamError
from siliconflow_async.integrations.openai import siliconflow_error

from ..asking import chunk
from ..integrations.openai.serving import served
from .asking import MODEL, PARIS, City, calls, stalls, weather

pytest.importorskip("llama_index.llms.openai_like")

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike

pytestmark = pytest.mark.anyio

HI = [ChatMessage(role="user", content="hi")]


def llm(client: Any, **options: Any) -> OpenAILike:
    kind = {"is_chat_model": True, "is_function_calling_model": True}
    return OpenAILike(model=MODEL, async_openai_client=client, api_key="unused", max_retries=0, **kind, **options)


async def test_an_answer() -> None:
    async with served() as (server, client):
        server.reply("Hello", reasoning="Hm")
        extra = {"extra_body": {"enable_thinking": True}}
        answer = await llm(client, max_tokens=9, additional_kwargs=extra).achat(HI)
        assert answer.message.content == "Hello"
        sent = server.requests[0].json
        assert (sent["max_tokens"], sent["enable_thinking"]) == (9, True)


async def test_a_stream_with_reasoning() -> None:
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm")
        pieces = [piece async for piece in await llm(client).astream_chat(HI)]
        assert "".join(piece.delta or "" for piece in pieces) == "Hello there"
        thoughts = [piece.additional_kwargs.get("thinking_delta") or "" for piece in pieces]
        assert "".join(thoughts) == "Hm"


async def test_tools_are_called_and_answered() -> None:
    async with served() as (server, client):
        model, tool = llm(client), FunctionTool.from_defaults(weather)
        calls(server, "weather", city="Paris")
        server.reply("It is sunny.")
        asked = await model.achat_with_tools([tool], chat_history=HI)
        (call,) = model.get_tool_calls_from_response(asked)
        told = ChatMessage(
            role="tool",
            content=tool(**call.tool_kwargs).content,
            additional_kwargs={"tool_call_id": call.tool_id},
        )
        answer = await model.achat([*HI, asked.message, told])
        assert answer.message.content == "It is sunny."
        assert server.requests[1].json["messages"][-1]["content"] == "sunny in Paris"


async def test_structured_output() -> None:
    async with served() as (server, client):
        calls(server, "City", **PARIS.model_dump())
        assert (await llm(client).as_structured_llm(City).acomplete("Which?")).raw == PARIS


async def test_errors_are_openai_s_with_ours_as_their_cause() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(openai.RateLimitError) as caught:
            await llm(client).achat(HI)
        assert isinstance(siliconflow_error(caught.value), RateLimitError)


async def test_a_stream_that_is_cut_off_is_an_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("Hel")])
        pieces = await llm(client).astream_chat(HI)
        with pytest.raises(openai.APIConnectionError) as caught:
            [piece async for piece in pieces]
        assert isinstance(siliconflow_error(caught.value), TruncatedStreamError)


async def test_a_break_closes_the_connection() -> None:
    async with served() as (server, client):
        stalls(server, "Hel", "lo")
        async for _ in await llm(client).astream_chat(HI):
            break
        await server.left_early()
