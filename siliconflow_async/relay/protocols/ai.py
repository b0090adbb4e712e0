"""The UI message stream of Vercel's AI SDK (versions 6 and 7): what `useChat` and `DefaultChatTransport` read.

An answer is one message. A round of tools is a step of it: what follows the results is the next one. `finish` can
therefore only come at the end. Where there are several choices, all of them are in the message; what is of another
than the first has `providerMetadata` that tells its index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec

from ...wire.events import (
    ContentDelta,
    ErrorEvent,
    Finished,
    ReasoningDelta,
    Seam,
    Started,
    ToolCallDelta,
    ToolCallDone,
    ToolResult,
)
from .calls import Call, Calls, Step
from .part import DONE, AnyEvent, Part, is_stop, unknown

__all__ = ["AISDK", "UIMessageMapping"]

_REASONS = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}


class AISDK(msgspec.Struct, frozen=True):
    """The UI message stream of the AI SDK.

    message_id: the id of the message. The client makes one where there is none; one of your own is needed to resume an
        answer, and to go on with a message (then it is that message's).
    usage: whether the message gets `metadata` with the `usage` and the `model` of the answer.
    """

    message_id: str | None = None
    usage: bool = False

    headers: ClassVar[Mapping[str, str]] = {
        "Content-Type": "text/event-stream",
        "Cache-Control": "no-cache",
        "x-vercel-ai-ui-message-stream": "v1",
    }
    is_numbered: ClassVar[bool] = False
    is_shared: ClassVar[bool] = True

    def mapping(self) -> UIMessageMapping:
        return UIMessageMapping(self)


class _Open(NamedTuple):
    kind: str
    id: str
    # What its deltas begin with.
    head: bytes


class UIMessageMapping:
    """One message. Each text and each piece of reasoning is a part with a beginning and an end, and an id."""

    def __init__(self, dialect: AISDK) -> None:
        self._dialect = dialect
        self._calls = Calls()
        self._is_begun = False
        self._is_over = False
        self._in_step = False
        # Whether the step has all of its answer, so that one that starts is the next.
        self._is_answered = False
        self._count = 0
        # Of each choice, the part that it is in.
        self._open: dict[int, _Open] = {}
        self._reason: str | None = None
        self._metadata: dict[str, Any] = {}

    def feed(self, event: AnyEvent) -> list[Part]:
        if not self._is_begun and not isinstance(event, Started | ErrorEvent):
            return [*self._start(Started(0, "", "")), *self.feed(event)]
        match event:
            case ContentDelta(index, text):
                return self._delta("text", index, text)
            case ReasoningDelta(index, text):
                return self._delta("reasoning", index, text)
            case ToolCallDelta(index):
                return [*self._close(index), *self._call(self._calls.delta(event))]
            case ToolCallDone(index):
                return [*self._close(index), *self._done(event)]
            case ToolResult():
                return self._result(event)
            case Started():
                return self._start(event)
            case Finished(index, reason, usage):
                self._is_answered = True
                if index == 0:
                    self._reason = reason
                if usage is not None:
                    self._metadata["usage"] = usage
                return self._close(index)
            case Seam():
                return [_part(-1, "data-seam", data=event, transient=True)]
            case ErrorEvent():
                return self.end(event)
            case _:
                raise unknown(event)

    def end(self, error: ErrorEvent | None) -> list[Part]:
        if self._is_over:
            return []
        parts = [part for index in list(self._open) for part in self._close(index)]
        self._is_over = True
        if error is not None:
            last = _part(-1, "abort") if is_stop(error) else _part(-1, "error", errorText=error.message)
            return [*self._begin(), *parts, last, DONE]
        if self._in_step:
            parts.append(_part(-1, "finish-step"))
        more: dict[str, Any] = {}
        if self._reason is not None:
            more["finishReason"] = _REASONS.get(self._reason, "other")
        if self._dialect.usage:
            more["messageMetadata"] = self._metadata
        return [*self._begin(), *parts, _part(-1, "finish", **more), DONE]

    def _begin(self) -> list[Part]:
        if self._is_begun:
            return []
        self._is_begun = True
        identity = self._dialect.message_id
        return [_part(-1, "start", **({} if identity is None else {"messageId": identity}))]

    def _start(self, event: Started) -> list[Part]:
        parts = self._begin()
        self._metadata.setdefault("model", event.model)
        if self._in_step and not self._is_answered:
            return parts
        if self._in_step:
            parts.append(_part(-1, "finish-step"))
        self._in_step, self._is_answered = True, False
        self._calls.next_round(event.id)
        return [*parts, _part(-1, "start-step")]

    def _delta(self, kind: str, index: int, text: str) -> list[Part]:
        parts: list[Part] = []
        part = self._open.get(index)
        if part is None or part.kind != kind:
            identity = f"{kind}-{self._count}"
            self._count += 1
            parts = [*self._close(index), _part(index, f"{kind}-start", id=identity, **_choice(index))]
            head = f'{{"type":"{kind}-delta","id":"{identity}","delta":'
            part = self._open[index] = _Open(kind, identity, head.encode())
        parts.append(Part(index, part.head, text, b"}", part.head))
        return parts

    def _close(self, index: int) -> list[Part]:
        part = self._open.pop(index, None)
        return [] if part is None else [_part(index, f"{part.kind}-end", id=part.id)]

    def _call(self, step: Step) -> list[Part]:
        call, begins, text = step
        parts: list[Part] = []
        if begins:
            parts = [_part(call.index, "tool-input-start", **_named(call))]
        if text:
            head = b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":' % msgspec.json.encode(call.id)
            parts.append(Part(call.index, head, text, b"}", head))
        return parts

    def _done(self, event: ToolCallDone) -> list[Part]:
        step = self._calls.done(event)
        try:
            # Of what is empty, a tool without parameters makes an object as well; on one line, as events are.
            given = msgspec.Raw(msgspec.json.format(event.arguments.encode("utf-8", "replace") or b"{}", indent=-1))
            last = _part(event.index, "tool-input-available", **_named(step.call), input=given)
        except (msgspec.DecodeError, RecursionError) as error:
            what = {"input": event.arguments, "errorText": f"the arguments are not JSON: {error}"}
            last = _part(event.index, "tool-input-error", **_named(step.call), **what)
        return [*self._call(step), last]

    def _result(self, event: ToolResult) -> list[Part]:
        call = self._calls.answered(event)
        if call is None:
            return []
        if event.is_error:
            return [_part(event.index, "tool-output-error", toolCallId=call.id, errorText=event.content)]
        return [_part(event.index, "tool-output-available", toolCallId=call.id, output=_output(event.content))]


def _part(index: int, kind: str, **more: Any) -> Part:
    return Part(index, msgspec.json.encode({"type": kind, **more}))


def _named(call: Call) -> dict[str, Any]:
    return {"toolCallId": call.id, "toolName": call.name, **_choice(call.index)}


def _choice(index: int) -> dict[str, Any]:
    return {"providerMetadata": {"siliconflow": {"index": index}}} if index else {}


def _output(content: str) -> Any:
    """Return a result as a value where it is an object or a list, which is how typed tools answer; else the text."""
    if content[:1] in ("{", "["):
        try:
            return msgspec.Raw(msgspec.json.format(content.encode("utf-8", "replace"), indent=-1))
        except (msgspec.DecodeError, RecursionError):
            pass
    return content
