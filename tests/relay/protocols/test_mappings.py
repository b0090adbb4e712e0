"""Every mapping, on answers of any shape: nothing is lost, no rule is broken, and every end is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from siliconflow_async import ConfigurationError, ErrorEvent, Finished
from siliconflow_async.relay import AGUI, AISDK, Dialect, Events, OpenAIChunks, Snapshot
from siliconflow_async.relay.kept import Kept
from siliconflow_async.relay.protocols import DONE, Part, as_dialect
from siliconflow_async.relay.views import View

from .answers import USAGE, answers, merged, told
from .clients import Completion, Run, UIMessage

CLIENTS: dict[Dialect, Any] = {AISDK(): UIMessage, AGUI(): Run, OpenAIChunks(): Completion}
FRONT_ENDS = pytest.mark.parametrize("dialect", CLIENTS, ids=lambda dialect: type(dialect).__name__)
STOPPED = ErrorEvent(0, "ClosedError", "stopped")
FAILED = ErrorEvent(0, "StreamAPIError", "Too hot.", 50507)


def mapped(dialect: Dialect, events: list[Any], *end: ErrorEvent | None) -> list[Part]:
    mapping = dialect.mapping()
    parts = [part for event in events for part in mapping.feed(event)]
    for error in end:
        parts += mapping.end(error)
    return parts


def sorted_by_kind(items: list[tuple[Any, ...]], kind: str) -> list[tuple[Any, ...]]:
    return sorted((item for item in items if kind in item[:2]), key=repr)


def same(mine: dict[int, list[tuple[Any, ...]]], dialect: Dialect, events: list[Any]) -> bool:
    """Whether a client knows what the events tell: calls may begin late, but texts keep their order."""
    for index in (0, 1):
        its, found = told(events, index), mine.get(index, [])
        if isinstance(dialect, OpenAIChunks):
            # Of one completion, in which rounds and results have no place.
            its = [item[1:3] for item in its]
        if sorted_by_kind(its, "call") != sorted_by_kind(found, "call"):
            return False
        for kind in ("text", "reasoning"):
            texts = ["".join(item[-1] for item in items if kind in item[:2]) for items in (its, found)]
            if texts[0] != texts[1]:
                return False
    return True


# Of each answer that is drawn every front end is asked: to draw one takes longer than to read it.
def each() -> Iterator[Dialect]:
    for dialect in CLIENTS:
        note(f"to {type(dialect).__name__}")
        yield dialect


@given(events=answers())
def test_a_client_gets_all_of_an_answer(events: list[Any]) -> None:
    """In its order, and by the rules: what begins ends, nothing comes before its beginning, calls have ids of one."""
    for dialect in each():
        client = CLIENTS[dialect](mapped(dialect, events, None))
        assert same(client.found, dialect, events)


@given(events=answers())
def test_merged_deltas_are_the_same_to_a_client(events: list[Any]) -> None:
    """Parts have the same ids, wherever a slow client's deltas were joined."""
    for dialect in each():
        whole, few = (CLIENTS[dialect](mapped(dialect, what, None)) for what in (events, merged(events)))
        assert whole.found == few.found


@given(events=answers(), error=st.sampled_from([STOPPED, FAILED]), data=st.data())
def test_an_end_before_the_end_is_told_last(events: list[Any], error: ErrorEvent, data: st.DataObject) -> None:
    """Wherever it comes, as an event or from the relay, once; what is open is closed first."""
    at = data.draw(st.integers(0, len(events)))
    for dialect in each():
        for parts in (mapped(dialect, events[:at], error), mapped(dialect, [*events[:at], error], None)):
            check_end(CLIENTS[dialect](parts), parts, error)


def check_end(client: Any, parts: list[Part], error: ErrorEvent) -> None:
    if isinstance(client, UIMessage):
        what: Any = {"type": "abort"} if error is STOPPED else {"type": "error", "errorText": "Too hot."}
        assert client.ended == what
        assert parts[-1] is DONE
    elif isinstance(client, Completion):
        assert client.error["message"] == error.message
        # By which a client that overlooks errors would take it for the whole.
        assert not client.is_done
    elif error is STOPPED and client.began and not client.open_calls:
        assert client.ended["outcome"] == {"type": "cancelled"}
    else:
        code = "abort" if error is STOPPED else "50507"
        assert (client.ended["message"], client.ended["code"]) == (error.message, code)
        assert client.ended["type"] == "RUN_ERROR"


@FRONT_ENDS
@given(events=answers(), buffer=st.integers(1, 6), data=st.data())
def test_readers_share_parts_and_miss_nothing(
    dialect: Dialect, events: list[Any], buffer: int, data: st.DataObject
) -> None:
    """Each at its own pace, one that comes late and one that was left behind too, with few events kept."""
    kept = Kept(buffer, 10**6)
    view = View(kept, dialect)
    late = data.draw(st.integers(0, len(events)))
    places, got = [0, 0], [list[Part](), list[Part]()]
    for number, event in enumerate([*events, None]):
        if event is not None:
            kept.put(event)
        for reader in range(2):
            if event is None or (data.draw(st.booleans()) and not (reader == 1 and number < late)):
                while places[reader] < kept.last:
                    parts, places[reader] = view.after(places[reader])
                    got[reader] += parts
    first, second = (CLIENTS[dialect]([*parts, *view.end()]) for parts in got)
    assert first.found == second.found == CLIENTS[dialect](mapped(dialect, events, None)).found


@FRONT_ENDS
def test_an_event_is_encoded_once_for_all_readers(dialect: Dialect) -> None:
    """They are given the same parts, and these keep their JSON."""
    kept = Kept(1024, 10**6)
    view = View(kept, dialect)
    for event in (Finished(0, "stop", USAGE),):
        kept.put(event)
    first, second = view.after(0)[0], view.after(0)[0]
    assert first is second
    assert [part.json is part.json for part in first] == [True] * len(first)


@FRONT_ENDS
def test_a_snapshot_is_refused(dialect: Dialect) -> None:
    """It stands for what was lost, which `parts` of a reader has."""
    with pytest.raises(ConfigurationError, match="Snapshot"):
        mapped(dialect, [Snapshot({})])


@FRONT_ENDS
def test_an_answer_of_nothing_is_whole_all_the_same(dialect: Dialect) -> None:
    client = CLIENTS[dialect](mapped(dialect, [], None))
    assert client.found == {}
    assert (client.is_done if isinstance(client, Completion) else client.ended["type"]) in (
        True,
        "finish",
        "RUN_FINISHED",
    )


@pytest.mark.parametrize(
    ("name", "dialect"), [("events", Events()), ("ai", AISDK()), ("ag-ui", AGUI()), ("openai", OpenAIChunks())]
)
def test_a_protocol_has_a_name(name: Any, dialect: Dialect) -> None:
    assert as_dialect(name) == as_dialect(dialect) == dialect


@pytest.mark.parametrize("protocol", ["AI", "", None, 1, AISDK])
def test_what_is_no_protocol_is_named(protocol: Any) -> None:
    with pytest.raises(ConfigurationError, match="protocol must be one of 'events', 'ai', 'ag-ui', 'openai'"):
        as_dialect(protocol)
