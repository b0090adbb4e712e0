"""Any bytes whatever, cut into any reads, give the same chunks and then either an end or one failure, which is a
StreamError or, for an error envelope that is the whole body, an APIStatusError; no way to read what they gave raises.

Random bytes, pieces of the format in any order, chunks with any value in any place, and good streams damaged. `python
-m pytest tests/wire/test_fuzz.py --hypothesis-profile=long` searches thirty times as long.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from siliconflow_async.errors import APIStatusError, StreamError
from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.events import ContentDelta, EventBuilder, Finished, ReasoningDelta, ToolCallDone
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion
from siliconflow_async.wire.structs import ChatCompletion, ChatCompletionChunk

from .build import DONE, Json, call, data, dump, escaped, small
from .pieces import chunkings
from .runs import run
from .streams import STREAMS

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


def examples(share: float) -> settings:
    """Search this many times as long as the profile says."""
    return settings(max_examples=int(share * settings.default.max_examples))


def check(body: bytes, pieces: list[bytes], max_event_size: int = 1 << 24) -> None:
    """Hold a body to the invariant, cut and whole, as chunks, as an answer and as events, which tell the same."""
    assert run(pieces, max_event_size) == run([body], max_event_size)
    run(pieces, max_event_size, lazily=True)
    protocol, builder, accumulator = ChatProtocol(max_event_size), EventBuilder(), Accumulator()
    events = []
    for chunk in protocol.feed(body) + protocol.eof():
        look_at(chunk)
        accumulator.fold([chunk])
        look_at(accumulator.completion())
        events += builder.feed(chunk)
    answer = accumulator.completion()
    events += builder.finish(answer.usage)
    assert all(json.loads(event.to_json()) for event in events)
    finished = [event for event in events if isinstance(event, Finished)]
    assert [event.index for event in finished] == [choice.index for choice in answer.choices]
    for choice in answer.choices:
        mine = [event for event in events if event.index == choice.index]
        message = choice.message
        assert "".join(event.text for event in mine if isinstance(event, ContentDelta)) == (message.content or "")
        thought = "".join(event.text for event in mine if isinstance(event, ReasoningDelta))
        assert thought == (message.reasoning_content or "")
        calls = {event.call: event.arguments for event in mine if isinstance(event, ToolCallDone)}
        assert [calls[at] for at in sorted(calls)] == [call.function.arguments for call in message.tool_calls or []]


@examples(4)
@given(chunkings(soup))
def test_any_bytes_give_chunks_or_one_of_our_errors(drawn: tuple[bytes, list[bytes]]) -> None:
    """Random bytes, and pieces of the format in any order, with a large limit and with a small one."""
    body, pieces = drawn
    check(body, pieces)
    check(body, pieces, max_event_size=100)


@examples(1.5)
@given(chunkings(st.lists(odd_chunks, max_size=4).map(lambda items: b"".join(data(escaped(item)) for item in items))))
def test_chunks_with_any_value_anywhere_give_chunks_or_one_of_our_errors(drawn: tuple[bytes, list[bytes]]) -> None:
    """Whatever stands where a chunk should have something else, it is read, left out, or ends in a typed error."""
    check(*drawn)


def damage(body: bytes, kind: str, start: float, size: int, noise: bytes) -> bytes:
    at = int(start * len(body))
    gone = body[at : at + size]
    match kind:
        case "flip":
            return body[:at] + bytes(byte ^ 1 << size % 8 for byte in gone) + body[at + size :]
        case "overwrite":
            return body[:at] + noise + body[at + len(noise) :]
        case "insert":
            return body[:at] + noise + body[at:]
        case "delete":
            return body[:at] + body[at + size :]
        case "duplicate":
            return body[:at] + gone + body[at:]
        case "move":
            return body[:at] + body[at + size :] + gone
        case _:
            return body[:at]


KINDS = ["flip", "overwrite", "insert", "delete", "duplicate", "move", "truncate"]
harms = st.tuples(
    st.sampled_from(KINDS),
    st.floats(0, 1),
    st.integers(1, 60),
    st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=8)),
)
# The long ones are of limits, which are tested elsewhere; damage finds more in short ones.
good = st.sampled_from([stream.body for stream in STREAMS.values() if len(stream.body) < 20_000])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Draw a good stream, harmed in up to five places."""
    body = draw(good)
    for harm in draw(st.lists(harms, min_size=1, max_size=5)):
        body = damage(body, *harm)
    return body


@examples(3)
@given(chunkings(damaged()))
def test_a_damaged_stream_gives_chunks_or_one_of_our_errors(drawn: tuple[bytes, list[bytes]]) -> None:
    """A good stream with bytes flipped, overwritten, inserted, deleted, doubled, moved or cut off."""
    check(*drawn)


answers = objects(["id", "object", "created", "model", "choices", "usage"], choices=st.lists(choices, max_size=3))


@st.composite
def damaged_answers(draw: st.DrawFn) -> bytes:
    """Draw a whole answer, harmed in up to three places."""
    body = escaped(draw(answers))
    for harm in draw(st.lists(harms, max_size=3)):
        body = damage(body, *harm)
    return body


@examples(2)
@given(st.one_of(soup, odd_chunks.map(escaped), damaged_answers()))
def test_any_body_is_an_answer_or_one_of_our_errors(body: bytes) -> None:
    """`decode_completion` gives an answer, with choices unless `[DONE]` is all, or an error that we know."""
    try:
        completion = decode_completion(body)
    except (StreamError, APIStatusError):
        return
    assert completion.choices or b"[DONE]" in body
    assert completion.raw == body
    look_at(completion)
