"""What openai's own tests ask of `parse` and `stream`, asked of the facade: with the stand-in for their service."""

from __future__ import annotations

import enum
import json
from typing import Any

import openai
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ParsedChatCompletion
from pydantic import BaseModel
from pydantic.dataclasses import dataclass

from siliconflow_async.testing import Stall, sse

from ...asking import ASK, DONE
from .serving import served

pytestmark = pytest.mark.anyio


class Place(BaseModel):
    city: str
    degrees: float


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Paint(BaseModel):
    colour: Colour
    litres: int | None = None


@dataclass
class Step:
    words: str
    result: int


class Look(BaseModel):
    """Look at something."""

    at: str


class Walk(BaseModel):
    """Walk so far."""

    metres: int


def answer(*messages: dict[str, Any], finish: str = "stop") -> bytes:
    """A whole answer of so many choices."""
    choices = [
        {"index": index, "message": {"role": "assistant", "content": None, **message}, "finish_reason": finish}
        for index, message in enumerate(messages)
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": choices, "usage": usage}
    ).encode()


def event(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish, **more}
    return sse({"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]})


def called(name: str, arguments: str, index: int = 0) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"index": index, "id": f"call_{index}", "type": "function", "function": function}


async def parsed(*messages: dict[str, Any], finish: str = "stop", **given: Any) -> Any:
    async with served() as (server, client):
        server.raw([answer(*messages, finish=finish)])
        done = await client.chat.completions.parse(**ASK, **given)
        assert isinstance(done, ParsedChatCompletion)
        return done


# parse


async def test_parse_without_a_type_parses_nothing() -> None:
    done = await parsed({"content": "Sunny"})
    assert (done.choices[0].message.content, done.choices[0].message.parsed) == ("Sunny", None)


async def test_parse_sends_the_schema_and_returns_the_model() -> None:
    async with served() as (server, client):
        server.raw([answer({"content": '{"city": "Paris", "degrees": 18.5}'})])
        done = await client.chat.completions.parse(**ASK, response_format=Place, min_tokens=2)
        assert done.choices[0].message.parsed == Place(city="Paris", degrees=18.5)
        sent = server.requests[0].json
        assert sent["response_format"]["type"] == "json_schema"
        assert sent["response_format"]["json_schema"]["name"] == "Place"
        assert sent["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
        assert sent["min_tokens"] == 2


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Paint, '{"colour": "blue"}', Paint(colour=Colour.BLUE)),
        (Paint, '{"colour": "red", "litres": 3}', Paint(colour=Colour.RED, litres=3)),
        (Step, '{"words": "1 + 1", "result": 2}', Step("1 + 1", 2)),
    ],
)
async def test_parse_takes_enums_defaults_and_dataclasses(kind: Any, text: str, value: Any) -> None:
    done = await parsed({"content": text}, response_format=kind)
    assert done.choices[0].message.parsed == value


async def test_parse_parses_every_choice() -> None:
    texts = [{"content": f'{{"city": "{city}", "degrees": 1}}'} for city in ("Paris", "Rome")]
    done = await parsed(*texts, response_format=Place, n=2)
    assert [choice.message.parsed.city for choice in done.choices] == ["Paris", "Rome"]


async def test_a_refusal_is_not_parsed() -> None:
    done = await parsed({"refusal": "I can't."}, response_format=Place)
    assert (done.choices[0].message.refusal, done.choices[0].message.parsed) == ("I can't.", None)


