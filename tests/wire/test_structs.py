"""The answer's structs: short cuts, plain forms, pickles, and what the wire cannot set."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import msgspec
import pytest

from siliconflow_async.errors import (
    APIStatusError,
    AuthenticationError,
    MalformedStreamError,
    OverloadedError,
    TruncatedStreamError,
)
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion
from siliconflow_async.wire.structs import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    ChoiceDelta,
    ChunkChoice,
    CompletionTokensDetails,
    PromptTokensDetails,
    Timing,
    Usage,
)

from .build import FULL_USAGE, ID, MODEL, WEATHER, Json, call, choice, chunk, data, dump, message, small, text, tokens

ANSWER: Json = {
    "id": ID,
    "object": "chat.completion",
    "created": 1753327376,
    "model": MODEL,
    "choices": [{"index": 0, "message": message("Hello 😄", "Hmm.", [WEATHER]), "finish_reason": "tool_calls"}],
    "usage": FULL_USAGE,
    "system_fingerprint": "",
}
BARE: Json = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}


def only_chunk(payload: Json) -> ChatCompletionChunk:
    [got] = ChatProtocol(1 << 20).feed(data(payload))
    return got


def test_an_answer_has_the_short_cuts_of_choice_0() -> None:
    """content, reasoning_content, tool_calls, finish_reason and usage are at hand under openai's names."""
    done = decode_completion(dump(ANSWER))
    assert (done.id, done.object, done.created, done.model) == (ID, "chat.completion", 1753327376, MODEL)
    assert (done.content, done.reasoning_content, done.finish_reason) == ("Hello 😄", "Hmm.", "tool_calls")
    assert done.tool_calls is not None
    assert done.tool_calls[0].function.name == "weather"
    assert json.loads(done.tool_calls[0].function.arguments) == {"city": "Köln"}
    assert done.choices[0].message.role == "assistant"
    assert done.usage is not None
    assert done.usage.completion_tokens_details is not None
    assert done.usage.completion_tokens_details.reasoning_tokens == 24
    assert done.usage.prompt_tokens_details is not None
    assert done.usage.prompt_tokens_details.cached_tokens == 256
    assert (done.usage.prompt_cache_hit_tokens, done.usage.prompt_cache_miss_tokens) == (256, 27)
    assert (done.trace_id, done.headers, done.timing) == (None, {}, Timing())


def test_a_chunk_has_the_short_cuts_of_choice_0() -> None:
    """The short cuts are those of the choice whose index is 0, wherever it stands."""
    got = only_chunk(chunk(choice({"content": "no"}, index=1), choice({"content": "yes", **call(0, "a", "f")}, "stop")))
    assert (got.content, got.reasoning_content, got.finish_reason) == ("yes", None, "stop")
    assert got.tool_calls is not None
    assert got.tool_calls[0].id == "a"
    assert only_chunk(text(None, "Hmm.")).reasoning_content == "Hmm."


@pytest.mark.parametrize(
    "answer", [ChatCompletionChunk(), ChatCompletion(), only_chunk(chunk(choice({"content": "x"}, index=2)))]
)
def test_short_cuts_are_none_without_choice_0(answer: ChatCompletion | ChatCompletionChunk) -> None:
    """An answer without choice 0 has None under each short cut, and no usage."""
    assert (answer.content, answer.reasoning_content, answer.tool_calls, answer.finish_reason) == (None,) * 4
    assert answer.usage is None


def test_raw_is_the_bytes_of_the_body() -> None:
    """What the structs don't know is still in raw."""
    body = dump(BARE | {"unknown": 1})
    assert decode_completion(body).raw == body


@pytest.mark.parametrize("payload", [ANSWER, BARE, BARE | {"choices": [{"message": {"content": ["Hi"]}}]}])
def test_plain_forms_hold_the_wires_names_without_none_and_raw(payload: Json) -> None:
    """`to_dict` and `to_json` are the answer as sent, without null, raw, headers and times."""
    done = decode_completion(dump(payload))
    plain = done.to_dict()
    assert json.loads(done.to_json()) == plain
    assert decode_completion(done.to_json().encode()).to_dict() == plain
    assert not any(key.startswith("$") or "raw" in key for key in plain)
    assert "null" not in done.to_json()


def test_to_dict_is_what_was_sent() -> None:
    """A full answer comes back key by key."""
    assert decode_completion(dump(ANSWER)).to_dict() == ANSWER
    assert only_chunk(text("Hi", usage=FULL_USAGE)).to_dict() == {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": 1764681242,
        "model": MODEL,
        "choices": [{"index": 0, "delta": {"content": "Hi"}}],
        "system_fingerprint": "",
        "usage": FULL_USAGE,
    }


