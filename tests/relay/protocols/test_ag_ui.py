"""AG-UI's events: ids, what is pending, calls that open again, tokens, and ends."""

from __future__ import annotations

from typing import Any

from siliconflow_async import ContentDelta, ErrorEvent, Finished, Started, ToolCallDelta, ToolCallDone, ToolResult
from siliconflow_async.relay import AGUI
from siliconflow_async.wire.structs import CompletionTokensDetails, PromptTokensDetails, Usage

from .answers import USAGE
from .clients import Run, objects

CALLS = [ToolCallDone(0, 0, "a", "f", '{"x":1}'), ToolCallDone(0, 1, "b", "g", "{}")]


def told(events: list[Any], dialect: AGUI | None = None, error: ErrorEvent | None = None) -> list[Any]:
    mapping = (dialect or AGUI()).mapping()
    parts = [part for event in events for part in mapping.feed(event)]
    parts += mapping.end(error)
    Run(parts)
    return objects(parts)


def test_a_run_has_the_ids_of_its_request() -> None:
    """Or the answer's, where it named none; messages have ids of the run's, that no other run has."""
    for dialect, thread, run in ((AGUI("t", "r"), "t", "r"), (AGUI(), "id", "id")):
        first, message, *_, last = told([Started(0, "id", "m"), ContentDelta(0, "x")], dialect)
        assert first == {"type": "RUN_STARTED", "threadId": thread, "runId": run, "protocolVersion": "1.0"}
        assert message["messageId"] == f"{run}-0"
        assert (last["threadId"], last["runId"]) == (thread, run)


def test_calls_that_nobody_answered_are_pending() -> None:
    """Those of the last round, for the front end."""
    last = told([Started(0, "id", "m"), *CALLS, Finished(0, "tool_calls")])[-1]
    assert last["outcome"] == {"type": "success", "pendingToolCallIds": ["a", "b"]}
    last = told([Started(0, "id", "m"), *CALLS, Finished(0, "tool_calls"), ToolResult(0, 0, "a", "f", "x")])[-1]
    assert last["outcome"] == {"type": "success", "pendingToolCallIds": ["b"]}


def test_a_failed_result_says_so() -> None:
    """Beside its words, which a message of a tool has no other place for."""
    results = [ToolResult(0, 0, "a", "f", "x"), ToolResult(0, 1, "b", "g", "Error: no", True)]
    *_, first, second, _ = told([Started(0, "id", "m"), *CALLS, Finished(0, "tool_calls"), *results])
    result = {"type": "TOOL_CALL_RESULT", "messageId": "a-result", "toolCallId": "a", "content": "x", "role": "tool"}
    assert first == result
    assert (second["content"], second["metadata"]) == ("Error: no", {"isError": True})


def test_a_call_that_is_added_to_after_its_end_opens_again() -> None:
    """And ends again, when it is told again."""
    events = [
        Started(0, "id", "m"),
        ToolCallDelta(0, 0, "a", "f", "{"),
        ToolCallDone(0, 0, "a", "f", "{"),
        ToolCallDelta(0, 0, "a", "f", "}"),
        ToolCallDone(0, 0, "a", "f", "{}"),
    ]
    kinds = [item["type"].removeprefix("TOOL_CALL_") for item in told(events)[1:-1]]
    assert kinds == ["START", "ARGS", "END", "START", "ARGS", "END"]


def test_tokens_are_told_by_their_names_there() -> None:
    """Of each round; those that failed cost as much."""
    usage = Usage(3, 2, 5, CompletionTokensDetails(1), PromptTokensDetails(2))
    rounds = [Started(0, "a", "m"), Finished(0, "tool_calls", USAGE), Started(0, "b", "n"), Finished(0, "stop", usage)]
    counts = {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}
    first = {"provider": "siliconflow", "model": "m", **counts}
    second = {"provider": "siliconflow", "model": "n", **counts, "reasoningTokens": 1, "cachedInputTokens": 2}
    assert told(rounds)[-1]["usage"] == [first, second]
    assert told(rounds[:3], error=ErrorEvent(0, "StreamAPIError", "Too hot."))[-1] == {
        "type": "RUN_ERROR",
        "message": "Too hot.",
        "code": "StreamAPIError",
        "usage": [first],
    }


def test_a_run_that_never_began_may_fail_and_be_stopped() -> None:
    """An error may be all there is of it; anything else begins by its start."""
    failed, stopped = ErrorEvent(0, "OverloadedError", "Busy.", 50508), ErrorEvent(0, "ClosedError", "stopped")
    assert told([], error=failed) == [{"type": "RUN_ERROR", "message": "Busy.", "code": "50508"}]
    assert told([], error=stopped) == [{"type": "RUN_ERROR", "message": "stopped", "code": "abort"}]
    assert [item["type"] for item in told([])] == ["RUN_STARTED", "RUN_FINISHED"]
    assert [item["type"] for item in told([ToolCallDelta(0, 0, "a", "f", "")], error=stopped)] == [
        "RUN_STARTED",
        "TOOL_CALL_START",
        "RUN_ERROR",
    ]
