"""Conversations whose tools run by themselves: what is asked, what runs, and what the model is told."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from typing import Any

import msgspec
import pydantic
import pytest

from siliconflow_async import (
    ContentDelta,
    Finished,
    InvalidRequestError,
    ParsedChatCompletion,
    ParseError,
    RunEvent,
    Started,
    Tool,
    ToolCallDone,
    ToolResult,
    ToolRoundsError,
    TruncatedStreamError,
)
from siliconflow_async.testing import stream_events

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio


async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def call(name: str = "get_weather", **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments or {"city": "Xi'an"}, "id": f"id-{name}"}


def results(events: list[RunEvent]) -> list[ToolResult]:
    return [event for event in events if isinstance(event, ToolResult)]


async def test_a_whole_conversation() -> None:
    """The events of both rounds in one stream, the tool's result between them, and the conversation in the end."""
    async with served() as (server, client):
        server.reply(reasoning="Where?", tool_calls=[call()])
        server.reply("It is sunny.")
        async with client.chat.completions.run_tools(**ASK, tools=[get_weather]) as run:
            events = [event async for event in run]
            done = await run.completion()
    kinds = [Started, ToolCallDone, Finished, ToolResult, Started, ContentDelta, Finished]
    it = iter(events)
    assert all(any(isinstance(event, kind) for event in it) for kind in kinds)
    assert results(events) == [ToolResult(0, 0, "id-get_weather", "get_weather", "sunny in Xi'an")]
    assert json.loads(results(events)[0].to_json())["type"] == "tool_result"
    assert done.content == "It is sunny."
    assert [completion.finish_reason for completion in run.completions] == ["tool_calls", "stop"]
    assert [message["role"] if isinstance(message, dict) else message.role for message in run.messages] == [
        *("user", "assistant", "tool", "assistant")
    ]
    first, second = (request.json for request in server.requests)
    assert first["tools"] == [Tool(get_weather).param] == second["tools"]
    turn = second["messages"][1]
    assert (turn["content"], turn["reasoning_content"]) == ("", "Where?")
    assert turn["tool_calls"][0]["id"] == "id-get_weather"
    assert second["messages"][2] == {"role": "tool", "tool_call_id": "id-get_weather", "content": "sunny in Xi'an"}


async def test_the_stand_in_calls_a_tool_and_tells_what_it_answered() -> None:
    async with served() as (_, client):
        done = await client.chat.completions.run_tools(**ASK, tools=[get_weather]).completion()
    assert "sunny in Shanghai" in (done.content or "")


async def test_the_callers_messages_are_not_changed() -> None:
    messages = list(ASK["messages"])
    async with served() as (_, client):
        await client.chat.completions.run_tools(model="m/m", messages=messages, tools=[get_weather]).completion()
    assert messages == ASK["messages"]


class Model(pydantic.BaseModel):
    x: int


@dataclasses.dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("value", "content"),
    [("text", "text"), (None, "null"), ([1, "a"], '[1,"a"]'), (Point(1), '{"x":1}'), ([Model(x=1)], '[{"x":1}]')],
)
@pytest.mark.parametrize("kind", ["async", "sync", "sync that returns an awaitable", "an instance"])
async def test_a_result_is_text_as_it_is_or_json(value: Any, content: str, kind: str) -> None:
    async def give() -> Any:
        return value

    def give_now() -> Any:
        assert threading.current_thread() is not threading.main_thread()
        return value

    class Giver:
        async def __call__(self) -> Any:
            return value

    functions = {
        "async": give,
        "sync": give_now,
        "sync that returns an awaitable": lambda: give(),
        "an instance": Giver(),
    }
    async with served() as (server, client):
        server.reply(tool_calls=[{"name": "give"}])
        server.reply("Thanks.")
        tool = Tool(functions[kind], name="give")
        events = [event async for event in client.chat.completions.run_tools(**ASK, tools=[tool])]
    assert results(events) == [ToolResult(0, 0, results(events)[0].id, "give", content)]


async def test_arguments_reach_the_tool_as_their_types() -> None:
    seen = []

    def move(point: Point, speed: float = 1.5) -> None:
        seen.append((point, speed))

    async with served() as (server, client):
        server.reply(tool_calls=[call("move", point={"x": 3})])
        server.reply("Moved.")
        await client.chat.completions.run_tools(**ASK, tools=[move]).completion()
    assert seen == [(Point(3), 1.5)]


