"""Typed events: what each chunk says, in order, and how they look as JSON."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.events import (
    ContentDelta,
    ErrorEvent,
    Event,
    EventBuilder,
    Finished,
    ReasoningDelta,
    Started,
    ToolCallDelta,
    ToolCallDone,
)
from siliconflow_async.wire.protocol import ChatProtocol
from siliconflow_async.wire.structs import Usage

from .build import ID, MODEL, Json, call, choice, chunk, data, small, text
from .streams import STREAMS


def events_of(body: bytes, usage: Usage | None = None) -> list[Event]:
    protocol = ChatProtocol(1 << 20)
    builder = EventBuilder()
    chunks = protocol.feed(body) + protocol.eof()
    return [event for item in chunks for event in builder.feed(item)] + builder.finish(usage)


def test_a_text_gives_started_deltas_and_finished() -> None:
    """Reasoning and content come as they are sent; what is empty gives no event; the usage is on Finished."""
    usage = Usage(1, 2, 3)
    body = data(text("", ""), text(None, "Hm"), text("Hel"), text("lo", "?"), text("", finish="stop"), chunk())
    assert events_of(body, usage) == [
        Started(0, ID, MODEL),
        ReasoningDelta(0, "Hm"),
        ContentDelta(0, "Hel"),
        ReasoningDelta(0, "?"),
        ContentDelta(0, "lo"),
        Finished(0, "stop", usage),
    ]


def test_tool_calls_are_done_once_their_choice_has_finished() -> None:
    """A call's fragments come as they are sent, with its id and name; the whole call comes with the finish reason."""
    builder = EventBuilder()
    opener, more, other, end = ChatProtocol(1 << 20).feed(
        data(
            small(call(0, "a", "f", "")),
            small(call(0, None, None, '{"x":1}')),
            small(call(1, "b", "g", "{}")),
            small({"content": ""}, "tool_calls"),
        )
    )
    assert builder.feed(opener) == [Started(0, "", ""), ToolCallDelta(0, 0, "a", "f", "")]
    assert builder.feed(more) == [ToolCallDelta(0, 0, "a", "f", '{"x":1}')]
    assert builder.feed(other) == [ToolCallDelta(0, 1, "b", "g", "{}")]
    assert builder.feed(end) == [ToolCallDone(0, 0, "a", "f", '{"x":1}'), ToolCallDone(0, 1, "b", "g", "{}")]
    assert builder.feed(end) == []
    assert builder.finish(None) == [Finished(0, "tool_calls")]


def test_tool_calls_without_a_finish_reason_are_done_at_the_end() -> None:
    """After [DONE] alone the calls are complete; no call is before the stream is known to be whole."""
    body = data(small(call(0, "a", "f", "{}")))
    assert events_of(body)[-2:] == [ToolCallDone(0, 0, "a", "f", "{}"), Finished(0)]
    builder = EventBuilder()
    chunks = ChatProtocol(1 << 20).feed(body)
    assert not any(isinstance(event, ToolCallDone) for item in chunks for event in builder.feed(item))


def test_calls_that_go_on_after_the_finish_reason_are_done_at_the_end() -> None:
    """What a server sends late is told with the stream's end, and nothing else is told twice."""
    body = data(
        small(call(0, "a", "f", "{}")),
        small(call(1, "b", "g", '{"x"'), "tool_calls"),
        small(call(1, None, None, ":1}")),
        small(call(0, None, None, "")),
        small(call(2, "c", "h", "[]"), "tool_calls"),
    )
    assert [event for event in events_of(body) if isinstance(event, ToolCallDone | Finished)] == [
        ToolCallDone(0, 0, "a", "f", "{}"),
        ToolCallDone(0, 1, "b", "g", '{"x"'),
        ToolCallDone(0, 1, "b", "g", '{"x":1}'),
        ToolCallDone(0, 2, "c", "h", "[]"),
        Finished(0, "tool_calls"),
    ]


def test_a_call_whole_in_the_last_chunk_is_told_and_done() -> None:
    """A fragment beside the finish reason belongs to the call."""
    assert events_of(data(small(call(0, "a", "f", {"x": 1}), "tool_calls")))[1:] == [
        ToolCallDelta(0, 0, "a", "f", '{"x":1}'),
        ToolCallDone(0, 0, "a", "f", '{"x":1}'),
        Finished(0, "tool_calls"),
    ]


