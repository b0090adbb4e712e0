"""Typed answers and tools on a real server: llama.cpp holds a random model to the grammars of our schemas.

What the model says is noise within the bounds of the schema, so the types here have bounds.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pytest
from msgspec import Meta

from siliconflow_async import AsyncSiliconFlow, ParseError, Tool, ToolCallDone, ToolResult, ToolRoundsError

MISSING = [name for name in ("xllamacpp", "gguf", "numpy") if importlib.util.find_spec(name) is None]
if MISSING and os.environ.get("SILICONFLOW_LIVE") != "require":
    pytest.skip(f"needs {', '.join(MISSING)}: pip install -e '.[live]'", allow_module_level=True)

pytestmark = [pytest.mark.live, pytest.mark.anyio]

ASK: dict[str, Any] = {"model": "tiny/random", "messages": [{"role": "user", "content": "Who is it?"}]}
# Before a call the model may say anything, and begins one at about every 300th token.
ENOUGH = 20_000

Word = Annotated[str, Meta(min_length=1, max_length=8)]


class Pet(msgspec.Struct):
    name: Word
    kind: Literal["cat", "dog"]


class Person(msgspec.Struct):
    """Someone."""

    name: Annotated[Word, Meta(description="in full")]
    age: Annotated[int, Meta(ge=0, le=150)] = 30
    calm: bool = True
    pet: Annotated[Pet | None, Meta(description="if there is one")] = None
    tags: Annotated[list[Word], Meta(max_length=3)] = []


@dataclasses.dataclass
class Trip:
    days: Literal[1, 2, 3]
    by: Person


class Place(TypedDict, total=False):
    city: Word


@pytest.mark.parametrize("kind", [Person, Trip, Place, Annotated[list[Pet], Meta(min_length=1, max_length=2)]], ids=str)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_parses_to_the_type(client: AsyncSiliconFlow, kind: Any, stream: bool) -> None:
    """Each of ten answers of a random model, since the server holds it to the schema."""
    for seed in range(10):
        answer = await client.chat.completions.create(
            **ASK, response_format=kind, stream=stream, seed=seed, max_tokens=2_000
        )
        done = await answer.completion() if stream else answer
        assert msgspec.convert(msgspec.to_builtins(done.parsed), kind) == done.parsed
        assert done.finish_reason == "stop"


async def test_the_value_so_far_grows_to_the_value(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK, response_format=Person, max_tokens=2_000) as stream:
        seen = [stream.parsed_partial async for _ in stream]
        done = await stream.completion()
    assert seen[0] is None or seen[0] == {}
    assert msgspec.convert(stream.parsed_partial, Person) == done.parsed
    assert len({repr(value) for value in seen}) > 3


async def test_an_answer_that_was_cut_off_is_a_parse_error(client: AsyncSiliconFlow) -> None:
    with pytest.raises(ParseError, match="cut off") as caught:
        await client.chat.completions.create(**ASK, response_format=Trip, max_tokens=5)
    assert caught.value.completion is not None
    assert caught.value.completion.finish_reason == "length"


async def get_weather(city: Word, unit: Literal["c", "k"], days: Annotated[int, Meta(ge=1, le=14)] = 1) -> str:
    """The weather in a city."""
    return f"22 {unit} in {city} for {days} days"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_tool_call_has_valid_arguments(client: AsyncSiliconFlow, stream: bool) -> None:
    tool = Tool(get_weather)
    for seed in range(5):
        answer = await client.chat.completions.create(
            **ASK,
            tools=[tool],
            tool_choice="required",
            stream=stream,
            seed=seed,
            max_tokens=ENOUGH,
        )
        done = await answer.completion() if stream else answer
        assert done.tool_calls is not None
        for call in done.tool_calls:
            assert call.function.name == "get_weather"
            assert tool.bind(call.function.arguments)["unit"] in ("c", "k")


async def forecast(city: Literal["Lhasa", "Shanghai"], days: Annotated[int, Meta(ge=1, le=14)] = 1) -> str:
    """Forecast the weather."""
    # What goes back holds no text of the model's own: escapes in it may stand for what its vocabulary lacks.
    return f"22 C in {city} for {days} days"


async def test_a_conversation_with_tools_that_run_by_themselves(client: AsyncSiliconFlow) -> None:
    """The first call is forced, and later answers call or don't by chance; what ran is in the conversation."""
    run = client.chat.completions.run_tools(
        **ASK, tools=[forecast], tool_choice="required", max_rounds=3, max_tokens=ENOUGH
    )
    events = []
    try:
        async for event in run:
            events.append(event)
        done = await run.completion()
        assert done is run.completions[-1]
        assert not done.tool_calls
    except ToolRoundsError:
        assert len(run.completions) == 3
    results = [event for event in events if isinstance(event, ToolResult)]
    assert results
    assert len(results) == len([event for event in events if isinstance(event, ToolCallDone)])
    assert results[0].content.startswith("22 ")
    assert not results[0].is_error
    told = [message["content"] for message in run.messages if isinstance(message, dict) and message["role"] == "tool"]
    assert sorted(told) == sorted(result.content for result in results)
