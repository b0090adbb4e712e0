"""What of a call goes onto the wire, and what is refused by name before a byte is sent."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from siliconflow_async import (
    AssistantMessage,
    BadRequestError,
    ConfigurationError,
    Function,
    InvalidRequestError,
    ToolCall,
)
from siliconflow_async.request.body import build_body, query_of
from siliconflow_async.request.params import check_names

from ..asking import ASK, served

MESSAGES = ASK["messages"]


def sent(**params: Any) -> dict[str, Any]:
    """The body of a request with these parameters and a model and messages."""
    body = json.loads(build_body({**ASK, **params}, stream=False))
    assert isinstance(body, dict)
    return body


def sent_message(message: Any) -> dict[str, Any]:
    (only,) = sent(messages=[message])["messages"]
    assert isinstance(only, dict)
    return only


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["self"] = [value]
    return value


CYCLE = cycle()

# parameters, the one that the error names, and a word on where in it
UNSENDABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"temperature": float("nan")}, "temperature", "nan"),
    ({"top_p": float("-inf")}, "top_p", "-inf"),
    ({"logit_bias": {"5": float("inf")}}, "logit_bias", "logit_bias['5']"),
    ({"temperature": {1}}, "temperature", "set"),
    ({"seed": object()}, "seed", "object"),
    ({"prefix": b"text"}, "prefix", "bytes"),
    ({"stop": b"text"}, "stop", "bytes"),
    ({"stop": ["a", b"b"]}, "stop", "stop[1]"),
    ({"prefix": "\ud800"}, "prefix", "surrogates"),
    ({"model": "\udfff"}, "model", "surrogates"),
    ({"logit_bias": {5.5: 1}}, "logit_bias", "key 5.5 is no token id"),
    ({"logit_bias": {True: 1}}, "logit_bias", "key True is no token id"),
    ({"logit_bias": {5: 1, "5": 2}}, "logit_bias", "token id 5 is there twice"),
    ({"logit_bias": {5: object()}}, "logit_bias", "logit_bias['5']"),
    ({"tools": [{"type": "function", "function": {1: 2}}]}, "tools", "tools[0]['function']"),
    ({"tools": [CYCLE]}, "tools", "nested too deep"),
    ({"tool_choice": CYCLE}, "tool_choice", "nested too deep"),
    ({"extra_body": CYCLE}, "extra_body", "nested too deep"),
    ({"extra_body": {"a": {"b": [1, {2}]}}}, "extra_body", "extra_body['a']['b'][1]"),
    ({"extra_body": {"\ud800": 1}}, "extra_body", "surrogates"),
    ({"extra_body": [1]}, "extra_body", "mapping"),
    ({"response_format": {"type": object}}, "response_format", "response_format['type']"),
    ({"messages": "Hello"}, "messages", "list of messages"),
    ({"messages": {"role": "user"}}, "messages", "list of messages"),
    ({"messages": 5}, "messages", "list of messages"),
    ({"messages": ["Hello"]}, "messages", "messages[0]"),
    ({"messages": [*MESSAGES, None]}, "messages", "messages[1]"),
    ({"messages": [{"role": "user", "content": "a\udcffb"}]}, "messages", "surrogates"),
    ({"messages": [{"role": "user", "content": {"a set"}}]}, "messages", "messages[0]['content']"),
    ({"messages": [{1: 2}]}, "messages", "key 1"),
    ({"messages": [CYCLE]}, "messages", "nested too deep"),
    ({"messages": None}, "messages", "None"),
    ({"model": None}, "model", "None"),
    ({"extra_query": [1]}, "extra_query", "mapping"),
    ({"extra_query": {"a": None}}, "extra_query", "extra_query['a']"),
    ({"extra_query": {1: "a"}}, "extra_query", "key 1"),
    ({"extra_query": {"a": "\ud800"}}, "extra_query", "surrogates"),
]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("params", "name", "where"), UNSENDABLE, ids=[f"{name}-{where}" for _, name, where in UNSENDABLE]
)
async def test_what_can_not_be_sent_is_named_before_a_byte_is_sent(
    params: dict[str, Any], name: str, where: str
) -> None:
    """Whole or as a stream, the error names the parameter and the place in it; the service hears nothing."""
    async with served() as (server, client):
        for stream in (False, True):
            with pytest.raises(InvalidRequestError) as caught:
                await client.chat.completions.create(stream=stream, **{**ASK, **params})
            error = caught.value
            assert isinstance(error, ValueError)
            assert (error.param, error.attempts) == (name, 0)
            assert name in str(error)
            assert where in str(error)
        with pytest.raises(InvalidRequestError):
            async with client.chat.completions.stream(**{**ASK, **params}):
                pytest.fail("it was sent")
        assert (server.requests, server.connections.accepted) == ([], 0)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "headers",
    [{"X-A": "a\r\nX-B: b"}, {"X-A": "a\0"}, {"X A": "a"}, {"X-A": 5}, {"X-A": "\ud800"}, {"": "a"}, {5: None}, 5],
)
async def test_a_header_that_can_not_be_sent_is_refused_before_a_byte_is_sent(headers: Any) -> None:
    """Line breaks would smuggle in other headers."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="header"):
            await client.chat.completions.create(extra_headers=headers, **ASK)
        assert server.connections.accepted == 0