def test_choices_interleave_and_finish_in_their_order() -> None:
    """Each choice has its own Started and Finished; the usage is on the last Finished only."""
    usage = Usage(1, 2, 3)
    body = data(
        {"choices": [choice({"content": "b"}, index=1)]},
        {"choices": [choice({"content": "a"}), choice({"content": "b"}, "length", 1)]},
        {"choices": [choice({}, "stop")]},
    )
    assert events_of(body, usage) == [
        Started(1, "", ""),
        ContentDelta(1, "b"),
        Started(0, "", ""),
        ContentDelta(0, "a"),
        ContentDelta(1, "b"),
        Finished(0, "stop"),
        Finished(1, "length", usage),
    ]


def test_a_stream_without_choices_has_no_events() -> None:
    """Nothing began, so nothing is finished."""
    assert events_of(data({"choices": []})) == []


@pytest.mark.parametrize("name", STREAMS)
def test_events_tell_what_the_folded_answer_holds(name: str) -> None:
    """Of every shape of stream: the deltas joined, and the calls done, are those of the answer."""
    protocol = ChatProtocol(1 << 20)
    accumulator = Accumulator()
    accumulator.fold(protocol.feed(STREAMS[name].body) + protocol.eof())
    answer = accumulator.completion()
    events = events_of(STREAMS[name].body, answer.usage)
    for item in answer.choices:
        own = [event for event in events if event.index == item.index]
        assert isinstance(own[0], Started)
        assert own[-1] == Finished(item.index, item.finish_reason, answer.usage if item is answer.choices[-1] else None)
        assert "".join(event.text for event in own if isinstance(event, ContentDelta)) == (item.message.content or "")
        reasoning = "".join(event.text for event in own if isinstance(event, ReasoningDelta))
        assert reasoning == (item.message.reasoning_content or "")
        done = [(event.id, event.name, event.arguments) for event in own if isinstance(event, ToolCallDone)]
        assert done == [(c.id, c.function.name, c.function.arguments) for c in item.message.tool_calls or []]
    assert {event.index for event in events} == {item.index for item in answer.choices}


TAGGED: list[tuple[Event, Json]] = [
    (Started(0, "x", "m"), {"type": "started", "index": 0, "id": "x", "model": "m"}),
    (ReasoningDelta(0, "é"), {"type": "reasoning_delta", "index": 0, "text": "é"}),
    (ContentDelta(1, ""), {"type": "content_delta", "index": 1, "text": ""}),
    (
        ToolCallDelta(0, 0, "a", "f", ""),
        {"type": "tool_call_delta", "index": 0, "call": 0, "id": "a", "name": "f", "arguments": ""},
    ),
    (
        ToolCallDone(0, 1, "a", "f", "{}"),
        {"type": "tool_call_done", "index": 0, "call": 1, "id": "a", "name": "f", "arguments": "{}"},
    ),
    (Finished(0), {"type": "finished", "index": 0}),
    (Finished(0, "stop"), {"type": "finished", "index": 0, "reason": "stop"}),
    (
        ErrorEvent(0, "StreamAPIError", "no", 5),
        {"type": "error", "index": 0, "error": "StreamAPIError", "message": "no", "code": 5},
    ),
    (ErrorEvent(0, "X", "no"), {"type": "error", "index": 0, "error": "X", "message": "no"}),
]


@pytest.mark.parametrize(("event", "plain"), TAGGED)
def test_an_event_is_one_json_object_with_its_type(event: Event, plain: Json) -> None:
    """`to_json` tags the event by type, leaves out what is None, and can be read back as the same event."""
    assert json.loads(event.to_json()) == plain
    assert msgspec.json.decode(event.to_json(), type=Event) == event
    assert pickle.loads(pickle.dumps(event)) == event


def test_finished_carries_its_usage_as_json() -> None:
    """Usage comes as an object under its wire names and can be read back."""
    event = Finished(0, "stop", Usage(1, 2, 3))
    usage = json.loads(event.to_json())["usage"]
    assert {key: value for key, value in usage.items() if value is not None} == {
        "prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3
    }  # fmt: skip
    assert msgspec.json.decode(event.to_json(), type=Event) == event


def test_events_are_made_for_match() -> None:
    """Text of both kinds binds one name."""

    def words(event: Event) -> str:
        match event:
            case ReasoningDelta(text=said) | ContentDelta(text=said):
                return said
            case ToolCallDone(name=name, arguments=arguments):
                return f"{name}({arguments})"
            case _:
                return ""

    body = data(text(None, "Hm"), text("Hello"), small(call(0, "a", "f", "{}"), "stop"))
    assert "".join(words(event) for event in events_of(body)) == "HmHellof({})"
