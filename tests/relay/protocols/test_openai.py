"""OpenAI's chunks: one completion, whatever was run for it."""

from __future__ import annotations

from typing import Any

from siliconflow_async import ContentDelta, ErrorEvent, Finished, Started, ToolCallDelta, ToolCallDone, ToolResult
from siliconflow_async.relay import OpenAIChunks

from .answers import USAGE
from .clients import Completion, objects

RUN = [
    Started(0, "first", "m"),
    ContentDelta(0, "a"),
    ToolCallDelta(0, 0, "c", "f", ""),
    ToolCallDelta(0, 0, "c", "f", "{}"),
    ToolCallDone(0, 0, "c", "f", "{}"),
    Finished(0, "tool_calls", USAGE),
    ToolResult(0, 0, "c", "f", "x"),
    Started(0, "second", "n"),
    ContentDelta(0, "b"),
    ToolCallDone(0, 0, "c", "f", "{}"),
    Finished(0, "tool_calls"),
    ToolResult(0, 0, "c", "f", "x"),
    Started(0, "third", "n"),
    ContentDelta(0, "c"),
    Finished(0, "stop", USAGE),
]


def told(events: list[Any], dialect: OpenAIChunks | None = None, error: ErrorEvent | None = None) -> list[Any]:
    mapping = (dialect or OpenAIChunks()).mapping()
    return [part for event in events for part in mapping.feed(event)] + mapping.end(error)


def test_a_run_is_one_completion() -> None:
    """Of one id and model; its calls are numbered on, and only the last reason is told, and the last usage."""
    parts = told(RUN)
    client = Completion(parts)
    assert {(chunk["id"], chunk["model"]) for chunk in objects(parts)} == {("first", "m")}
    assert client.found == {0: [("text", "a"), ("call", "{}"), ("text", "b"), ("call", "{}"), ("text", "c")]}
    assert client.reasons == {0: "stop"}
    assert client.usage == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert client.is_done


def test_calls_that_were_made_can_be_left_out() -> None:
    """As if nothing but text had come."""
    client = Completion(told(RUN, OpenAIChunks(calls=False)))
    assert client.found == {0: [("text", "abc")]}
    assert client.reasons == {0: "stop"}


def test_the_first_chunk_of_a_choice_has_its_role_and_the_last_its_reason() -> None:
    """Each choice's own."""
    parts = told([Started(0, "id", "m"), Started(1, "id", "m"), Finished(0, "stop"), Finished(1, "length")])
    choices = [choice for chunk in objects(parts) for choice in chunk["choices"]]
    assert [(choice["index"], choice["delta"], choice["finish_reason"]) for choice in choices] == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (0, {}, "stop"),
        (1, {}, "length"),
    ]


def test_a_failure_is_an_error_object() -> None:
    """As OpenAI sends one, and no end of the stream after it."""
    (part,) = told([], error=ErrorEvent(0, "StreamAPIError", "Too hot.", 50507))
    assert objects([part]) == [
        {"error": {"message": "Too hot.", "type": "StreamAPIError", "param": None, "code": 50507}},
    ]