@pytest.mark.anyio
async def test_values_out_of_range_are_for_the_service_to_judge() -> None:
    """They go out as they are and come back as its refusal."""
    async with served() as (server, client):
        for params in ({"temperature": 3}, {"n": 0}, {"top_k": 0}, {"messages": []}, {"thinking_budget": 1}):
            with pytest.raises(BadRequestError) as caught:
                await client.chat.completions.create(**{**ASK, **params})
            assert caught.value.code == 20015
            assert next(iter(params)) in caught.value.message
            assert server.requests[-1].json.items() >= params.items()


@pytest.mark.parametrize(
    ("name", "near"), [("max_token", "max_tokens"), ("temprature", "temperature"), ("message", "messages")]
)
def test_an_unknown_keyword_names_the_nearest(name: str, near: str) -> None:
    """A misspelt name is told apart from a new parameter, which goes into `extra_body`."""
    with pytest.raises(TypeError, match=f"{name!r}; did you mean {near!r}"):
        check_names({**ASK, name: 1})


def test_an_unknown_keyword_without_a_neighbour_is_named() -> None:
    """Where nothing is near there is no guess."""
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zzz'$"):
        check_names({**ASK, "zzz": 1})


@pytest.mark.parametrize("name", ["model", "messages"])
def test_a_required_keyword_left_out_is_named(name: str) -> None:
    """As Python itself would say of a function's argument."""
    with pytest.raises(TypeError, match=f"missing required keyword argument: {name!r}"):
        check_names({key: value for key, value in ASK.items() if key != name})


@pytest.mark.anyio
async def test_both_methods_check_their_keywords_at_once() -> None:
    """`stream()` says so when it is called, not when it is entered."""
    async with served() as (server, client):
        with pytest.raises(TypeError, match="'temprature'; did you mean 'temperature'"):
            await client.chat.completions.create(temprature=1, **ASK)  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="missing required keyword argument: 'model'"):
            await client.chat.completions.create(messages=[])  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="'streem'"):
            client.chat.completions.stream(streem=True, **ASK)  # type: ignore[call-arg]
        assert server.requests == []


def test_only_what_was_set_is_sent() -> None:
    """None counts as not set; zero, False, and empty values do not."""
    assert sent(temperature=None, stop=None, extra_body=None, timeout=None, extra_headers={"a": "b"}) == ASK
    params = {"temperature": 0, "enable_thinking": False, "stop": "", "tools": []}
    assert sent(**params) == {**ASK, **params}


def test_stream_and_response_format_are_sent_when_asked_for() -> None:
    """They stand outside the list of parameters."""
    body = json.loads(build_body(ASK, stream=True, response_format={"type": "json_object"}))
    assert body == {**ASK, "stream": True, "response_format": {"type": "json_object"}}


