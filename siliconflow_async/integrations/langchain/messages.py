"""LangChain's messages as the service takes them.

An assistant's content is text there, and its tool calls stand beside it: the blocks in which other providers keep calls
and reasoning are taken out of the content. Reasoning is sent back on turns that call tools, where thinking models want
it, and on no others. What can't be sent raises InvalidRequestError that names the message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from .parts import content_of, refuse

__all__ = ["REASONING", "service_messages"]

# Where LangChain's integrations keep an answer's reasoning, in `additional_kwargs`.
REASONING = "reasoning_content"

# Blocks that hold a tool call, and under which name its arguments.
_CALLS = {"tool_use": "input", "tool_call": "args"}
_REASONING = {"reasoning": "reasoning", "thinking": "thinking", REASONING: REASONING}
# What says nothing to the service: reasoning that only its maker can read, calls that stand in the message's fields.
_LEFT_OUT = ("redacted_thinking", "tool_call_chunk", "invalid_tool_call", "input_json_delta")


def service_messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """Return the messages of a request."""
    return [_message(message, f"messages[{at}]") for at, message in enumerate(messages)]


def _message(message: BaseMessage, where: str) -> dict[str, Any]:
    found: dict[str, Any]
    match message:
        case AIMessage():
            found = _assistant(message, where)
        case ToolMessage():
            content = content_of(message.content, where)
            return {"role": "tool", "tool_call_id": message.tool_call_id, "content": content}
        case HumanMessage():
            found = {"role": "user", "content": content_of(message.content, where)}
        case SystemMessage():
            found = {"role": "system", "content": content_of(message.content, where)}
        case ChatMessage():
            found = {"role": message.role, "content": content_of(message.content, where)}
        case _:
            refuse(where, f"the service knows no {type(message).__name__}")
    if message.name:
        found["name"] = message.name
    return found


def _assistant(message: AIMessage, where: str) -> dict[str, Any]:
    content = message.content
    blocks: Sequence[str | Mapping[Any, Any]] = [content] if isinstance(content, str) else content
    texts, thoughts = [], []
    for at, block in enumerate(blocks):
        kind = "text" if isinstance(block, str) else block.get("type")
        if isinstance(block, Mapping) and kind in _REASONING:
            thoughts.append(str(block.get(_REASONING[kind]) or ""))
        elif kind not in _CALLS and kind not in _LEFT_OUT:
            text = content_of([block], f"{where}.content[{at}]")
            if not isinstance(text, str):
                refuse(f"{where}.content[{at}]", f"an assistant's content is text, and no {kind!r}")
            texts.append(text)
    found: dict[str, Any] = {"role": "assistant", "content": "".join(texts)}
    calls = [
        {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
        for identity, name, arguments in _calls(message, blocks, where)
    ]
    if calls:
        found["tool_calls"] = calls
        reasoning = message.additional_kwargs.get(REASONING) or "".join(thoughts)
        if reasoning:
            found[REASONING] = reasoning
    return found


def _calls(message: AIMessage, blocks: Sequence[str | Mapping[Any, Any]], where: str) -> Iterator[tuple[str, str, str]]:
    """The id, name and arguments of each call; of those that LangChain could not read, as the model wrote them."""
    known = set()
    for call in message.tool_calls:
        known.add(call["id"])
        yield call["id"] or "", call["name"], _json(call["args"], where)
    for wrong in message.invalid_tool_calls:
        known.add(wrong["id"])
        yield wrong["id"] or "", wrong["name"] or "", wrong["args"] or ""
    for block in blocks:
        # Most often the same calls again.
        if isinstance(block, Mapping) and block.get("type") in _CALLS and block.get("id") not in known:
            arguments = block.get(_CALLS[block["type"]])
            yield str(block.get("id") or ""), str(block.get("name") or ""), _json(arguments or {}, where)


def _json(arguments: Any, where: str) -> str:
    try:
        return msgspec.json.encode(arguments).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        refuse(where, f"the arguments of a tool call can't be sent: {error}")
