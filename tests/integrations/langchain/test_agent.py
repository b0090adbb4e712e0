"""Agents of LangChain's and LangGraph's on the model: tools are called, their results told, and the answer comes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessageChunk, ToolMessage
from pydantic import BaseModel

from siliconflow_async import ParseError, TruncatedStreamError
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow

from ...asking import chunk

pytestmark = pytest.mark.anyio

QUESTION: Any = {"messages": [("user", "How is the weather in Shanghai, and in Beijing?")]}
CALLS = [
    {"name": "get_weather", "arguments": {"city": "Shanghai"}, "id": "call_1"},
    {"name": "get_weather", "arguments": {"city": "Beijing"}, "id": "call_2"},
]


class Weather(BaseModel):
    """The weather."""

    degrees: int


@pytest.fixture
def asked() -> list[str]:
    return []


@pytest.fixture
def get_weather(asked: list[str]) -> Callable[..., str]:
    def get_weather(city: str) -> str:
        """Look up the weather of a city."""
        asked.append(city)
        return f"22 °C in {city}"

    return get_weather


def script(server: FakeSiliconFlow) -> None:
    server.reply(reasoning="I look it up.", tool_calls=CALLS)
    server.reply("22 °C in both.")


def check_conversation(server: FakeSiliconFlow) -> None:
    """The model was told of its calls and their results, and of its reasoning, which thinking models want back."""
    first, second = server.requests
    assert [tool["function"]["name"] for tool in first.json["tools"]] == ["get_weather"]
    system_and_user, turn, *results = second.json["messages"]
    assert system_and_user["role"] == "user"
    assert turn["reasoning_content"] == "I look it up."
    assert [call["id"] for call in turn["tool_calls"]] == ["call_1", "call_2"]
    assert {(result["tool_call_id"], result["content"]) for result in results} == {
        ("call_1", "22 °C in Shanghai"),
        ("call_2", "22 °C in Beijing"),
    }


@pytest.mark.parametrize("waits", [True, False])
async def test_an_agent_calls_its_tools_and_answers(
    server: FakeSiliconFlow, model: ChatSiliconFlow, get_weather: Any, asked: list[str], waits: bool
) -> None:
    script(server)
    agent: Any = create_agent(model, tools=[get_weather])
    state = agent.invoke(QUESTION) if waits else await agent.ainvoke(QUESTION)
    assert state["messages"][-1].text == "22 °C in both."
    assert sorted(asked) == ["Beijing", "Shanghai"]
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == 2
    check_conversation(server)


async def test_an_agent_streams_its_tokens(
    server: FakeSiliconFlow, model: ChatSiliconFlow, get_weather: Any, asked: list[str]
) -> None:
    script(server)
    agent: Any = create_agent(model, tools=[get_weather])
    pieces = [message async for message, _ in agent.astream(QUESTION, stream_mode="messages")]
    texts = [piece.text for piece in pieces if isinstance(piece, AIMessageChunk)]
    assert "".join(texts) == "22 °C in both."
    assert sum(bool(text) for text in texts) > 1
    assert sorted(asked) == ["Beijing", "Shanghai"]
    check_conversation(server)
    assert [seen.json["stream"] for seen in server.requests] == [True, True]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"tool_calls": [CALLS[0], {**CALLS[1], "arguments": '{"city": "Bei'}], "finish_reason": "length"}, ParseError),
        (None, TruncatedStreamError),
    ],
)
async def test_no_tool_is_run_from_a_stream_that_was_cut_off(
    server: FakeSiliconFlow, model: ChatSiliconFlow, get_weather: Any, asked: list[str], answer: Any, error: Any
) -> None:
    if answer is None:
        call = {"index": 0, "id": "call_1", "function": {"name": "get_weather", "arguments": '{"city": "Shanghai"}'}}
        server.raw([chunk(tool_calls=[call])])
    else:
        server.reply(**answer)
    agent: Any = create_agent(model, tools=[get_weather])
    with pytest.raises(error):
        async for _ in agent.astream(QUESTION, stream_mode="messages"):
            pass
    assert asked == []


@pytest.mark.parametrize("strategy", [ProviderStrategy, ToolStrategy])
async def test_an_agent_answers_in_a_schema(
    server: FakeSiliconFlow, model: ChatSiliconFlow, get_weather: Any, strategy: Any
) -> None:
    server.reply(tool_calls=CALLS[:1])
    if strategy is ToolStrategy:
        server.reply(tool_calls=[{"name": "Weather", "arguments": {"degrees": 22}}])
    else:
        server.reply('{"degrees": 22}')
    agent: Any = create_agent(model, tools=[get_weather], response_format=strategy(Weather))
    state = await agent.ainvoke(QUESTION)
    assert state["structured_response"] == Weather(degrees=22)
    assert server.script == []
    asked = server.requests[0].json
    assert ("response_format" in asked) == (strategy is ProviderStrategy)