def test_token_ids_may_be_integers() -> None:
    """JSON has texts for keys alone; the caller's mapping is left as it is."""
    biases = {50256: -100, "11": 2.5}
    assert sent(logit_bias=biases) == {**ASK, "logit_bias": {"50256": -100, "11": 2.5}}
    assert list(biases) == [50256, "11"]
    assert sent(logit_bias=[1]) == {**ASK, "logit_bias": [1]}  # for the service to judge


def test_texts_to_stop_at_may_be_any_iterable() -> None:
    assert sent(stop=("a", "b")) == sent(stop=iter("ab")) == {**ASK, "stop": ["a", "b"]}


def test_extra_body_has_the_last_word() -> None:
    """What the parameters don't know is merged in, None too, over what they say."""
    assert sent(top_k=5, extra_body={"top_k": 6, "new": None}) == {**ASK, "top_k": 6, "new": None}


def test_an_answer_goes_back_as_it_came() -> None:
    """The answer's own message is a turn: None is left out, reasoning goes with tool calls alone."""
    call = ToolCall(id="1", function=Function(name="f", arguments="{}"))
    call_sent = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert sent_message(AssistantMessage(content="Hi", reasoning_content="hm")) == {
        "role": "assistant",
        "content": "Hi",
    }
    assert sent_message(AssistantMessage(reasoning_content="hm", tool_calls=[call])) == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "hm",
        "tool_calls": [call_sent],
    }
    assert sent_message({"role": "assistant", "content": None, "tool_calls": [call]}) == {
        "role": "assistant",
        "content": "",
        "tool_calls": [call_sent],
    }


def test_a_message_is_sent_as_the_caller_wrote_it() -> None:
    """Other roles and unknown keys are the service's business; the caller's dict is left alone."""
    message = {"role": "tool", "content": None, "tool_call_id": "1", "new": {"a": [1, 2.5, True, None]}}
    before = json.dumps(message)
    assert sent_message(message) == message
    assistant: dict[str, Any] = {"role": "assistant"}
    assert sent_message(assistant) == {"role": "assistant", "content": ""}
    assert (json.dumps(message), assistant) == (before, {"role": "assistant"})


class Model:
    """A pydantic model, by its one method that counts."""

    def model_dump(self, *, exclude_none: bool) -> dict[str, Any]:
        return {"role": "user", "content": "hi"} if exclude_none else {}


class Read(Mapping[str, Any]):
    def __getitem__(self, key: str) -> Any:
        return {"role": "user", "content": "hi"}[key]

    def __iter__(self) -> Any:
        return iter(["role", "content"])

    def __len__(self) -> int:
        return 2


@pytest.mark.parametrize(
    "messages",
    [iter(MESSAGES), tuple(MESSAGES), (m for m in MESSAGES), [Model()], [Read()]],
    ids=lambda m: type(m).__name__,
)
def test_messages_may_be_any_iterable_of_mappings(messages: Iterable[Any]) -> None:
    """Lists, tuples, generators; dicts, other mappings, and other packages' messages."""
    assert sent(messages=messages) == ASK


class Effort(enum.StrEnum):
    HIGH = "high"


class Text(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


class Half(float):
    __slots__ = ()


class Two(int):
    __slots__ = ()


def test_what_derives_from_json_types_is_sent_as_them() -> None:
    """Enums, and subclasses such as NumPy's float64."""
    params = {
        "reasoning_effort": Effort.HIGH,
        "temperature": Half(0.5),
        "n": Two(2),
        "extra_body": {Text("a"): Text("b")},
    }
    assert sent(**params) == {**ASK, "reasoning_effort": "high", "temperature": 0.5, "n": 2, "a": "b"}
    with pytest.raises(InvalidRequestError, match="temperature"):
        sent(temperature=Half("nan"))


def test_big_integers_are_sent_whole() -> None:
    """The service judges them."""
    assert sent(seed=2**70)["seed"] == 2**70


def test_a_query_is_text() -> None:
    """Numbers and flags are written as JSON would write them."""
    assert query_of({"a": True, "b": 1, "c": 0.5, "d": "x y"}) == {"a": "true", "b": "1", "c": "0.5", "d": "x y"}
    assert query_of(None) == {}