@pytest.mark.parametrize(
    ("finish", "error"),
    [("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
async def test_an_answer_that_is_cut_short_is_not_parsed(finish: str, error: Any) -> None:
    with pytest.raises(error) as caught:
        await parsed({"content": '{"city": "Par'}, finish=finish, response_format=Place)
    if caught.value.__dict__.get("completion") is not None:
        assert caught.value.completion.id == "1"


async def test_parse_parses_the_arguments_of_strict_tools() -> None:
    tools = iter([openai.pydantic_function_tool(Look), openai.pydantic_function_tool(Walk, name="go")])
    calls = [called("Look", '{"at": "sky"}'), called("go", '{"metres": 9}', 1)]
    done = await parsed({"tool_calls": calls}, finish="tool_calls", tools=tools)
    assert [call.function.parsed_arguments for call in done.choices[0].message.tool_calls] == [
        Look(at="sky"),
        Walk(metres=9),
    ]


async def test_parse_refuses_tools_that_are_not_strict() -> None:
    async with served() as (server, client):
        loose = {"type": "function", "function": {"name": "look", "parameters": {}}}
        with pytest.raises(ValueError, match="not strict"):
            await client.chat.completions.parse(**ASK, tools=[loose])
        assert server.requests == []


# stream


async def test_a_stream_fires_events_and_ends_in_the_answer() -> None:
    async with served() as (server, client):
        pieces = ['{"city": "Paris"', ', "degrees": 1}']
        server.raw([event({"role": "assistant"}), *map(text_event, pieces), event({}, "stop"), DONE])
        async with client.chat.completions.stream(**ASK, response_format=Place) as stream:
            events = [event async for event in stream]
            done = await stream.get_final_completion()
        assert server.requests[0].json["stream"] is True
        assert [event.delta for event in events if event.type == "content.delta"] == pieces
        (ended,) = [event for event in events if event.type == "content.done"]
        assert ended.parsed == done.choices[0].message.parsed == Place(city="Paris", degrees=1)
        assert len([event for event in events if event.type == "chunk"]) == 4


def text_event(text: str) -> bytes:
    return event({"content": text})


async def test_a_stream_keeps_choices_apart() -> None:
    async with served() as (server, client):
        server.raw(
            [
                event({"content": "b"}, index=0),
                event({"content": "a"}, index=1),
                event({"content": "A"}, "stop", index=1),
                event({"content": "B"}, "stop", index=0),
                DONE,
            ]
        )
        async with client.chat.completions.stream(**ASK, n=2) as stream:
            done = await stream.get_final_completion()
        assert {choice.index: choice.message.content for choice in done.choices} == {0: "bB", 1: "aA"}


@pytest.mark.parametrize("strict", [True, False])
async def test_a_stream_assembles_tool_calls_and_parses_those_of_strict_tools(strict: bool) -> None:
    function = {"name": "look", "parameters": Look.model_json_schema(), "strict": strict}
    tool = {"type": "function", "function": function}
    async with served() as (server, client):
        server.raw(
            [
                event({"role": "assistant", "tool_calls": [called("look", "")]}),
                event({"tool_calls": [{"index": 0, "function": {"arguments": '{"at": '}}]}),
                event({"tool_calls": [{"index": 0, "function": {"arguments": '"sky"}'}}]}, "tool_calls"),
                DONE,
            ]
        )
        async with client.chat.completions.stream(**ASK, tools=iter([tool])) as stream:
            events = [event async for event in stream]
            done = await stream.get_final_completion()
        assert server.requests[0].json["tools"][0]["function"]["name"] == "look"
        (call,) = done.choices[0].message.tool_calls
        assert call.function.arguments == '{"at": "sky"}'
        assert call.function.parsed_arguments == ({"at": "sky"} if strict else None)
        assert "tool_calls.function.arguments.done" in {event.type for event in events}


async def test_a_stream_fires_events_for_logprobs() -> None:
    async with served() as (server, client):
        token = {"token": "Hi", "bytes": [72, 105], "logprob": -0.5, "top_logprobs": []}
        server.raw([event({"content": "Hi"}, logprobs={"content": [token], "refusal": None}), event({}, "stop"), DONE])
        async with client.chat.completions.stream(**ASK, logprobs=True) as stream:
            events = [event async for event in stream]
        (told,) = [event for event in events if event.type == "logprobs.content.delta"]
        assert told.content[0].logprob == -0.5


@pytest.mark.parametrize(
    ("finish", "error"),
    [("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)],
)
async def test_a_stream_of_a_type_that_is_cut_short_raises(finish: str, error: Any) -> None:
    async with served() as (server, client):
        server.raw([text_event('{"city": "Par'), event({}, finish), DONE])
        async with client.chat.completions.stream(**ASK, response_format=Place) as stream:
            with pytest.raises(error):
                await stream.get_final_completion()


async def test_a_stream_that_is_left_closes_the_connection() -> None:
    async with served(max_retries=0) as (server, client):
        server.raw([text_event("a"), *[text_event("b")] * 3, Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            async for told in stream:
                if told.type == "content.delta":
                    break
        await server.left_early()


async def test_a_stream_that_is_cut_off_raises_in_the_events_too() -> None:
    async with served() as (server, client):
        server.raw([text_event("a")])
        async with client.chat.completions.stream(**ASK) as stream:
            with pytest.raises(openai.APIConnectionError):
                await stream.until_done()


async def test_a_response_format_that_is_no_class_goes_as_it_is() -> None:
    async with served() as (server, client):
        server.reply("{}")
        async with client.chat.completions.stream(**ASK, response_format={"type": "json_object"}) as stream:
            done = await stream.get_final_completion()
        assert done.choices[0].message.parsed is None
        assert server.requests[0].json["response_format"] == {"type": "json_object"}


async def test_openai_s_state_folds_the_chunks() -> None:
    async with served() as (server, client):
        server.reply("Hello there")
        state: Any = ChatCompletionStreamState()
        async for piece in await client.chat.completions.create(**ASK, stream=True):
            state.handle_chunk(piece)
        assert state.get_final_completion().choices[0].message.content == "Hello there"