def test_null_inside_usage_and_logprobs_is_left_out() -> None:
    """The parts that any JSON may be are without null too, in chunks and in whole answers."""
    logprobs = {"content": None, "refusal": [None], "of": [{"bytes": None, "token": "a"}]}
    usage = {"total_tokens": 1, "completion_tokens_details": None, "prompt_tokens_details": {"cached_tokens": None}}
    one = only_chunk(chunk(choice({}, logprobs=logprobs), usage=usage))
    for answer in (one, decode_completion(dump({"choices": [{"logprobs": logprobs}], "usage": usage}))):
        plain = answer.to_dict()
        assert plain["choices"][0]["logprobs"] == {"refusal": [None], "of": [{"token": "a"}]}
        assert plain["usage"] == {
            "prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 1, "prompt_tokens_details": {}
        }  # fmt: skip


def test_a_message_is_ready_to_be_sent_back() -> None:
    """An answer's message as a dict is a valid turn of the conversation."""
    assert decode_completion(dump(ANSWER)).choices[0].message.to_dict() == message("Hello 😄", "Hmm.", [WEATHER])
    assert AssistantMessage().to_dict() == {"role": "assistant"}


def test_repr_shows_what_is_set() -> None:
    """A repr is short: no None, no raw, no headers."""
    done = decode_completion(dump(BARE))
    done.headers = {"set-cookie": "secret"}
    assert repr(done) == (
        "ChatCompletion(id='', object='chat.completion', created=0, model='', choices=[{'index': 0, 'message': "
        "{'role': 'assistant', 'content': 'Hi'}, 'finish_reason': 'stop'}])"
    )
    assert repr(ChoiceDelta(content="Hi")) == "ChoiceDelta(content='Hi')"
    assert repr(Timing(0.5, 2.0)) == "Timing(first_token=0.5, total=2.0)"


@pytest.mark.parametrize("again", [lambda answer: pickle.loads(pickle.dumps(answer)), copy.copy, copy.deepcopy])
def test_answers_can_be_pickled_and_copied(again: Any) -> None:
    """A pickle keeps every field, raw, headers and times too."""
    done = decode_completion(dump(ANSWER))
    done.trace_id, done.headers, done.timing = "ti_1", {"a": "b"}, Timing(0.1, 0.2)
    assert again(done) == done
    assert again(done).usage == done.usage
    got = only_chunk(chunk(choice(call(0, "a", "f"), "stop", logprobs={"content": []}), usage=FULL_USAGE))
    assert again(got) == got
    assert (again(got).raw, again(got).choices[0].logprobs) == (got.raw, {"content": []})


HOSTILE: Json = {
    "$raw": "aGVsbG8=",
    "$trace_id": "ti_forged",
    "$headers": {"x-siliconcloud-trace-id": "ti_forged"},
    "$timing": {"first_token": 1.0, "total": 2.0},
    "raw": "x",
    "trace_id": "ti_forged",
    "headers": {"a": "b"},
    "timing": {"total": 2.0},
    "_logprobs": {},
    "usage_json": {},
}


@pytest.mark.parametrize("more", [{}, {"$raw": 5}, {"$headers": 5, "$timing": 5, "$trace_id": 5}, {"created": 1.0}])
def test_the_wire_cannot_set_what_the_library_adds(more: Json) -> None:
    """raw, trace_id, headers and timing are never the server's, by whatever key, by either way of decoding."""
    body = dump(BARE | HOSTILE | more)
    done = decode_completion(body)
    assert (done.raw, done.trace_id, done.headers, done.timing) == (body, None, {}, Timing())
    assert done.usage is None
    assert done.content == "Hi"
    payload = small({"content": "Hi"}) | HOSTILE | more
    got = only_chunk(payload)
    assert (got.raw, got.content, got.usage) == (dump(payload), "Hi", None)


def test_headers_and_times_of_one_answer_are_its_own() -> None:
    """Setting them on one answer leaves the next one alone."""
    one, two = decode_completion(dump(BARE)), decode_completion(dump(BARE))
    one.timing.total = 1.0
    assert one.headers is not two.headers
    assert two.timing == Timing()
    assert ChatCompletion().timing == Timing()
    ChatCompletionChunk().choices.append(ChunkChoice())
    assert ChatCompletionChunk().choices == []


