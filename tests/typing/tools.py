"""What a type checker says of tools; see `structured.py`."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from typing import Any, assert_type

from msgspec import Struct

from siliconflow_async import AsyncSiliconFlow, ChatCompletion, ParsedChatCompletion, RunEvent, Tool, ToolRun

MESSAGES = [{"role": "user", "content": "hi"}]


class Report(Struct):
    city: str


async def get_weather(city: str) -> str:
    return city


def find(city: str, limit: int = 1) -> list[str]:
    return [city] * limit


async def types(client: AsyncSiliconFlow, schema: dict[str, Any]) -> None:
    chat = client.chat.completions
    await chat.create(model="m", messages=MESSAGES, tools=[get_weather, schema, Tool(find)], tool_choice=find)
    async with chat.run_tools(model="m", messages=MESSAGES, tools=[get_weather, find], max_rounds=3) as run:
        assert_type(run, ToolRun[ChatCompletion])
        async for event in run:
            assert_type(event, RunEvent)
    parsed = chat.run_tools(model="m", messages=MESSAGES, tools=[find], response_format=Report)
    assert_type(await parsed.completion(), ParsedChatCompletion[Report])


async def errors(client: AsyncSiliconFlow) -> None:
    chat = client.chat.completions
    chat.run_tools(model="m", messages=MESSAGES, tools=[find], max_round=3)  # type: ignore[call-overload]
    chat.run_tools(model="m", messages=MESSAGES, tools=[find], on_tool_error="skip")  # type: ignore[call-overload]
    chat.run_tools(model="m", messages=MESSAGES, tools=[5])  # type: ignore[list-item]
    Tool(find, nam="f")  # type: ignore[call-arg]
