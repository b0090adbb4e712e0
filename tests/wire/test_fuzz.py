"""Random streams and bodies, from random bytes to chunks with any value in any place."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from siliconflow_async.errors import APIStatusError, StreamError
from siliconflow_async.wire.events import EventBuilder
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion
from siliconflow_async.wire.structs import ChatCompletion, ChatCompletionChunk

from .build import DONE, Json, call, data, dump, escaped, small
from .pieces import chunkings
from .runs import run

PIECES: list[bytes] = [
    *(
        b"data: ",
        b"data:",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"event: error\n",
        b"event: x\n",
        b": c\n\n",
        b"id: 1\n",
        b"[DONE]",
    ),
    *(
        DONE,
        data(small({"content": "a"})),
        data(small({}, "stop")),
        data(small(call(None, None, "f", {"a": 1}))),
    ),
    *(data({"code": 1, "message": "x"}), data({"error": {}}), data({"choices": None, "usage": {"prompt_tokens": []}})),
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b"<",
        b"null",
        b"NaN",
        b"1e999",
        b"\\ud800",
        b"\xff",
        b"\xef\xbb\xbf",
        b" ",
        b"\x00",
    ),
    *(b'{"choices":[', b'{"delta":', b'{"content":"', b'"}', b"]}", b'"index":', b",", b'"finish_reason":"stop"'),
    *(
        b'"tool_calls":[',
        b'"function":',
        b'"arguments":',
        b'"usage":',
        b'"logprobs":',
        b'"$raw":',
        b"[" * 600,
        b"]" * 600,
    ),
    *(dump(small({"content": "b"})), b"-1", b"9" * 30, b"x" * 90),
]
soup = st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map(b"".join), st.binary(max_size=80))

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


def objects(keys: list[str], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    """Draw objects with any of these keys: as they should be where known, else of any value."""
    return st.fixed_dictionaries({}, optional={key: st.one_of(known.get(key, values), values) for key in keys})


functions = objects(["name", "arguments"])
calls = st.lists(st.one_of(objects(["index", "id", "type", "function"], function=functions), values), max_size=3)
deltas = objects(["role", "content", "reasoning_content", "reasoning", "tool_calls"], tool_calls=calls)
choices = objects(["index", "delta", "message", "finish_reason", "logprobs"], delta=deltas, message=deltas)
odd_chunks = objects(
    ["id", "object", "created", "model", "choices", "usage", "error", "code", "message", "$raw", "system_fingerprint"],
    choices=st.lists(st.one_of(choices, values), max_size=3),
    usage=objects(
        ["prompt_tokens", "completion_tokens_details"], completion_tokens_details=objects(["reasoning_tokens"])
    ),
)


def look_at(answer: ChatCompletion | ChatCompletionChunk) -> None:
    """Read all that can be read of an answer: nothing of it raises."""
    assert json.loads(answer.to_json()) == answer.to_dict()
    assert repr(answer)
    assert answer.usage is None or isinstance(answer.usage.to_dict(), dict)
    assert len([choice.logprobs for choice in answer.choices]) == len(answer.choices)


@settings(max_examples=1000)
@given(chunkings(soup))
def test_any_bytes_give_chunks_or_one_of_our_errors(drawn: tuple[bytes, list[bytes]]) -> None:
    """Any bytes either give chunks or set a failure that is a StreamError or an APIStatusError; never anything else.

    And any chunking of them gives the same.
    """
    body, pieces = drawn
    assert run(pieces) == run([body])
    assert run(pieces, max_event_size=100) == run([body], max_event_size=100)


@settings(max_examples=500)
@given(chunkings(st.lists(odd_chunks, max_size=4).map(lambda items: b"".join(data(escaped(item)) for item in items))))
def test_chunks_with_any_value_anywhere_give_chunks_or_one_of_our_errors(drawn: tuple[bytes, list[bytes]]) -> None:
    """Whatever stands where a chunk should have something else, it is read, left out, or ends in a typed error."""
    body, pieces = drawn
    assert run(pieces) == run([body])
    protocol, builder = ChatProtocol(1 << 24), EventBuilder()
    for chunk in protocol.feed(body) + protocol.eof():
        look_at(chunk)
        assert all(json.loads(event.to_json()) for event in builder.feed(chunk))
    assert all(json.loads(event.to_json()) for event in builder.finish(None))


@settings(max_examples=400)
@given(st.one_of(soup, odd_chunks.map(escaped)))
def test_any_body_is_an_answer_or_one_of_our_errors(body: bytes) -> None:
    """`decode_completion` gives an answer with choices, or raises a StreamError or an APIStatusError."""
    try:
        completion = decode_completion(body)
    except (StreamError, APIStatusError):
        return
    assert completion.choices
    assert completion.raw == body
    look_at(completion)