def fail(city: str) -> str:
    raise LookupError(f"no such city: {city}")


async def unencodable(city: str) -> object:
    return object()


async def cancel_itself(city: str) -> str:
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        (fail, '{"city": "X"}', "Error: LookupError: no such city: X"),
        (unencodable, '{"city": "X"}', "Error: TypeError: a result of type object"),
        (cancel_itself, '{"city": "X"}', "cancelled"),
        (get_weather, '{"city": 5}', "invalid arguments: Expected `str`, got `int`"),
        (get_weather, '{"town": "X"}', '{"town": "X"}'),
        (get_weather, '{"city": "X"', "truncated"),
        (get_weather, "", "invalid arguments"),
        (get_weather, "[]", "invalid arguments"),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(tool: Any, arguments: str, words: str) -> None:
    """The run goes on; arguments that are no JSON object are not sent back, since servers parse what they are sent."""
    async with served() as (server, client):
        server.reply(tool_calls=[{"name": tool.__name__, "arguments": arguments}])
        server.reply("Sorry.")
        run = client.chat.completions.run_tools(**ASK, tools=[tool])
        events = [event async for event in run]
    assert (await run.completion()).content == "Sorry."
    (result,) = results(events)
    assert result.is_error
    assert words in result.content
    turn, told = server.requests[1].json["messages"][1:]
    assert told == {"role": "tool", "tool_call_id": result.id, "content": result.content}
    sent = turn["tool_calls"][0]["function"]["arguments"]
    assert sent == (arguments if arguments.endswith("}") else "{}")
    assert run.completions[0].tool_calls is not None
    assert run.completions[0].tool_calls[0].function.arguments == arguments


async def test_a_tool_that_does_not_exist_is_told_to_the_model() -> None:
    async with served() as (server, client):
        server.reply(tool_calls=[call("get_wether"), call()])
        server.reply("Sorry.")
        events = [event async for event in client.chat.completions.run_tools(**ASK, tools=[get_weather])]
    wrong, right = results(events)
    assert (wrong.is_error, right.is_error) == (True, False)
    assert "no tool 'get_wether'; there are get_weather" in wrong.content


async def test_a_tools_exception_may_end_the_run() -> None:
    """With on_tool_error="raise", the tool's own exception comes out, and nothing more is asked."""
    async with served() as (server, client):
        server.reply(tool_calls=[call("fail")])
        run = client.chat.completions.run_tools(**ASK, tools=[fail], on_tool_error="raise")
        with pytest.raises(LookupError, match="no such city"):
            await run.completion()
    assert len(server.requests) == 1


async def test_invalid_arguments_may_end_the_run_before_any_tool_runs() -> None:
    ran = []

    def note(city: str) -> None:
        ran.append(city)

    async with served() as (server, client):
        server.reply(tool_calls=[call("note"), call("note", city=5)])
        run = client.chat.completions.run_tools(**ASK, tools=[note], on_tool_error="raise")
        with pytest.raises(ParseError, match="call of 'note' is invalid") as caught:
            await run.completion()
    assert caught.value.completion is run.completions[0]
    assert ran == []


async def test_max_rounds_ends_the_run_with_the_conversation() -> None:
    """It ends after the calls of the last round, so that the conversation can be gone on with."""
    async with served() as (server, client):
        for _ in range(2):
            server.reply(tool_calls=[call()])
        run = client.chat.completions.run_tools(**ASK, tools=[get_weather], max_rounds=2)
        with pytest.raises(ToolRoundsError, match="after 2 rounds") as caught:
            await run.completion()
        assert len(server.requests) == 2
        messages = caught.value.messages
        assert [message["role"] for message in messages if isinstance(message, dict)] == ["user", "tool", "tool"]
        server.reply("Sunny.")
        again = client.chat.completions.run_tools(model="m/m", messages=messages, tools=[get_weather])
        assert (await again.completion()).content == "Sunny."


BODY = b"".join(stream_events(tool_calls=[call(), call("get_weather", city="Lhasa")], done=False))


