"""openai-agents on the facade."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from siliconflow_async import RateLimitError, TruncatedStreamError
from siliconflow_async.integrations.openai import siliconflow_error

from ..asking import chunk
from ..integrations.openai.serving import served
from .asking import MODEL, PARIS, City, calls, stalls, weather

pytest.importorskip("agents")

from agents import Agent, OpenAIChatCompletionsModel, Runner, function_tool, set_tracing_disabled
from agents.items import ReasoningItem

pytestmark = pytest.mark.anyio

# It would send its traces to openai.
set_tracing_disabled(True)


def agent(client: Any, **options: Any) -> Agent[Any]:
    return Agent(name="a", model=OpenAIChatCompletionsModel(model=MODEL, openai_client=client), **options)


async def test_an_answer() -> None:
    async with served() as (server, client):
        server.reply("Hello", reasoning="Hm")
        result = await Runner.run(agent(client, instructions="Be brief."), "hi")
        assert result.final_output == "Hello"
        assert [message["role"] for message in server.requests[0].json["messages"]] == ["system", "user"]
        assert result.raw_responses[0].request_id.startswith("ti_")


async def test_a_stream_with_reasoning() -> None:
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm")
        result = Runner.run_streamed(agent(client), "hi")
        deltas: dict[str, str] = {}
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type.endswith(".delta"):
                deltas[event.data.type] = deltas.get(event.data.type, "") + event.data.delta
        assert deltas["response.output_text.delta"] == result.final_output == "Hello there"
        assert "Hm" in deltas.values()
        assert any(isinstance(item, ReasoningItem) for item in result.new_items)


async def test_tools_are_run() -> None:
    async with served() as (server, client):
        calls(server, "weather", city="Paris")
        server.reply("It is sunny.")
        result = await Runner.run(agent(client, tools=[function_tool(weather)]), "Weather?")
        assert result.final_output == "It is sunny."
        assert server.requests[1].json["messages"][-1]["content"] == "sunny in Paris"


async def test_structured_output() -> None:
    async with served() as (server, client):
        server.reply(PARIS.model_dump_json())
        result = await Runner.run(agent(client, output_type=City), "Which?")
        assert result.final_output == PARIS
        assert server.requests[0].json["response_format"]["type"] == "json_schema"


async def test_errors_are_openai_s_with_ours_as_their_cause() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(openai.RateLimitError) as caught:
            await Runner.run(agent(client), "hi")
        assert isinstance(siliconflow_error(caught.value), RateLimitError)


async def test_a_stream_that_is_cut_off_is_an_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("Hel")])
        result = Runner.run_streamed(agent(client), "hi")
        with pytest.raises(openai.APIConnectionError) as caught:
            [event async for event in result.stream_events()]
        assert isinstance(siliconflow_error(caught.value), TruncatedStreamError)


async def test_a_cancelled_run_closes_the_connection() -> None:
    async with served() as (server, client):
        stalls(server, "Hel", "lo")
        result = Runner.run_streamed(agent(client), "hi")
        async for event in result.stream_events():
            if event.type == "raw_response_event" and event.data.type.endswith(".delta"):
                result.cancel()
        await server.left_early()
