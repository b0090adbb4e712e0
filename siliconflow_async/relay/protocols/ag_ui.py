"""AG-UI 1.0: what `HttpAgent` and the front ends on it read.

An answer is a run; what one round says and calls is one message of it, for each choice, and so is what is reasoned
before anything else comes. A client runs a tool of its own as soon as its call ends, so no call ends before it is
complete: a run that is stopped within one ends as an error, any other as cancelled.
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
from ...wire.structs import Usage
from .calls import Call, Calls, Step
from .part import AnyEvent, Part, is_stop, unknown

__all__ = ["AGUI", "RunMapping"]


class AGUI(msgspec.Struct, frozen=True):
    """AG-UI's events.

    thread_id, run_id: those of the request (`threadId`, `runId`); else the answer's own id is both.
    """

    thread_id: str | None = None
    run_id: str | None = None

    headers: ClassVar[Mapping[str, str]] = {}
    is_numbered: ClassVar[bool] = False
    is_shared: ClassVar[bool] = True

    def mapping(self) -> RunMapping:
        return RunMapping(self)


class _Open(NamedTuple):
    kind: str
    id: str
    # What its deltas begin with.
    head: bytes


class RunMapping:
    """One run."""

    def __init__(self, dialect: AGUI) -> None:
        self._dialect = dialect
        self._ids: dict[str, str] = {}
        self._model = ""
        self._is_begun = False
        self._is_over = False
        self._round = 0
        self._is_answered = False
        self._calls = Calls()
        # Calls that are open, and complete ones that no tool has answered.
        self._begun: list[Call] = []
        self._pending: list[Call] = []
        self._count = 0
        # Of each choice, the message that it is in.
        self._open: dict[int, _Open] = {}
        self._reason: str | None = None
        self._usage: list[dict[str, Any]] = []

    def feed(self, event: AnyEvent) -> list[Part]:
        if not self._is_begun and not isinstance(event, Started | ErrorEvent):
            return [*self._start(Started(0, "", "")), *self.feed(event)]
        match event:
            case ContentDelta(index, text):
                return self._delta("TEXT", index, text)
            case ReasoningDelta(index, text):
                return self._delta("REASONING", index, text)
            case ToolCallDelta(index):
                return [*self._close(index), *self._call(self._calls.delta(event))]
            case ToolCallDone(index):
                step = self._calls.done(event)
                return [*self._close(index), *self._call(step), *self._done(step.call)]
            case ToolResult():
                return self._result(event)
            case Started():
                return self._start(event)
            case Finished(index, reason, usage):
                self._is_answered = True
                if index == 0:
                    self._reason = reason
                if usage is not None:
                    self._usage.append(_tokens(usage, self._model))
                return self._close(index)
            case Seam():
                return [_part(-1, "CUSTOM", name="seam", value=event)]
            case ErrorEvent():
                return self.end(event)
            case _:
                raise unknown(event)

    def end(self, error: ErrorEvent | None) -> list[Part]:
        if self._is_over:
            return []
        self._is_over = True
        parts = [part for index in list(self._open) for part in self._close(index)]
        more: dict[str, Any] = {"usage": self._usage} if self._usage else {}
        if error is None or (is_stop(error) and self._is_begun and not self._begun):
            outcome: dict[str, Any] = {"type": "cancelled"}
            if error is None:
                outcome = {"type": "success"}
                if self._pending:
                    outcome["pendingToolCallIds"] = [call.id for call in self._pending]
                if self._reason is not None:
                    more["metadata"] = {"finishReason": self._reason}
            return [*self._begin(""), *parts, _part(-1, "RUN_FINISHED", **self._ids, outcome=outcome, **more)]
        code = "abort" if is_stop(error) else str(error.error if error.code is None else error.code)
        return [*parts, _part(-1, "RUN_ERROR", message=error.message, code=code, **more)]

    def _begin(self, identity: str) -> list[Part]:
        if self._is_begun:
            return []
        self._is_begun = True
        thread, run = self._dialect.thread_id, self._dialect.run_id
        own = identity or "run"
        self._ids = {"threadId": own if thread is None else thread, "runId": own if run is None else run}
        return [_part(-1, "RUN_STARTED", **self._ids, protocolVersion="1.0")]

    def _start(self, event: Started) -> list[Part]:
        if self._is_answered or not self._is_begun:
            self._round += self._is_answered
            self._is_answered = False
            self._calls.next_round(event.id)
            self._pending.clear()
        self._model = event.model
        return self._begin(event.id)

    def _message(self, index: int) -> str:
        """The id of what one choice says in this round."""
        return f"{self._ids['runId']}-{self._round}" + (f"-{index}" if index else "")

    def _delta(self, kind: str, index: int, text: str) -> list[Part]:
        parts: list[Part] = []
        message = self._open.get(index)
        if message is None or message.kind != kind:
            parts = self._close(index)
            identity, role = self._message(index), "assistant"
            if kind == "REASONING":
                identity, role = f"{identity}-reasoning-{self._count}", "reasoning"
                self._count += 1
                parts.append(_part(index, "REASONING_START", messageId=identity))
            parts.append(_part(index, f"{kind}_MESSAGE_START", messageId=identity, role=role))
            head = b'{"type":"%b_MESSAGE_CONTENT","messageId":%b,"delta":' % (kind.encode(), _encode(identity))
            message = self._open[index] = _Open(kind, identity, head)
        parts.append(Part(index, message.head, text, b"}", message.head))
        return parts

    def _close(self, index: int) -> list[Part]:
        message = self._open.pop(index, None)
        if message is None:
            return []
        parts = [_part(index, f"{message.kind}_MESSAGE_END", messageId=message.id)]
        if message.kind == "REASONING":
            parts.append(_part(index, "REASONING_END", messageId=message.id))
        return parts

    def _call(self, step: Step) -> list[Part]:
        call, begins, text = step
        parts: list[Part] = []
        # One that a server adds to after its end opens again, and goes on.
        if begins or (text and call.is_done):
            call.is_done = False
            self._begun.append(call)
            parts.append(
                _part(
                    call.index,
                    "TOOL_CALL_START",
                    toolCallId=call.id,
                    toolCallName=call.name,
                    parentMessageId=self._message(call.index),
                )
            )
        if text:
            head = b'{"type":"TOOL_CALL_ARGS","toolCallId":%b,"delta":' % _encode(call.id)
            parts.append(Part(call.index, head, text, b"}", head))
        return parts

    def _done(self, call: Call) -> list[Part]:
        if call.is_done:
            return []
        call.is_done = True
        self._begun.remove(call)
        if call not in self._pending:
            self._pending.append(call)
        return [_part(call.index, "TOOL_CALL_END", toolCallId=call.id)]

    def _result(self, event: ToolResult) -> list[Part]:
        call = self._calls.answered(event)
        if call is None:
            return []
        if call in self._pending:
            self._pending.remove(call)
        more: dict[str, Any] = {"metadata": {"isError": True}} if event.is_error else {}
        identity = f"{call.id}-result"
        result = {"messageId": identity, "toolCallId": call.id, "content": event.content, "role": "tool"}
        return [_part(event.index, "TOOL_CALL_RESULT", **result, **more)]


_encode = msgspec.json.Encoder().encode


def _part(index: int, kind: str, **more: Any) -> Part:
    return Part(index, _encode({"type": kind, **more}))


def _tokens(usage: Usage, model: str) -> dict[str, Any]:
    """Return the tokens of one answer by AG-UI's names."""
    told: dict[str, Any] = {
        "provider": "siliconflow",
        "model": model,
        "inputTokens": usage.prompt_tokens,
        "outputTokens": usage.completion_tokens,
        "totalTokens": usage.total_tokens,
    }
    output, given = usage.completion_tokens_details, usage.prompt_tokens_details
    if output is not None and output.reasoning_tokens is not None:
        told["reasoningTokens"] = output.reasoning_tokens
    if given is not None and given.cached_tokens is not None:
        told["cachedInputTokens"] = given.cached_tokens
    return told