@pytest.mark.parametrize("cut", [*range(0, len(BODY), 97), len(BODY) - 3, len(BODY)])
async def test_no_tool_runs_from_a_truncated_stream(cut: int) -> None:
    """Wherever the stream is cut: only once the finish reason has come do the calls run."""
    ran = []

    def get_weather(city: str) -> None:
        ran.append(city)

    async with served(max_retries=0) as (server, client):
        server.raw([BODY[:cut]])
        server.reply("Done.")
        run = client.chat.completions.run_tools(**ASK, tools=[get_weather])
        if cut == len(BODY):
            await run.completion()
        else:
            with pytest.raises(TruncatedStreamError):
                await run.completion()
    assert sorted(ran) == (["Lhasa", "Xi'an"] if cut == len(BODY) else [])


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_no_tool_runs_from_an_answer_that_was_cut_off(reason: str) -> None:
    ran = []

    def note(city: str) -> None:
        ran.append(city)

    async with served() as (server, client):
        server.reply(tool_calls=[call("note")], finish_reason=reason)
        server.reply("Sorry.")
        events = [event async for event in client.chat.completions.run_tools(**ASK, tools=[note])]
        assert [result.is_error for result in results(events)] == [True]
        assert reason in results(events)[0].content
    assert ran == []


async def test_calls_without_an_id_get_one_each() -> None:
    calls = [{"index": at, "function": {"name": "get_weather", "arguments": '{"city": "X"}'}} for at in range(2)]
    async with served() as (server, client):
        server.raw([chunk(tool_calls=calls), chunk(finish="stop"), DONE])
        server.reply("Fine.")
        await client.chat.completions.run_tools(**ASK, tools=[get_weather]).completion()
    _, turn, *told = server.requests[1].json["messages"]
    ids = [made["id"] for made in turn["tool_calls"]]
    assert len({*ids, ""}) == 3
    assert [message["tool_call_id"] for message in told] == ids


@pytest.mark.parametrize(
    ("choice", "later"), [("required", None), (get_weather, None), ("auto", None), (None, None), ("none", "none")]
)
async def test_a_forced_call_is_forced_once(choice: Any, later: str | None) -> None:
    """Else the model could never come to an end."""
    async with served() as (server, client):
        server.reply(tool_calls=[call()])
        server.reply("Fine.")
        await client.chat.completions.run_tools(**ASK, tools=[get_weather], tool_choice=choice).completion()
    assert ("tool_choice" in server.requests[0].json) == (choice is not None)
    assert server.requests[1].json.get("tool_choice") == later


class Report(msgspec.Struct):
    city: str


async def test_the_last_answer_is_parsed() -> None:
    async with served() as (server, client):
        server.reply(tool_calls=[call()])
        server.reply('{"city": "Xi\'an"}')
        run = client.chat.completions.run_tools(**ASK, tools=[get_weather], response_format=Report)
        done = await run.completion()
        assert isinstance(done, ParsedChatCompletion)
        assert done.parsed == Report("Xi'an")
        server.reply("no JSON")
        with pytest.raises(ParseError):
            await client.chat.completions.run_tools(**ASK, tools=[get_weather], response_format=Report).completion()


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"max_rounds": 0}, "max_rounds"),
        ({"max_rounds": True}, "max_rounds"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"tool_timeout": 0}, "tool_timeout"),
        ({"tool_timeout": float("nan")}, "tool_timeout"),
        ({"tool_timeout": "1"}, "tool_timeout"),
        ({"on_tool_error": "ignore"}, "on_tool_error"),
        ({"n": 2}, "n"),
        ({"tools": [Tool(get_weather).param]}, "tools"),
        ({"tools": [get_weather, get_weather]}, "tools"),
        ({"tools": [get_weather] * 129}, "tools"),
        ({"messages": "hi"}, "messages"),
        ({"response_format": object}, "response_format"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(options: dict[str, Any], param: str) -> None:
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match=param) as caught:
            client.chat.completions.run_tools(**{**ASK, "tools": [get_weather], **options})
    assert caught.value.param == param
    assert server.requests == []


async def test_a_wrong_keyword_is_named() -> None:
    async with served() as (_, client):
        with pytest.raises(TypeError, match="max_rounds"):
            client.chat.completions.run_tools(**ASK, tools=[get_weather], max_round=3)  # type: ignore[call-overload]
