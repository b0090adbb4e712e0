"""The tool calls of an answer for clients that want a name and an id first, of each call its own, and then the rest."""

from __future__ import annotations

from typing import NamedTuple

from ...wire.events import ToolCallDelta, ToolCallDone, ToolResult

__all__ = ["Call", "Calls", "Step"]


class Call:
    """One call: `id` is unlike those of all others, `number` counts those of its choice that began, in all rounds."""

    __slots__ = ("_held", "id", "index", "is_begun", "is_done", "name", "number")

    def __init__(self, index: int) -> None:
        self.index = index
        self.number = 0
        self.id = ""
        self.name = ""
        self.is_begun = False
        self.is_done = False
        # Arguments that came before the call could begin.
        self._held = ""


class Step(NamedTuple):
    """What is news of a call: that it begins, and text of its arguments."""

    call: Call
    begins: bool
    text: str


class Calls:
    """All calls of an answer; where tools are run, a round follows the last one."""

    def __init__(self) -> None:
        self._by_place: dict[tuple[int, int], Call] = {}
        self._ids: set[str] = set()
        self._counts: dict[int, int] = {}
        self._answer = ""

    def next_round(self, identity: str) -> None:
        """What comes is of new calls, made by the answer of that id."""
        self._by_place.clear()
        self._answer = identity

    def delta(self, event: ToolCallDelta) -> Step:
        """Take a fragment; the call begins once its name and id are known."""
        call = self._call(event.index, event.call)
        call._held += event.arguments
        if not call.is_begun and not (event.id and event.name):
            return Step(call, False, "")
        return self._begun(call, event.id, event.name)

    def done(self, event: ToolCallDone) -> Step:
        """Take a complete call, which begins at the latest here, by an id of our own if there is no other."""
        call = self._call(event.index, event.call)
        if not call.is_begun:
            call._held = event.arguments
        return self._begun(call, event.id, event.name)

    def answered(self, event: ToolResult) -> Call | None:
        """Return the call of a result; None for one whose beginning was never seen."""
        # A run counts the calls of its round from 0, whatever numbers the server gave them.
        places = sorted(place for place in self._by_place if place[0] == event.index)
        return self._by_place[places[event.call]] if event.call < len(places) else None

    def _call(self, index: int, place: int) -> Call:
        call = self._by_place.get((index, place))
        if call is None:
            call = self._by_place[index, place] = Call(index)
        return call

    def _begun(self, call: Call, identity: str, name: str) -> Step:
        begins = not call.is_begun
        if begins:
            call.is_begun = True
            call.name = name
            call.number = self._counts.get(call.index, 0)
            self._counts[call.index] = call.number + 1
            call.id = first = identity or f"call_{self._answer}_{call.index}_{call.number}"
            # Some servers count anew in each answer.
            while call.id in self._ids:
                call.id = f"{first}_{len(self._ids)}"
            self._ids.add(call.id)
        text, call._held = call._held, ""
        return Step(call, begins, text)
