"""The AI SDK's UI message stream: what is told of calls, results, choices and ends, part by part."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import ContentDelta, Finished, Seam, Started, ToolCallDelta, ToolCallDone, ToolResult
from siliconflow_async.relay import AISDK

from .answers import USAGE
from .clients import objects


def told(events: list[Any], dialect: AISDK | None = None) -> list[Any]:
    """The objects of whole answers, without the brackets that all have."""
    mapping = (dialect or AISDK()).mapping()
    parts = [part for event in events for part in mapping.feed(event)]
    return [item for item in objects([*parts, *mapping.end(None)]) if "step" not in item["type"]]


def called(arguments: str, content: str | None = None, *, is_error: bool = False) -> list[Any]:
    """What is told of one call, and of its result."""
    done = ToolCallDone(0, 0, "a", "f", arguments)
    results = [] if content is None else [ToolResult(0, 0, "a", "f", content, is_error)]
    return told([Started(0, "id", "m"), done, Finished(0, "tool_calls"), *results])[1:-1]


@pytest.mark.parametrize(
    ("arguments", "given"), [('{"x":1}', {"x": 1}), ('{\n "x": [1,\n2]}', {"x": [1, 2]}), ("", {}), ("3", 3)]
)
def test_the_arguments_of_a_call_are_a_value(arguments: str, given: Any) -> None:
    """However many lines they have; those of a function without parameters may be empty."""
    call = {"toolCallId": "a", "toolName": "f"}
    first, *deltas, last = called(arguments)
    assert first == {"type": "tool-input-start", **call}
    assert [delta["inputTextDelta"] for delta in deltas] == [arguments] * bool(arguments)
    assert last == {"type": "tool-input-available", **call, "input": given}


@pytest.mark.parametrize("arguments", ["{", "x", '{"x":1', "[" * 5000])
def test_arguments_that_are_no_json_are_an_error(arguments: str) -> None:
    """With what they were."""
    last = called(arguments)[-1]
    assert (last["type"], last["input"]) == ("tool-input-error", arguments)
    assert last["errorText"].startswith("the arguments are not JSON")


@pytest.mark.parametrize(
    ("content", "output"),
    [
        ('{"sky":\n"sunny"}', {"sky": "sunny"}),
        ("[1]", [1]),
        ("22", "22"),
        ("{sunny", "{sunny"),
        ("", ""),
        ('"x"', '"x"'),
    ],
)
def test_a_result_is_a_value_where_it_is_one(content: str, output: Any) -> None:
    """Objects and lists, as typed tools return them; anything else is the text that the model is told."""
    assert called("{}", content)[-1] == {"type": "tool-output-available", "toolCallId": "a", "output": output}


def test_a_failed_result_is_an_error() -> None:
    assert called("{}", "Error: no", is_error=True)[-1] == {
        "type": "tool-output-error",
        "toolCallId": "a",
        "errorText": "Error: no",
    }


def test_a_result_without_a_call_is_left_out() -> None:
    """A client would refuse the whole message for it: a run that was read in part before, say."""
    assert len(told([Started(0, "id", "m"), ToolResult(0, 0, "a", "f", "x")])) == 2


def test_what_is_not_of_the_first_choice_says_so() -> None:
    """Texts and calls."""
    found = told([Started(1, "id", "m"), ContentDelta(1, "x"), ToolCallDelta(1, 0, "a", "f", "{}")])
    metadata = {"siliconflow": {"index": 1}}
    assert [item["type"] for item in found if item.get("providerMetadata") == metadata] == [
        "text-start",
        "tool-input-start",
    ]


@pytest.mark.parametrize(
    ("reason", "its"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content-filter"),
        ("tool_calls", "tool-calls"),
        ("function_call", "tool-calls"),
        ("insufficient_system_resource", "other"),
        (None, None),
    ],
)
def test_a_reason_has_its_name(reason: str | None, its: str | None) -> None:
    """Or none, where the server gave none."""
    assert told([Started(0, "id", "m"), Finished(0, reason)])[-1].get("finishReason") == its


def test_a_message_has_the_id_and_the_metadata_that_were_asked_for() -> None:
    """Neither, where none were: a client makes the id, and checks metadata by a schema of its own."""
    events = [Started(0, "id", "m"), Finished(0, "stop", USAGE)]
    first, last = told(events)
    assert (first, last) == ({"type": "start"}, {"type": "finish", "finishReason": "stop"})
    first, last = told(events, AISDK("m1", usage=True))
    assert first == {"type": "start", "messageId": "m1"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert last["messageMetadata"] == {"model": "m", "usage": usage}


def test_a_seam_passes_without_a_part_of_the_message() -> None:
    seam = Seam(0, 1, "TruncatedStreamError", "cut", 3)
    _, part, _ = told([Started(0, "id", "m"), seam])
    assert (part["type"], part["transient"], part["data"]["at"]) == ("data-seam", True, 3)


def test_an_answer_whose_beginning_was_not_seen_begins_all_the_same() -> None:
    """A source of someone else's need not tell of it."""
    assert [item["type"] for item in told([ContentDelta(0, "x")])] == [
        "start",
        "text-start",
        "text-delta",
        "text-end",
        "finish",
    ]


def test_a_call_begins_once_its_name_and_id_are_known() -> None:
    """With the arguments that came before."""
    fragments = [
        ToolCallDelta(0, 0, "a", "", "{"),
        ToolCallDelta(0, 0, "a", "f", "}"),
        ToolCallDelta(0, 1, "", "g", ""),
    ]
    found = told([Started(0, "id", "m"), *fragments])[1:-1]
    assert found == [
        {"type": "tool-input-start", "toolCallId": "a", "toolName": "f"},
        {"type": "tool-input-delta", "toolCallId": "a", "inputTextDelta": "{}"},
    ]
