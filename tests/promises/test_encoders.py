"""Whatever a user encodes a struct of this library with holds what `to_dict()` holds, and can be read back."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Callable
from decimal import Decimal
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import pytest

import siliconflow_async
from siliconflow_async import (
    ChatCompletion,
    ChatCompletionChunk,
    MapResult,
    Model,
    ModelList,
    RateLimitError,
)
from siliconflow_async import batch as batches
from siliconflow_async import relay as relays
from siliconflow_async.testing import sse
from siliconflow_async.wire.plain import Plain

from ..asking import ASK, DONE, chunk, served

PUBLIC = {
    name: value
    for module in (siliconflow_async, relays, batches)
    for name in module.__all__
    if inspect.isclass(value := getattr(module, name)) and issubclass(value, msgspec.Struct)
}
# Each of them to JSON and back to plain data; `test_serving.py` tries others, in the frameworks that use them.
ENCODERS: dict[str, Callable[[Any], Any]] = {
    "msgspec.json": lambda value: msgspec.json.decode(msgspec.json.encode(value)),
    "msgspec.msgpack": lambda value: msgspec.msgpack.decode(msgspec.msgpack.encode(value)),
    "msgspec.to_builtins": msgspec.to_builtins,
    "json with default": lambda value: json.loads(json.dumps(value, default=msgspec.to_builtins)),
    "msgspec.json with a hook": lambda value: json.loads(msgspec.json.Encoder(enc_hook=str).encode(value)),
}
LOGPROBS = {"content": [{"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}], "refusal": None}
USAGE = {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2, "prompt_tokens_details": None}


def value_of(kind: Any, *, full: bool) -> Any:
    """Return a value of an annotation."""
    if isinstance(kind, TypeVar):
        return value_of(kind.__bound__ or int, full=full)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        others = [one for one in arguments if one is not NoneType and get_origin(one) is not Callable]
        if not others:
            return None  # a function, which no encoder takes
        return value_of(others[0], full=full) if full or NoneType not in arguments else None
    if origin is Annotated:
        return value_of(arguments[0], full=full)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [value_of(arguments[0], full=full)]
    if origin is not None and issubclass(origin, msgspec.Struct):
        kind = origin
    elif origin is not None:
        return {"a": 1}
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return struct_of(kind, full=full)
    if isinstance(kind, type) and issubclass(kind, BaseException):
        return None
    return {int: 1, str: "é", float: 0.5, bool: True, NoneType: None, Any: {"a": 1}, Decimal: Decimal("0.10")}[kind]


def struct_of(kind: type[msgspec.Struct], *, full: bool) -> Any:
    # One that holds another of its kind ends there.
    fields = [item for item in msgspec.structs.fields(kind) if kind not in get_args(item.type) or item.required]
    return kind(
        **{
            item.name: None if kind in get_args(item.type) else value_of(item.type, full=full)
            for item in fields
            if full or item.required
        }
    )


@pytest.mark.parametrize("full", [True, False], ids=["full", "bare"])
@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_struct_is_encoded_as_to_dict_has_it(name: str, encoder: str, full: bool) -> None:
    """With every field set, and with none that may be left out."""
    value = struct_of(PUBLIC[name], full=full)
    plain = ENCODERS[encoder](value)
    assert plain == msgspec.to_builtins(value)
    if isinstance(value, Plain):
        assert plain == value.to_dict() == json.loads(value.to_json())
        assert None not in plain.values()


@pytest.mark.anyio
@pytest.mark.parametrize("encoder", ENCODERS)
async def test_answers_as_they_come_are_encoded_as_to_dict_has_them(encoder: str) -> None:
    """Whole, folded, half-way, chunk by chunk, with usage and log probabilities and without; without raw and times."""
    encode = ENCODERS[encoder]
    message = {"role": "assistant", "content": "Hi", "reasoning_content": None}
    async with served() as (server, client):
        for more in ({}, {"logprobs": LOGPROBS, "finish_reason": "stop"}, {"logprobs": None, "finish_reason": None}):
            whole = {"id": "x", "choices": [{"index": 0, "message": message, **more}], "usage": USAGE}
            server.raw([json.dumps(whole).encode()], headers={"content-type": "application/json"})
            done = await client.chat.completions.create(**ASK)
            assert done.raw is not None
            assert done.timing.total is not None
            event = {"choices": [{"index": 0, "delta": {"content": "Hi"}, **more}], "usage": USAGE}
            server.raw([sse(event), chunk("!"), chunk("", finish="stop"), DONE])
            stream = await client.chat.completions.create(**ASK, stream=True)
            chunks, partials = [], []
            async for one in stream:
                chunks.append(one)
                partials.append(stream.partial)
            for answer in (done, *chunks, *partials, *done.choices, *chunks[0].choices):
                plain = encode(answer)
                assert plain == answer.to_dict() == json.loads(answer.to_json())
                assert "null" not in json.dumps(plain)
                assert "$" not in json.dumps(plain)
            assert encode(done)["usage"] == {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 2}
            assert encode([done, {"a": done}]) == [done.to_dict(), {"a": done.to_dict()}]


@pytest.mark.anyio
async def test_what_was_encoded_is_read_back_as_the_answer() -> None:
    """`convert` of `to_dict()`, and every decoder of what an encoder wrote, give an equal answer."""
    async with served() as (server, client):
        server.reply("Hi.", "Well.", [{"name": "f", "arguments": {"a": 1}}], usage=USAGE)
        done = await client.chat.completions.create(**ASK)
    for again in (
        msgspec.convert(done.to_dict(), ChatCompletion),
        msgspec.json.decode(done.to_json(), type=ChatCompletion),
        msgspec.json.decode(msgspec.json.encode(done), type=ChatCompletion),
        msgspec.msgpack.decode(msgspec.msgpack.encode(done), type=ChatCompletion),
    ):
        assert again == done
        assert (again.raw, again.trace_id, again.headers, again.timing.total) == (None, None, {}, None)
    event = {"choices": [{"delta": {"content": "x"}, "logprobs": {"content": [{"token": "x", "top_logprobs": []}]}}]}
    read = msgspec.json.decode(json.dumps(event), type=ChatCompletionChunk)
    assert msgspec.convert(read.to_dict(), ChatCompletionChunk) == read


@pytest.mark.parametrize("again", [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy])
def test_what_stands_beside_the_fields_is_copied_with_them(again: Any) -> None:
    """raw, headers and the trace id are no fields, but go where the answer goes."""
    listed = ModelList(data=[Model("a")])
    listed.raw, listed.headers, listed.trace_id = b"{}", {"a": "b"}, "ti_1"
    assert (again(listed).raw, again(listed).headers, again(listed).trace_id) == (b"{}", {"a": "b"}, "ti_1")
    assert again(listed) == listed


@pytest.mark.anyio
async def test_results_of_map_are_encoded_unless_they_failed() -> None:
    """One with an answer is plain data; one that failed is a TypeError that names its error, and no broken JSON."""
    async with served() as (server, client):
        server.reply("Hi.")
        async with client.chat.completions.map([ASK]) as results:
            (result,) = [result async for result in results]
    assert result.completion is not None
    plain = msgspec.json.decode(msgspec.json.encode(result))
    assert plain["completion"] == result.completion.to_dict()
    assert plain["request"] == ASK
    failed: MapResult[Any] = msgspec.structs.replace(result, completion=None, error=RateLimitError("no"))
    for encode in ENCODERS.values():
        if encode is not ENCODERS["msgspec.json with a hook"]:
            with pytest.raises(TypeError, match="RateLimitError"):
                encode(failed)
