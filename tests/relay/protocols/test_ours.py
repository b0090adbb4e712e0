"""This library's own protocol: an event is a part, and an end is told where the answer did not end well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from siliconflow_async import ErrorEvent, Finished, Started, ToolCallDelta, ToolResult
from siliconflow_async.relay import Events, Snapshot

from .answers import USAGE, answers

STOPPED = ErrorEvent(0, "ClosedError", "stopped")
FAILED = ErrorEvent(0, "StreamAPIError", "Too hot.", 50507)


@given(events=answers())
def test_each_event_is_a_part(events: list[Any]) -> None:
    """As it encodes itself, but for a call's id and name, which are told with the first fragment that knows them."""
    mapping = Events().mapping()
    known: dict[tuple[int, int], dict[str, str]] = {}
    for event in events:
        (part,) = mapping.feed(event)
        expected = json.loads(event.to_json())
        if isinstance(event, ToolCallDelta):
            news = {name: expected.pop(name) for name in ("id", "name") if name in expected}
            expected = {name: value for name, value in expected.items() if name not in ("id", "name")}
            place = (event.index, event.call)
            if known.get(place) != news:
                known[place] = news
                expected |= {name: value for name, value in news.items() if value}
        assert json.loads(part.json) == expected
    assert mapping.end(None) == []


def test_a_snapshot_is_a_part_too() -> None:
    """Of all choices."""
    (part,) = Events().mapping().feed(Snapshot({"id": "x"}))
    assert (part.index, json.loads(part.json)) == (-1, {"type": "snapshot", "completion": {"id": "x"}})


@pytest.mark.parametrize(
    ("last", "error", "told"),
    [
        (Started(0, "id", "m"), STOPPED, True),
        (Started(0, "id", "m"), FAILED, True),
        (Finished(0, "stop", USAGE), STOPPED, False),
        (Finished(0, "stop", USAGE), FAILED, True),
        # A round, of which the results were to come.
        (Finished(0, "tool_calls"), STOPPED, True),
        (ToolResult(0, 0, "a", "f", "x"), STOPPED, True),
    ],
)
def test_an_end_is_told_where_it_is_news(last: Any, error: ErrorEvent, told: bool) -> None:
    """Who stops an answer that is complete changes nothing."""
    mapping = Events().mapping()
    mapping.feed(last)
    assert [json.loads(part.json)["type"] for part in mapping.end(error)] == ["error"] * told
