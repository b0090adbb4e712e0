"""pydantic-ai on the facade."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import ContextLengthError, RateLimitError, TruncatedStreamError
from siliconflow_async.integrations.openai import siliconflow_error

from ..asking import chunk
from ..integrations.openai.serving import served
from .asking import MODEL, PARIS, TOO_LONG, City, calls, stalls, weather

pytest.importorskip("pydantic_ai")

from pydantic_ai import Agent, exceptions
from pydantic_ai.messages import ThinkingPart
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

pytestmark = pytest.mark.anyio


def agent(client: Any, **options: Any) -> Agent[Any, Any]:
    return Agent(OpenAIChatModel(MODEL, provider=OpenAIProvider(openai_client=client)), **options)


async def test_an_answer() -> None:
    async with served() as (server, client):
        server.reply("Hello", reasoning="Hm")
        result = await agent(client, model_settings={"max_tokens": 9, "max_retries": 1, "timeout": 5}).run("hi")
        assert result.output == "Hello"
        assert result.usage.input_tokens > 0
        assert server.requests[0].json["max_tokens"] == 9


async def test_a_stream_with_reasoning() -> None:
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm")
        async with agent(client).run_stream("hi") as result:
            assert "".join([text async for text in result.stream_text(delta=True)]) == "Hello there"
            (thinking,) = [part for part in result.response.parts if isinstance(part, ThinkingPart)]
            assert thinking.content == "Hm"


async def test_tools_are_run() -> None:
    async with served() as (server, client):
        calls(server, "weather", city="Paris")
        server.reply("It is sunny.")
        result = await agent(client, tools=[weather]).run("Weather?")
        assert result.output == "It is sunny."
        assert server.requests[1].json["messages"][-1]["content"] == "sunny in Paris"


async def test_structured_output() -> None:
    async with served() as (server, client):
        calls(server, "final_result", **PARIS.model_dump())
        assert (await agent(client, output_type=City).run("Which?")).output == PARIS


async def test_errors_are_the_framework_s_with_ours_as_their_cause() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(exceptions.ModelRateLimitError) as limited:
            await agent(client).run("hi")
        assert isinstance(siliconflow_error(limited.value), RateLimitError)

        server.fail(400, body=TOO_LONG)
        with pytest.raises(exceptions.ModelContextWindowExceededError) as long:
            await agent(client).run("hi")
        assert isinstance(siliconflow_error(long.value), ContextLengthError)


async def test_a_stream_that_is_cut_off_is_an_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("Hel")])
        with pytest.raises(exceptions.ModelConnectionError) as caught:
            await streamed(agent(client))
        cause = siliconflow_error(caught.value)
        assert isinstance(cause, TruncatedStreamError)
        assert cause.partial is not None
        assert cause.partial.content == "Hel"


async def streamed(one: Agent[Any, Any]) -> str:
    async with one.run_stream("hi") as result:
        return "".join([text async for text in result.stream_text(delta=True)])


async def test_a_break_closes_the_connection() -> None:
    async with served() as (server, client):
        stalls(server, "Hel", "lo")
        async with agent(client).run_stream("hi") as result:
            async for _ in result.stream_text(delta=True, debounce_by=None):
                break
        await server.left_early()
