"""Tool calls from fragments: to which call a fragment belongs."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.events import EventBuilder, ToolCallDone
from siliconflow_async.wire.protocol import ChatProtocol
from siliconflow_async.wire.structs import ChoiceDeltaToolCall, ChoiceDeltaToolCallFunction
from siliconflow_async.wire.toolcalls import CallParts, ToolCallAssembler

from .build import DONE, data, small

Fragment = tuple[int | None, str | None, str | None, str | None]

# Fragments as (index, id, name, arguments), and the calls as (id, name, arguments).
CASES: dict[str, tuple[list[Fragment], list[tuple[str, str, str]]]] = {
    "one call": ([(0, "a", "f", ""), (0, None, None, "{"), (0, None, "", "}")], [("a", "f", "{}")]),
    "arguments null": ([(0, "a", "f", None), (0, None, None, "{}")], [("a", "f", "{}")]),
    "no arguments": ([(0, "a", "f", "")], [("a", "f", "")]),
    "by index": ([(1, "b", "g", "1"), (0, "a", "f", "2"), (1, None, None, "3")], [("a", "f", "2"), ("b", "g", "13")]),
    "indexes with a gap": ([(3, "b", "g", "1"), (1, "a", "f", "2")], [("a", "f", "2"), ("b", "g", "1")]),
    "the first id and name stay": ([(0, "", "", "x"), (0, "a", "f", "y"), (0, "b", "g", "z")], [("a", "f", "xyz")]),
    "id late": ([(0, None, "f", "{"), (0, "a", None, "}")], [("a", "f", "{}")]),
    "neither id nor name": ([(0, None, "", "x"), (0, None, "", "y")], [("", "", "xy")]),
    "no index: goes on": ([(None, "a", "f", "{"), (None, None, None, "}")], [("a", "f", "{}")]),
    "no index, no name, first": ([(None, None, None, "{"), (None, None, None, "}")], [("", "", "{}")]),
    "no index: a new id with a name opens": (
        [(None, "a", "f", "{}"), (None, "b", "f", "{}")],
        [("a", "f", "{}"), ("b", "f", "{}")],
    ),
    "no index: the same id goes on": ([(None, "a", "f", "{"), (None, "a", "f", "}")], [("a", "f", "{}")]),
    "no index: a new id without a name goes on": ([(None, "a", "f", "{"), (None, "b", None, "}")], [("a", "f", "{}")]),
    "no index, no id: another name opens": (
        [(None, None, "f", "{}"), (None, None, "g", "[]")],
        [("", "f", "{}"), ("", "g", "[]")],
    ),
    "no index, no id: the name again goes on": (
        [(None, None, "f", '{"a":'), (None, None, "f", "{}"), (None, None, "f", "}")],
        [("", "f", '{"a":{}}')],
    ),
    "no index, no id: the name again after a whole object opens": (
        [(None, None, "f", '{"a":'), (None, None, "f", "1} "), (None, None, "f", "{}")],
        [("", "f", '{"a":1} '), ("", "f", "{}")],
    ),
    "index, then none": ([(0, "a", "f", "{"), (None, None, None, "}")], [("a", "f", "{}")]),
    "none, then index 0": ([(None, "a", "f", "{"), (0, None, None, "}")], [("a", "f", "{}")]),
    "index -1 is none": (
        [(-1, "a", "f", "{"), (-1, None, None, "}"), (-1, "b", "g", "")],
        [("a", "f", "{}"), ("b", "g", "")],
    ),
    "none after indexes opens behind them": (
        [(4, "a", "f", "{}"), (None, "b", "g", "[]")],
        [("a", "f", "{}"), ("b", "g", "[]")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_fragments_find_their_call(name: str) -> None:
    """Fragments come together as calls, in the order of their indexes, at any time."""
    fragments, expected = CASES[name]
    calls = ToolCallAssembler()
    for index, call_id, function, arguments in fragments:
        calls.add(ChoiceDeltaToolCall(index, call_id, None, ChoiceDeltaToolCallFunction(function, arguments)))
        calls.build()
    assert [(call.id, call.function.name, call.function.arguments) for call in calls.build()] == expected
    assert {call.type for call in calls.build()} == {"function"}


def test_a_fragment_without_a_function_counts() -> None:
    """An id alone opens a call; its type is kept, the first one."""
    calls = ToolCallAssembler()
    calls.add(ChoiceDeltaToolCall(0, "a", "custom"))
    calls.add(ChoiceDeltaToolCall(0, None, "function"))
    assert calls.build()[0].to_dict() == {"id": "a", "type": "custom", "function": {"name": "", "arguments": ""}}


def test_nothing_gives_no_calls() -> None:
    """Without a fragment there is no call."""
    assert ToolCallAssembler().build() == []


@st.composite
def split_calls(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], bytes]:
    """Draw calls, and a stream that brings their arguments in pieces of any size, the calls' pieces interleaved."""
    calls = draw(st.lists(st.tuples(st.just("f"), st.text(max_size=30)), min_size=1, max_size=4))
    pieces: list[list[dict[str, object]]] = []
    for index, (name, arguments) in enumerate(calls):
        places = sorted(draw(st.lists(st.integers(0, len(arguments)), max_size=6)))
        edges = [0, *places, len(arguments)]
        parts = [arguments[start:end] for start, end in pairwise(edges)]
        head = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append([head, *({"index": index, "function": {"arguments": part}} for part in parts)])
    events = []
    while any(pieces):
        own = draw(st.sampled_from([left for left in pieces if left]))
        together = draw(st.integers(1, len(own)))
        events.append(data(small({"tool_calls": own[:together]})))
        del own[:together]
    stream = b"".join([*events, data(small({}, "tool_calls")), DONE])
    return [(f"call_{index}", *call) for index, call in enumerate(calls)], stream


@given(split_calls(), st.integers(1, 200))
def test_however_arguments_are_split_the_calls_are_whole(
    drawn: tuple[list[tuple[str, str, str]], bytes], size: int
) -> None:
    """Any split of any calls' fragments, in reads of any size, folds to the calls, and each is told once."""
    calls, stream = drawn
    protocol, fold, builder = ChatProtocol(1 << 20), Accumulator(), EventBuilder()
    events = []
    for at in range(0, len(stream), size):
        chunks = protocol.feed(stream[at : at + size])
        fold.fold(chunks)
        events += [event for chunk in chunks for event in builder.feed(chunk)]
    assert protocol.done
    folded = fold.completion().tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in folded] == calls
    told = [event for event in events if isinstance(event, ToolCallDone)]
    assert [(event.id, event.name, event.arguments) for event in told] == calls


def is_whole(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


PIECES = st.lists(
    st.sampled_from(
        ["{", "}", "[", "]", '"', "\\", '"a"', ":", ",", "1", " ", "{}", '{"a":1}', '{"}":"{"}', '"\\"', "x"]
    ),
    max_size=8,
)


@given(PIECES, st.lists(st.booleans(), min_size=8, max_size=8))
def test_a_call_knows_when_its_arguments_are_whole(pieces: list[str], looks: list[bool]) -> None:
    """At any time the arguments are whole if they are one JSON object, however often that was asked before."""
    call = CallParts(0)
    for piece, look in zip(pieces, looks, strict=False):
        call.arguments.append(piece)
        if look:
            assert call.is_whole() == is_whole("".join(call.arguments))
        assert call.build().function.arguments == "".join(call.arguments)
    assert call.is_whole() == is_whole("".join(call.arguments))
