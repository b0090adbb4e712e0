"""What was asked and answered, in the shape of the conventions' JSON schemas for input and output messages.

Pictures, sound and video are told by their kind alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from ...wire import jsontext
from ...wire.structs import ChatCompletion

__all__ = ["input_messages", "output_messages"]


def input_messages(messages: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the messages of a request: mappings, or answers of this library."""
    return [_message(message if isinstance(message, Mapping) else message.to_dict()) for message in messages]


def output_messages(answer: Any) -> list[dict[str, Any]]:
    """Return the choices of an answer; none of one that is no completion."""
    if not isinstance(answer, ChatCompletion):
        return []
    return [
        {**_message(choice.message.to_dict()), "finish_reason": choice.finish_reason or "error"}
        for choice in answer.choices
    ]


def _message(message: Mapping[str, Any]) -> dict[str, Any]:
    role, content = str(message.get("role", "")), message.get("content")
    if role == "tool":
        return {"role": role, "parts": [_told("tool_call_response", id=message.get("tool_call_id"), response=content)]}
    parts: list[dict[str, Any]] = []
    if message.get("reasoning_content"):
        parts.append(_told("reasoning", content=message["reasoning_content"]))
    if isinstance(content, str):
        parts += [_told("text", content=content)] if content else []
    else:
        parts += [_part(part) for part in content or ()]
    parts += [_tool_call(call) for call in message.get("tool_calls") or ()]
    return {"role": role, "parts": parts}


def _part(part: Any) -> dict[str, Any]:
    if not isinstance(part, Mapping):
        return _told(str(getattr(part, "kind", "other")))
    if part.get("type") == "text":
        return _told("text", content=part.get("text"))
    return _told(str(part.get("type", "other")).removesuffix("_url"))


def _tool_call(call: Any) -> dict[str, Any]:
    call = call if isinstance(call, Mapping) else call.to_dict()
    function = call.get("function") or {}
    arguments = function.get("arguments")
    with contextlib.suppress(ValueError):  # else it stays as the model wrote it
        arguments = jsontext.parse(str(arguments).encode())
    return _told("tool_call", id=call.get("id"), name=function.get("name"), arguments=arguments)


def _told(kind: str, **what: Any) -> dict[str, Any]:
    return {"type": kind, **{name: value for name, value in what.items() if value is not None}}
