"""Builders of chunks and streams on the wire, and of what they fold to."""

from __future__ import annotations

import json
from typing import Any

MODEL = "Qwen/Qwen3-8B"
ID = "0199aabbccddeeff0011223344556677"
DONE = b"data: [DONE]\n\n"

Json = dict[str, Any]


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def data(*payloads: Any) -> bytes:
    """Frame each payload as an event of one data line."""
    return b"".join(b"data: " + (item if isinstance(item, bytes) else dump(item)) + b"\n\n" for item in payloads)


def choice(delta: Json, finish: str | None = None, index: int = 0, **more: Any) -> Json:
    return {"index": index, "delta": delta, "finish_reason": finish, **more}


def chunk(*choices: Json, usage: Json | None = None, **more: Any) -> Json:
    """Build a chunk as SiliconFlow sends it; `usage` is absent where it is None."""
    head = {"id": ID, "object": "chat.completion.chunk", "created": 1764681242, "model": MODEL}
    tail = {} if usage is None else {"usage": usage}
    return head | {"choices": list(choices), "system_fingerprint": ""} | tail | more


def text(words: str | None, reasoning: str | None = None, finish: str | None = None, **more: Any) -> Json:
    return chunk(choice({"content": words, "reasoning_content": reasoning}, finish), **more)


def small(delta: Json, finish: str | None = None, **more: Any) -> Json:
    """Build the least that a compatible server sends."""
    return {"choices": [choice(delta, finish)], **more}


def call(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: Any = "", **more: Any
) -> Json:
    """Build a delta with one tool-call fragment, as SiliconFlow does: null where there is nothing."""
    fragment = {"index": index, "id": call_id, "type": "function" if call_id else None}
    return {"tool_calls": [fragment | {"function": {"name": name, "arguments": arguments}}], **more}


def message(content: str | None = None, reasoning: str | None = None, calls: list[Json] | None = None) -> Json:
    parts = {"content": content, "reasoning_content": reasoning, "tool_calls": calls}
    return {"role": "assistant"} | {key: value for key, value in parts.items() if value is not None}


def folded(answer: Json, finish: str | None = "stop", index: int = 0) -> Json:
    tail = {} if finish is None else {"finish_reason": finish}
    return {"index": index, "message": answer} | tail


def made(call_id: str, name: str, arguments: str) -> Json:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def tokens(prompt: int, completion: int, **more: Any) -> Json:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion, **more}


def escaped(value: Any) -> bytes:
    """Write JSON as some servers do: with every character beyond ASCII, lone surrogates too, as an escape."""
    return json.dumps(value, separators=(",", ":")).encode()


FULL_USAGE = tokens(
    283,
    69,
    completion_tokens_details={"reasoning_tokens": 24},
    prompt_tokens_details={"cached_tokens": 256},
    prompt_cache_hit_tokens=256,
    prompt_cache_miss_tokens=27,
)
WEATHER = made("call_7f", "weather", '{"city":"Köln"}')