@pytest.mark.parametrize(
    ("sent", "usage"),
    [
        (FULL_USAGE, msgspec.convert(FULL_USAGE, Usage)),
        (tokens(1, 2), Usage(1, 2, 3)),
        (tokens(1, 2, completion_tokens_details=None, extra={"a": [1]}), Usage(1, 2, 3)),
        ({}, Usage()),
        ({"prompt_tokens": 1.0, "completion_tokens": "2", "total_tokens": None}, Usage(1, 0, 0)),
        ({"prompt_tokens": True, "total_tokens": 3}, Usage(0, 0, 3)),
        ({"prompt_tokens": 10**30, "total_tokens": 1e300}, Usage()),
        ({"prompt_tokens": 1, "total_tokens": float("inf"), "completion_tokens": float("nan")}, Usage(1)),
        ({"prompt_tokens": 1, "completion_tokens_details": 5, "prompt_tokens_details": []}, Usage(1)),
        (
            {"completion_tokens_details": {"reasoning_tokens": "x"}},
            Usage(completion_tokens_details=CompletionTokensDetails()),
        ),
        ({"prompt_tokens_details": {"cached_tokens": 2.0}}, Usage(prompt_tokens_details=PromptTokensDetails(2))),
        (None, None),
        ("many", None),
        ([1], None),
        (5, None),
    ],
)
def test_usage_of_any_kind_is_read(sent: Any, usage: Usage | None) -> None:
    """What can be read of usage is; a count of a wrong type is 0, a detail None, and what is no object is no usage."""
    got = only_chunk(small({"content": "x"}, usage=sent)).usage
    assert (got and got.to_dict()) == (usage and usage.to_dict())
    assert isinstance(got, Usage | None)


@pytest.mark.parametrize("depth", [100, 400, 600, 900, 980, 990, 995, 1000, 20_000])
@pytest.mark.parametrize("key", ["usage", "logprobs"])
def test_late_parts_of_any_depth_are_read_or_absent(key: str, depth: int) -> None:
    """Usage and logprobs that are nested deep never raise, wherever the limit lies."""
    deep = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    where = b'"x":1,"usage":' if key == "usage" else b'"x":1,"choices":[{"delta":{"content":"x"},"logprobs":'
    body = b"data: {" + where + deep + (b"}" if key == "usage" else b"}]}") + b"\n\n"
    protocol = ChatProtocol(1 << 20)
    for got in protocol.feed(body):
        assert got.usage in (None, Usage())
        assert all(isinstance(item.logprobs, dict | None) for item in got.choices)
        assert isinstance(got.to_dict(), dict)
        assert repr(got)
        assert isinstance(got.to_json(), str)
    assert isinstance(protocol.failure, MalformedStreamError | None)


def test_a_whole_answer_that_bends_the_format_is_read() -> None:
    """The careful way serves whole answers too."""
    calls = [{"id": None, "function": {"name": "f", "arguments": {"a": 1}}}, {"id": "b"}, 5]
    body = dump(
        {
            "id": 5,
            "choices": [{"message": {"role": None, "content": ["Hi"], "reasoning": "Hmm.", "tool_calls": calls}}, {}],
        }
    )
    done = decode_completion(body)
    assert done.to_dict()["choices"] == [
        {
            "index": 0,
            "message": message("Hi", "Hmm.")
            | {
                "tool_calls": [
                    {"id": "", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
                    {"id": "b", "type": "function", "function": {"name": "", "arguments": ""}},
                ]
            },
        },
        {"index": 1, "message": {"role": "assistant"}},
    ]
    assert done.raw == body


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", TruncatedStreamError),
        (b"<html>", MalformedStreamError),
        (b"[]", MalformedStreamError),
        (b'"Invalid token"', MalformedStreamError),
        (b"{}", MalformedStreamError),
        (b'{"choices":[]}', MalformedStreamError),
        (b'{"choices":null}', MalformedStreamError),
        (b'{"choices":[{"index":0,"message":{"conte', TruncatedStreamError),
        (b"[" * 100_000, MalformedStreamError),
        (b'{"code":50505,"message":"Busy."}', OverloadedError),
        (b'{"code":30014,"message":"Bad token."}', AuthenticationError),
        (b'{"error":{"message":"No.","code":"x"}}', APIStatusError),
        (b'{"error":"No.","choices":[{"index":0}]}', APIStatusError),
    ],
)
def test_a_body_that_is_no_answer_is_a_typed_error(body: bytes, error: type[Exception]) -> None:
    """An error under 200 has the class of its code; what ends too soon is truncated, all else malformed."""
    with pytest.raises(error) as caught:
        decode_completion(body)
    assert type(caught.value) is error
