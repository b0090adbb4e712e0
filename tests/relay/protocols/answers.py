"""Answers of any shape as events, and what a client must make of each: texts, reasoning and calls in their order."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from siliconflow_async import (
    ContentDelta,
    Finished,
    ReasoningDelta,
    Seam,
    Started,
    ToolCallDelta,
    ToolCallDone,
    ToolResult,
)
from siliconflow_async.wire.structs import Usage

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=4)
USAGE = Usage(3, 2, 5)


@st.composite
def answers(draw: st.DrawFn) -> list[Any]:
    """The events of one answer, of one or two choices, or of a run of tools with some rounds."""
    events: list[Any] = []
    rounds = draw(st.integers(1, 3))
    choices = draw(st.integers(1, 2)) if rounds == 1 else 1
    for number in range(rounds):
        events += [Started(index, f"id{number}", "m") for index in range(choices)]
        calls: dict[tuple[int, int], list[str]] = {}
        known: dict[tuple[int, int], tuple[str, str]] = {}
        for _ in range(draw(st.integers(0, 8))):
            index = draw(st.integers(0, choices - 1))
            kind = draw(st.sampled_from(["text", "text", "reasoning", "call", "seam"]))
            if kind == "text":
                events.append(ContentDelta(index, draw(TEXT)))
            elif kind == "reasoning":
                events.append(ReasoningDelta(index, draw(TEXT)))
            elif kind == "seam":
                events.append(Seam(index, 1, "TruncatedStreamError", "cut", 3))
            else:
                # Any number a server likes; what it knows of the call it may tell with any fragment, or never.
                place = (index, draw(st.integers(0, 1)) + 2)
                identity, name = known.get(place, ("", ""))
                identity = identity or draw(st.sampled_from(["", "c", "d"]))
                known[place] = identity, name or draw(st.sampled_from(["", "f"]))
                piece = draw(TEXT)
                calls.setdefault(place, []).append(piece)
                events.append(ToolCallDelta(*place, *known[place], piece))
        for place in sorted(calls):
            events.append(ToolCallDone(*place, *known[place], "".join(calls[place])))
        last = number == rounds - 1
        events += [
            Finished(index, "stop" if last else "tool_calls", USAGE if index == choices - 1 else None)
            for index in range(choices)
        ]
        if not last:
            places = sorted(calls)
            order = draw(st.permutations(range(len(places))))
            for at in order:
                words, failed = draw(TEXT), draw(st.booleans())
                events.append(ToolResult(0, at, f"sent{at}", "f", words, failed))
    return events


def told(events: list[Any], index: int = 0) -> list[tuple[Any, ...]]:
    """What one choice says: (round, kind, text), or (round, "call", arguments, result, whether it failed)."""
    found: list[list[Any]] = []
    number = -1
    finished = True
    calls: dict[int, list[Any]] = {}
    for event in events:
        match event:
            case Started(index=0) if finished:
                number, finished, calls = number + 1, False, {}
            case Finished(index=0):
                finished = True
            case ContentDelta(at, text) | ReasoningDelta(at, text) if at == index:
                kind = "text" if isinstance(event, ContentDelta) else "reasoning"
                if not found or found[-1][:2] != [number, kind]:
                    found.append([number, kind, ""])
                found[-1][2] += text
            case ToolCallDelta(at, call) if at == index and call not in calls:
                # In its place, though a client may hear of it later, once all is known.
                calls[call] = [number, "call", "", None, None]
                found.append(calls[call])
            case ToolCallDone(at, call) if at == index:
                calls[call][2] = event.arguments
            case ToolResult(at, call) if at == index:
                calls[sorted(calls)[call]][3:] = [event.content, event.is_error]
    return [tuple(item) for item in found]


def merged(events: list[Any]) -> list[Any]:
    """The same events, with deltas of one kind that follow each other joined."""
    from siliconflow_async.relay.history import History

    history = History()
    for number, event in enumerate(events, 1):
        history.add(event, number)
    return list(history.between(0, len(events)))
