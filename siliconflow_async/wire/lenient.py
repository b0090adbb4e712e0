"""Chunks and answers of servers that bend the format: the careful way beside the fast decoders.

`to_chunk` and `to_completion` take a parsed JSON object: a field of a wrong type is read as what was meant where that
is known (content as a list of parts, arguments as an object, `reasoning` for `reasoning_content`, `choices: null`), and
is absent otherwise. Nothing is lost: the bytes are in `raw`. The only error is ValueError, for more choices or calls
than any answer has.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from . import jsontext
from .structs import (
    MOST_CALLS,
    MOST_CHOICES,
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChoiceDelta,
    ChoiceDeltaToolCall,
    ChoiceDeltaToolCallFunction,
    ChunkChoice,
    CompletionTokensDetails,
    Function,
    PromptTokensDetails,
    ToolCall,
    Usage,
)

__all__ = ["to_chunk", "to_completion", "to_integer", "to_text", "to_usage"]

_CALLS = "tool calls in one choice"
_DETAILS: dict[str, type[Struct]] = {
    "completion_tokens_details": CompletionTokensDetails,
    "prompt_tokens_details": PromptTokensDetails,
}


def to_chunk(value: dict[str, Any]) -> ChatCompletionChunk:
    """Read a chunk, or a whole answer as one chunk."""
    return ChatCompletionChunk(
        id=to_text(value.get("id")) or "",
        object=to_text(value.get("object")) or "chat.completion.chunk",  # type: ignore[arg-type]  # whatever it says
        created=to_integer(value.get("created")) or 0,
        model=to_text(value.get("model")) or "",
        choices=[
            _chunk_choice(item, at)
            for at, item in enumerate(_objects(value.get("choices"), MOST_CHOICES, "choices in one answer"))
        ],
        system_fingerprint=to_text(value.get("system_fingerprint")),
        usage=to_usage(value.get("usage")),
    )


def to_completion(value: dict[str, Any]) -> ChatCompletion:
    """Read a whole answer."""
    return ChatCompletion(
        id=to_text(value.get("id")) or "",
        created=to_integer(value.get("created")) or 0,
        model=to_text(value.get("model")) or "",
        choices=[
            _choice(item, at)
            for at, item in enumerate(_objects(value.get("choices"), MOST_CHOICES, "choices in one answer"))
        ],
        usage=to_usage(value.get("usage")),
        system_fingerprint=to_text(value.get("system_fingerprint")),
    )


def _chunk_choice(value: dict[str, Any], at: int) -> ChunkChoice:
    delta = value.get("delta")
    if not isinstance(delta, dict):
        delta = value.get("message")
    if not isinstance(delta, dict):
        delta = {}
    calls = [_call_delta(item) for item in _objects(delta.get("tool_calls"), MOST_CALLS, _CALLS)]
    return ChunkChoice(
        index=_index(value.get("index"), at),
        delta=ChoiceDelta(
            content=_content(delta.get("content")),
            reasoning_content=_reasoning(delta),
            role=to_text(delta.get("role")),  # type: ignore[arg-type]  # whatever it says
            tool_calls=calls or None,
        ),
        finish_reason=to_text(value.get("finish_reason")),
        logprobs=_logprobs(value.get("logprobs")),
    )


def _call_delta(value: dict[str, Any]) -> ChoiceDeltaToolCall:
    index = to_integer(value.get("index"))
    return ChoiceDeltaToolCall(
        index=index if index is not None and index >= 0 else None,
        id=to_text(value.get("id")),
        type=to_text(value.get("type")),
        function=_function(value.get("function")),
    )


def _function(value: Any) -> ChoiceDeltaToolCallFunction | None:
    if not isinstance(value, dict):
        return None
    return ChoiceDeltaToolCallFunction(name=to_text(value.get("name")), arguments=_arguments(value))


def _choice(value: dict[str, Any], at: int) -> Choice:
    message = value.get("message")
    if not isinstance(message, dict):
        message = {}
    calls = []
    for item in _objects(message.get("tool_calls"), MOST_CALLS, _CALLS):
        function = _function(item.get("function")) or ChoiceDeltaToolCallFunction()
        calls.append(
            ToolCall(
                id=to_text(item.get("id")) or "",
                type=to_text(item.get("type")) or "function",
                function=Function(function.name or "", function.arguments or ""),
            )
        )
    return Choice(
        index=_index(value.get("index"), at),
        message=AssistantMessage(
            content=_content(message.get("content")),
            reasoning_content=_reasoning(message),
            tool_calls=calls or None,
        ),
        finish_reason=to_text(value.get("finish_reason")),
        logprobs=_logprobs(value.get("logprobs")),
    )


def _arguments(function: dict[str, Any]) -> str | None:
    value = function.get("arguments")
    if value is None or isinstance(value, str):
        return value
    return bytes(jsontext.encode(value)).decode()


def _reasoning(delta: dict[str, Any]) -> str | None:
    text = _content(delta.get("reasoning_content"))
    return text if text is not None else _content(delta.get("reasoning"))


def _content(value: Any) -> str | None:
    if isinstance(value, list):
        texts = [to_text(part.get("text")) if isinstance(part, dict) else to_text(part) for part in value]
        return "".join(text for text in texts if text is not None)
    return to_text(value)


def _objects(value: Any, most: int, what: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        return []
    if len(value) > most:
        raise ValueError(f"{len(value):,} {what}, more than {most:,}")
    return [item for item in value if isinstance(item, dict)]


def to_text(value: Any) -> str | None:
    """Return a text, None for anything else."""
    return value if isinstance(value, str) else None


def to_integer(value: Any) -> int | None:
    """Return a whole number that any encoder can write, None for anything else."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else None


def _index(value: Any, at: int) -> int:
    index = to_integer(value)
    return at if index is None else index


def _logprobs(value: Any) -> dict[str, Any] | None:
    return jsontext.without_none(value) if isinstance(value, dict) else None


def to_usage(value: Any) -> Usage | None:
    """Read a usage object: a count of a wrong type is 0, a detail None."""
    if not isinstance(value, dict):
        return None
    usage = Usage()
    for name in usage.__struct_fields__:
        part = value.get(name)
        details = _DETAILS.get(name)
        if details is None:
            count = to_integer(part)
            if count is not None:
                setattr(usage, name, count)
        elif isinstance(part, dict):
            setattr(usage, name, details(*(to_integer(part.get(key)) for key in details.__struct_fields__)))
    return usage
