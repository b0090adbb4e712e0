"""Messages in Anthropic's form, answered as the same chat would be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..serving.answers import ChatAnswer, ChoicePieces
from ..serving.refusals import refuse
from ..serving.steps import Pause, Step
from .chat import answered
from .question import Question

__all__ = ["messages"]

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
_encode = msgspec.json.Encoder().encode


async def messages(question: Question) -> None:
    """Answer `POST /messages`."""
    request = question.json()
    name, meter = question.model(request)
    limit = request.get("max_tokens")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        refuse("max_tokens: must be at least 1")
    answer = answered(_chat(request, name), name)
    if meter is not None:
        meter.admit(answer.prompt_tokens)
        meter.sent(answer.tokens)
    writer = question.writer
    if request.get("stream") is not True:
        if writer.pause:
            await asyncio.sleep(writer.pause * answer.tokens)
        await writer.whole(200, _encode(_message(answer)))
        return
    steps: list[Step] = []
    for event in _events(answer):
        steps.append(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), _encode(event)))
        if writer.pause and event["type"] == "content_block_delta":
            steps.append(Pause(writer.pause))
    await writer.raw(steps, 200, {}, "chunked")


def _chat(request: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a request as a chat has it; raise Refused for what has no such form."""
    given = request.get("messages")
    if not isinstance(given, list):
        refuse("messages: must be a list")
    turns: list[dict[str, Any]] = []
    if system := request.get("system"):
        turns.append({"role": "system", "content": system if isinstance(system, str) else _text(system)})
    for message in given:
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            refuse("messages: role must be user or assistant")
        turns += _turns(message)
    chat: dict[str, Any] = {"model": name, "messages": turns, "max_tokens": request["max_tokens"]}
    for ours, theirs in (("stop", "stop_sequences"), *((same, same) for same in ("temperature", "top_p", "top_k"))):
        if theirs in request:
            chat[ours] = request[theirs]
    if tools := request.get("tools"):
        chat["tools"] = [
            {
                "type": "function",
                "function": {"name": tool.get("name"), "parameters": tool.get("input_schema") or {}},
            }
            for tool in tools
            if isinstance(tool, dict)
        ]
    choice = request.get("tool_choice") or {}
    if choice.get("type") == "none":
        chat["tool_choice"] = "none"
    elif choice.get("type") == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    if (thinking := request.get("thinking")) is not None:
        chat["enable_thinking"] = thinking.get("type") == "enabled"
    return chat


def _turns(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what one message is in a chat: results of tools are turns of their own there."""
    content = message.get("content")
    if isinstance(content, str):
        return [{"role": message["role"], "content": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        refuse("messages: content must be a text or a list of blocks")
    turns = [
        {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block.get("content"))}
        for block in content
        if block.get("type") == "tool_result"
    ]
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": _encode(block.get("input") or {}).decode()},
        }
        for block in content
        if block.get("type") == "tool_use"
    ]
    words = _text(content)
    if words or calls or not turns:
        turn: dict[str, Any] = {"role": message["role"], "content": words}
        turns.append({**turn, "tool_calls": calls} if calls else turn)
    return turns


def _result(content: Any) -> str:
    return content if isinstance(content, str) else _text(content or [])


def _text(blocks: Any) -> str:
    return "".join(block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str))


def _input(arguments: str) -> Any:
    """Return the arguments of a call; none of those that were cut off."""
    try:
        return msgspec.json.decode(arguments)
    except msgspec.DecodeError:
        return {}


def _head(answer: ChatAnswer) -> dict[str, Any]:
    return {"id": f"msg_{answer.id}", "type": "message", "role": "assistant", "model": answer.model}


def _usage(answer: ChatAnswer) -> dict[str, Any]:
    return {
        "input_tokens": answer.prompt_tokens,
        "output_tokens": answer.tokens,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
    }


def _stop_reason(choice: ChoicePieces) -> str:
    return _STOP_REASONS.get(choice.finish_reason or "stop", "end_turn")


def _message(answer: ChatAnswer) -> dict[str, Any]:
    """Return a whole message."""
    (choice,) = answer.choices
    content: list[dict[str, Any]] = []
    if choice.reasoning:
        content.append({"type": "thinking", "thinking": "".join(choice.reasoning), "signature": ""})
    if choice.content:
        content.append({"type": "text", "text": "".join(choice.content)})
    for call in choice.calls:
        content.append({"type": "tool_use", "id": call.id, "name": call.name, "input": _input("".join(call.arguments))})
    reason = {"stop_reason": _stop_reason(choice), "stop_sequence": None}
    return {**_head(answer), "content": content, **reason, "usage": _usage(answer)}


def _events(answer: ChatAnswer) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream."""
    (choice,) = answer.choices
    usage = _usage(answer)
    start = {**_head(answer), "content": [], "stop_reason": None, "stop_sequence": None}
    yield {"type": "message_start", "message": {**start, "usage": {**usage, "output_tokens": 0}}}
    yield {"type": "ping"}
    blocks: list[tuple[dict[str, Any], str, str, Any]] = []
    if choice.reasoning:
        blocks.append(({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking", choice.reasoning))
    if choice.content:
        blocks.append(({"type": "text", "text": ""}, "text_delta", "text", choice.content))
    for call in choice.calls:
        block = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        blocks.append((block, "input_json_delta", "partial_json", call.arguments))
    for index, (block, kind, name, pieces) in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": {"type": kind, name: piece}}
        yield {"type": "content_block_stop", "index": index}
    reason = {"stop_reason": _stop_reason(choice), "stop_sequence": None}
    yield {"type": "message_delta", "delta": reason, "usage": usage}
    yield {"type": "message_stop"}
