"""Answers and chunks as openai's models: validated straight from the bytes that came, a twentieth of the work of
openai's own way there.

What does not fit the models is made of what this library has read from it: so are whole answers among
chunks, fragments of tool calls without an index, chunks that lack an id. Where that does not fit either, such as a
finish reason that openai does not know, nothing is asked of it, as openai asks nothing (`construct`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import openai
import pydantic
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ...wire import structs
from ...wire.toolcalls import ToolCallAssembler

__all__ = ["ChunkReader", "completion_of"]

M = TypeVar("M", bound=openai.BaseModel)


class ChunkReader:
    """Makes openai's chunks of the chunks of one stream; `by_fields` if their bytes are not what they hold."""

    __slots__ = ("_by_fields", "_calls")

    def __init__(self, *, by_fields: bool) -> None:
        self._by_fields = by_fields
        self._calls: dict[int, ToolCallAssembler] = {}

    def read(self, chunk: structs.ChatCompletionChunk) -> ChatCompletionChunk:
        """Return openai's model of a chunk."""
        # Of the fragments of tool calls in it, the calls that they belong to.
        indexes = [
            self._calls.setdefault(choice.index, ToolCallAssembler()).add(fragment).index
            for choice in chunk.choices
            if choice.delta.tool_calls
            for fragment in choice.delta.tool_calls
        ]
        if not self._by_fields:
            try:
                return ChatCompletionChunk.model_validate_json(chunk.raw or b"")
            except pydantic.ValidationError:
                pass  # an odd one
        value = chunk.to_dict()
        numbers = iter(indexes)
        for choice in value["choices"]:
            delta = choice.setdefault("delta", {})
            for fragment in delta.get("tool_calls", ()):
                fragment["index"] = next(numbers)
            choice["finish_reason"] = choice.get("finish_reason") or None
        return _made(ChatCompletionChunk, value)


def completion_of(completion: structs.ChatCompletion, *, by_fields: bool = False) -> ChatCompletion:
    """Return openai's model of an answer; `by_fields` if its bytes are not what it holds."""
    made: ChatCompletion | None = None
    if not by_fields:
        with suppress(pydantic.ValidationError):  # an odd one
            made = ChatCompletion.model_validate_json(completion.raw or b"")
    if made is None:
        value: dict[str, Any] = completion.to_dict()
        for choice in value["choices"]:
            choice["finish_reason"] = choice.get("finish_reason") or None
            choice["message"].setdefault("content", None)
        made = _made(ChatCompletion, value)
    # What openai finds in the headers of its own service.
    made._request_id = completion.trace_id
    return made


def _made(model: type[M], value: dict[str, Any]) -> M:
    try:
        return model.model_validate(value)
    except pydantic.ValidationError:
        return model.construct(**value)
