"""`chat.completion.chunk`, for any client that speaks the chat API of OpenAI.

An answer is one completion, also where tools were run: what the rounds say is one text, and only the last one's finish
reason is told. Such a client would run the tools that are called; `OpenAIChunks(calls=False)` tells of none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

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
from .calls import Calls, Step
from .part import DONE, AnyEvent, Part, unknown

__all__ = ["ChunkMapping", "OpenAIChunks"]

_encode = msgspec.json.Encoder().encode


class OpenAIChunks(msgspec.Struct, frozen=True):
    """Chunks of a chat completion.

    calls: whether tool calls are told, for the client to run; not where `run_tools` runs them.
    """

    calls: bool = True

    headers: ClassVar[Mapping[str, str]] = {}
    is_numbered: ClassVar[bool] = False
    is_shared: ClassVar[bool] = True

    def mapping(self) -> ChunkMapping:
        return ChunkMapping(self)


class ChunkMapping:
    """One completion."""

    def __init__(self, dialect: OpenAIChunks) -> None:
        self._tells_calls = dialect.calls
        # What all chunks begin with.
        self._head = _head("", "")
        self._calls = Calls()
        self._begun: set[int] = set()
        # Of each choice that is complete for now, why.
        self._reasons: dict[int, str | None] = {}
        self._usage: Usage | None = None
        self._is_over = False

    def feed(self, event: AnyEvent) -> list[Part]:
        match event:
            case ContentDelta(index, text):
                return [self._delta(index, "content", text)]
            case ReasoningDelta(index, text):
                return [self._delta(index, "reasoning_content", text)]
            case ToolCallDelta():
                return self._call(self._calls.delta(event))
            case ToolCallDone():
                return self._call(self._calls.done(event))
            case Started():
                return self._start(event)
            case Finished(index, reason, usage):
                self._reasons[index] = reason
                self._usage = usage or self._usage
            case ErrorEvent():
                return self.end(event)
            case Seam() | ToolResult():
                pass
            case _:
                raise unknown(event)
        return []

    def end(self, error: ErrorEvent | None) -> list[Part]:
        if self._is_over:
            return []
        self._is_over = True
        if error is not None:
            said = {"message": error.message, "type": error.error, "param": None, "code": error.code}
            # No [DONE] then, by which a client that overlooks the error would take what came for the whole.
            return [Part(-1, _encode({"error": said}))]
        parts = [self._chunk(index, {}, reason) for index, reason in sorted(self._reasons.items())]
        if self._usage is not None:
            parts.append(Part(-1, self._head + b'],"usage":' + _encode(self._usage) + b"}"))
        return [*parts, DONE]

    def _start(self, event: Started) -> list[Part]:
        if self._reasons or not self._begun:
            # The next round is of the same completion.
            self._reasons.clear()
            self._calls.next_round(event.id)
        if event.index in self._begun:
            return []
        if not self._begun:
            self._head = _head(event.id, event.model)
        self._begun.add(event.index)
        return [self._chunk(event.index, {"role": "assistant", "content": ""})]

    def _delta(self, index: int, name: str, text: str) -> Part:
        head = b'%b{"index":%d,"delta":{"%b":' % (self._head, index, name.encode())
        return Part(index, head, text, _TAIL, (name, index))

    def _call(self, step: Step) -> list[Part]:
        call, begins, text = step
        if not self._tells_calls:
            return []
        if begins:
            function = {"name": call.name, "arguments": text}
            fragment = {"index": call.number, "id": call.id, "type": "function", "function": function}
            return [self._chunk(call.index, {"tool_calls": [fragment]})]
        if not text:
            return []
        inner = b'{"index":%d,"delta":{"tool_calls":[{"index":%d,"function":{"arguments":' % (call.index, call.number)
        return [Part(call.index, self._head + inner, text, b"}}]" + _TAIL, ("call", call.id))]

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None = None) -> Part:
        choice = {"index": index, "delta": delta, "finish_reason": reason}
        return Part(index, self._head + _encode(choice) + b"]}")


_TAIL = b'},"finish_reason":null}]}'


def _head(identity: str, model: str) -> bytes:
    # When it was created is not known here, and clients want a number.
    told = {"id": identity, "object": "chat.completion.chunk", "created": 0, "model": model}
    return _encode(told)[:-1] + b',"choices":['
