"""Answers parsed into types, whole and streamed."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import sys
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from siliconflow_async import (
    BadRequestError,
    ChatCompletion,
    ConfigurationError,
    InvalidRequestError,
    ParsedChatCompletion,
    ParseError,
    TruncatedStreamError,
)
from siliconflow_async.testing import Stall

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio


class Person(msgspec.Struct):
    name: str
    age: int = 0


@dataclasses.dataclass
class Trip:
    days: int


class Place(TypedDict):
    city: str


class Model(pydantic.BaseModel):
    name: str


CASES: list[tuple[Any, str, Any]] = [
    (Person, '{"name": "Ada", "age": 36}', Person("Ada", 36)),
    (Trip, '{"days": 3}', Trip(3)),
    (Place, '{"city": "Shanghai"}', {"city": "Shanghai"}),
    (Model, '{"name": "Ada"}', Model(name="Ada")),
    (list[Person], '{"value": [{"name": "Ada"}]}', [Person("Ada")]),
    (Trip | None, '{"value": null}', None),
    (Trip | str, '{"value": {"days": 3}}', Trip(3)),
    (Literal["yes", "no"], '{"value": "no"}', "no"),
    (Annotated[int, msgspec.Meta(ge=0)], '{"value": 5}', 5),
]


@pytest.mark.parametrize(("kind", "text", "value"), CASES)
@pytest.mark.parametrize("stream", [False, True])
async def test_parsed_is_of_the_type(kind: Any, text: str, value: Any, stream: bool) -> None:
    """The schema goes out in strict form, and what comes back is a value of the type beside all that an answer has."""
    async with served() as (server, client):
        server.reply(text)
        answer = await client.chat.completions.create(**ASK, response_format=kind, stream=stream)
        done = await answer.completion() if stream else answer
    assert isinstance(done, ParsedChatCompletion)
    assert done.parsed == value
    assert done.content == text
    assert done.usage is not None
    assert done.trace_id == done.headers["x-siliconcloud-trace-id"]
    assert "parsed" not in done.to_json()
    sent = server.requests[0].json["response_format"]
    assert sent["type"] == "json_schema"
    assert sent["json_schema"]["strict"] is True
    assert sent["json_schema"]["schema"]["additionalProperties"] is False


async def test_the_stand_in_answers_with_a_value_of_the_type() -> None:
    async with served() as (_, client):
        async with client.chat.completions.stream(**ASK, response_format=list[Person]) as stream:
            async for _ in stream:
                pass
            done = await stream.completion()
        assert isinstance(done.parsed[0], Person)


async def test_a_parsed_answer_survives_copying_and_pickling() -> None:
    async with served() as (server, client):
        server.reply('{"name": "Ada"}')
        done = await client.chat.completions.create(**ASK, response_format=Person)
    for twin in (copy.deepcopy(done), pickle.loads(pickle.dumps(done))):
        assert twin.parsed == Person("Ada")
        assert twin.to_dict() == done.to_dict()


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ({"text": '{"name": "Ada"', "finish_reason": "length"}, "cut off"),
        ({"text": '{"name": "Ada"}', "finish_reason": "length"}, "cut off"),
        ({"text": '{"name": "Ada"}', "finish_reason": "content_filter"}, "content filter"),
        ({"text": '{"name": "Ada"'}, "no Person"),
        ({"text": '{"name": 5}'}, r"\$\.name"),
        ({"text": "I can't help with that."}, "no Person"),
        ({"text": '{"x": ' + "[" * 5_000}, "no Person"),
        ({"text": ""}, "no content"),
        ({"reasoning": "Hm."}, "no content"),
        ({"tool_calls": [{"name": "f", "arguments": {}}]}, "calls tools"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_does_not_fit_is_a_parse_error(reply: dict[str, Any], words: str, stream: bool) -> None:
    """It says why, carries the answer, and the request is not repeated."""
    async with served() as (server, client):
        server.reply(**reply)

        async def ask() -> None:
            answer = await client.chat.completions.create(**ASK, response_format=Person, stream=stream)
            await answer.completion()

        with pytest.raises(ParseError, match=words) as caught:
            await ask()
    assert isinstance(caught.value.completion, ChatCompletion)
    assert (caught.value.completion.content or "") == reply.get("text", "")
    assert caught.value.completion.trace_id
    assert len(server.requests) == 1


async def test_a_refusal_is_a_parse_error_in_the_models_words() -> None:
    message = {"role": "assistant", "content": None, "refusal": "I won't."}
    body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    async with served() as (server, client):
        server.raw([body], headers={"content-type": "application/json"})
        with pytest.raises(ParseError, match="refused: I won't"):
            await client.chat.completions.create(**ASK, response_format=Person)


async def test_a_truncated_stream_is_not_parsed() -> None:
    async with served() as (server, client):
        server.raw([chunk('{"name": "Ada"}')])
        async with client.chat.completions.stream(**ASK, response_format=Person) as stream:
            with pytest.raises(TruncatedStreamError):
                await stream.completion()


async def test_a_type_without_a_schema_is_refused_before_anything_is_sent() -> None:
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match="response_format"):
            await client.chat.completions.create(**ASK, response_format=object)
    assert server.requests == []


async def test_a_mapping_is_sent_as_it_is_and_nothing_is_parsed() -> None:
    async with served() as (server, client):
        done = await client.chat.completions.create(**ASK, response_format={"type": "json_object"})
        assert type(done) is ChatCompletion
        assert server.requests[0].json["response_format"] == {"type": "json_object"}
        with pytest.raises(BadRequestError):
            await client.chat.completions.create(**ASK, response_format={"type": "xml"})


async def test_parsed_partial_is_the_value_so_far() -> None:
    pieces = ["", " ", '{"na', 'me": "A', 'da"', ', "ag', 'e": 3', "6}"]
    values = [None, None, {}, {"name": "A"}, {"name": "Ada"}, {"name": "Ada"}, {"name": "Ada", "age": 3}]
    async with served() as (server, client):
        server.raw([*map(chunk, pieces), chunk(finish="stop"), DONE])
        async with client.chat.completions.stream(**ASK, response_format=Person) as stream:
            seen = [stream.parsed_partial async for _ in stream]
            done = await stream.completion()
    assert seen == [*values, {"name": "Ada", "age": 36}, {"name": "Ada", "age": 36}]
    assert done.parsed == Person("Ada", 36)


async def test_parsed_partial_of_a_list_is_a_list() -> None:
    async with served() as (server, client):
        server.raw([chunk('{"val'), chunk('ue": [{"name": "Ada"}, {"na'), Stall()])
        async with client.chat.completions.stream(**ASK, response_format=list[Person]) as stream:
            await anext(stream)
            assert stream.parsed_partial is None
            await anext(stream)
            assert stream.parsed_partial == [{"name": "Ada"}, {}]


async def test_parsed_partial_of_what_is_no_json_is_a_parse_error() -> None:
    async with served() as (server, client):
        server.raw([chunk("Sure! Here"), Stall()])
        async with client.chat.completions.stream(**ASK, response_format=Person) as stream:
            await anext(stream)
            with pytest.raises(ParseError, match="not JSON") as caught:
                _ = stream.parsed_partial
    assert caught.value.completion is not None
    assert caught.value.completion.content == "Sure! Here"


async def test_parsed_partial_names_the_extra_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    # None there is how Python marks a module that can't be imported.
    monkeypatch.setitem(sys.modules, "jiter", None)
    async with served() as (_, client), client.chat.completions.stream(**ASK, response_format=Person) as stream:
        with pytest.raises(ConfigurationError, match=r"siliconflow-async\[structured\]"):
            _ = stream.parsed_partial
        assert isinstance((await stream.completion()).parsed, Person)
