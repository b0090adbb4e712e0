"""Chunks to typed events, made for `match` and, as JSON with a `type` tag, for a websocket.

A stream of one choice gives `Started`, then deltas as they come, a `ToolCallDone` for each call once the choice has
finished, and one `Finished` at the end of the stream; the usage is on the last `Finished`. With n > 1 the choices'
events interleave; `index` is the choice's. `call` counts a choice's tool calls from 0.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from ..errors import SiliconFlowError
from .lazy import Chunk
from .structs import ChoiceDeltaToolCall, ChunkChoice, Usage
from .toolcalls import ToolCallAssembler

__all__ = [
    "ContentDelta",
    "ErrorEvent",
    "Event",
    "EventBuilder",
    "Finished",
    "ReasoningDelta",
    "Seam",
    "Snapshot",
    "Started",
    "ToolCallDelta",
    "ToolCallDone",
    "ToolResult",
    "error_event",
]


class _Event(msgspec.Struct, tag_field="type", gc=False, omit_defaults=True):
    def to_json(self) -> str:
        """Return the event as one JSON object with its `type`."""
        return msgspec.json.encode(self).decode()


class Started(_Event, tag="started"):
    """The first chunk of a choice arrived."""

    index: int
    id: str
    model: str


class ReasoningDelta(_Event, tag="reasoning_delta"):
    """More reasoning."""

    index: int
    text: str


class ContentDelta(_Event, tag="content_delta"):
    """More of the answer."""

    index: int
    text: str


class ToolCallDelta(_Event, tag="tool_call_delta"):
    """A fragment of a tool call: `arguments` is the JSON text that it adds."""

    index: int
    call: int
    id: str
    name: str
    arguments: str


class ToolCallDone(_Event, tag="tool_call_done"):
    """A complete tool call; `arguments` is its whole JSON text, as the model wrote it.

    Where a server sends more of a call after the finish reason, it is told again, whole, at the end of the stream.
    """

    index: int
    call: int
    id: str
    name: str
    arguments: str


class Finished(_Event, tag="finished"):
    """A choice is complete; `reason` is its finish_reason, None if the stream ended with `[DONE]` alone."""

    index: int
    reason: str | None = None
    usage: Usage | None = None


class ErrorEvent(_Event, tag="error"):
    """The stream failed: `error` is the exception's class, `message` its words, `code` the service's code."""

    index: int
    error: str
    message: str
    code: int | str | None = None


class Seam(_Event, tag="seam"):
    """The stream broke off here and goes on from a new request; what follows is appended to what came before.

    `attempt` counts the continuations from 1; `error` is the class of what broke it, `message` its words; `at` is how
    many characters of content had come; `trace_id` is that of the broken stream.
    """

    index: int
    attempt: int
    error: str
    message: str
    at: int
    trace_id: str | None = None


class ToolResult(_Event, tag="tool_result"):
    """A tool that the library ran has answered: `content` is what the model is told, an error's words if `is_error`."""

    index: int
    call: int
    id: str
    name: str
    content: str
    is_error: bool = False


class Snapshot(_Event, tag="snapshot"):
    """The answer so far, for a reader that missed its beginning: `completion` is what `ChatCompletion.to_dict` gives.

    It stands for all events before it, and no stream gives one out by itself: they come from a relay.
    """

    completion: dict[str, Any]


Event: TypeAlias = Started | ReasoningDelta | ContentDelta | ToolCallDelta | ToolCallDone | Finished | ErrorEvent | Seam


def error_event(error: SiliconFlowError) -> ErrorEvent:
    """Return a failure as the last event of a stream."""
    return ErrorEvent(0, type(error).__name__, str(error), getattr(error, "code", None))


class _ChoiceState:
    __slots__ = ("calls", "done", "reason")

    def __init__(self) -> None:
        self.calls: ToolCallAssembler | None = None
        self.done: dict[int, ToolCallDone] = {}
        self.reason: str | None = None


class EventBuilder:
    """Turn the chunks of one stream into events."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceState] = {}

    def feed(self, chunk: Chunk) -> list[Event]:
        """Return the events of one chunk."""
        events: list[Event] = []
        for choice in chunk.choices:
            index = choice.index
            state = self._choices.get(index)
            if state is None:
                state = self._choices[index] = _ChoiceState()
                events.append(Started(index, chunk.id, chunk.model))
            delta = choice.delta
            if delta.reasoning_content:
                events.append(ReasoningDelta(index, delta.reasoning_content))
            if delta.content:
                events.append(ContentDelta(index, delta.content))
            if delta.tool_calls or choice.finish_reason:
                self._rare(state, choice, events)
        return events

    def finish(self, usage: Usage | None) -> list[Event]:
        """Return the events of the stream's end, once it is known to be whole."""
        events: list[Event] = []
        last = max(self._choices, default=None)
        for index in sorted(self._choices):
            state = self._choices[index]
            self._finish_calls(index, state, events)
            events.append(Finished(index, state.reason, usage if index == last else None))
        return events

    def _rare(self, state: _ChoiceState, choice: ChunkChoice, events: list[Event]) -> None:
        for fragment in choice.delta.tool_calls or ():
            events.append(self._piece(state, choice.index, fragment))
        if choice.finish_reason:
            state.reason = choice.finish_reason
            if not state.done:  # a server that repeats it would have every call built again each time
                self._finish_calls(choice.index, state, events)

    def _piece(self, state: _ChoiceState, index: int, fragment: ChoiceDeltaToolCall) -> ToolCallDelta:
        if state.calls is None:
            state.calls = ToolCallAssembler()
        call = state.calls.add(fragment)
        function = fragment.function
        arguments = function.arguments if function is not None else None
        return ToolCallDelta(index, call.index, call.id, call.name, arguments or "")

    def _finish_calls(self, index: int, state: _ChoiceState, events: list[Event]) -> None:
        for call in state.calls.parts() if state.calls is not None else ():
            function = call.build().function
            done = ToolCallDone(index, call.index, call.id, function.name, function.arguments)
            if state.done.get(call.index) != done:
                state.done[call.index] = done
                events.append(done)
