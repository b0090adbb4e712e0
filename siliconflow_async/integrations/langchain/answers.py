"""Whole answers as LangChain's messages, and what is told at the end of a streamed one."""

from __future__ import annotations

import json
import uuid
from typing import Any

from langchain_core.messages import AIMessage, InvalidToolCall, ToolCall
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call
from langchain_core.outputs import ChatGeneration, ChatResult

from ...wire.structs import ChatCompletion, Choice, Usage
from .messages import REASONING

__all__ = ["CUT", "PROVIDER", "call_id", "chat_result", "metadata_of", "read_arguments", "usage_of"]

PROVIDER = "siliconflow"
# Finish reasons of an answer that was not said to its end.
CUT = frozenset({"length", "content_filter", "insufficient_system_resource"})


def chat_result(done: ChatCompletion) -> ChatResult:
    """Return an answer: a generation for each of its choices, with the usage, which is of them all, on the first."""
    return ChatResult(generations=[ChatGeneration(message=_message(done, choice)) for choice in done.choices])


def _message(done: ChatCompletion, choice: Choice) -> AIMessage:
    message = choice.message
    calls: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    for call in message.tool_calls or ():
        name, text, identity = call.function.name, call.function.arguments, call.id or call_id()
        arguments = read_arguments(text)
        if arguments is None:
            why = f"the arguments of {name!r} are no JSON object"
            invalid.append(invalid_tool_call(name=name, args=text, id=identity, error=why))
        else:
            calls.append(tool_call(name=name, args=arguments, id=identity))
    return AIMessage(
        content=message.content or "",
        additional_kwargs={REASONING: message.reasoning_content} if message.reasoning_content else {},
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=usage_of(done.usage) if choice is done.choices[0] else None,
        response_metadata=metadata_of(done, choice),
    )


def metadata_of(done: ChatCompletion, choice: Choice | None) -> dict[str, Any]:
    """Return what is known of an answer beside its message."""
    found = {
        "model_provider": PROVIDER,
        "model_name": done.model,
        "id": done.id,
        "trace_id": done.trace_id,
        "finish_reason": choice and choice.finish_reason,
        "system_fingerprint": done.system_fingerprint,
        "logprobs": choice and choice.logprobs,
    }
    return {name: value for name, value in found.items() if value}


def usage_of(usage: Usage | None) -> UsageMetadata | None:
    """Return the tokens of an answer, those of reasoning and of the cache where the service tells them."""
    if usage is None:
        return None
    found = UsageMetadata(
        input_tokens=usage.prompt_tokens, output_tokens=usage.completion_tokens, total_tokens=usage.total_tokens
    )
    cached = usage.prompt_cache_hit_tokens
    if usage.prompt_tokens_details is not None and usage.prompt_tokens_details.cached_tokens is not None:
        cached = usage.prompt_tokens_details.cached_tokens
    if cached is not None:
        found["input_token_details"] = InputTokenDetails(cache_read=cached)
    details = usage.completion_tokens_details
    if details is not None and details.reasoning_tokens is not None:
        found["output_token_details"] = OutputTokenDetails(reasoning=details.reasoning_tokens)
    return found


def read_arguments(text: str) -> dict[str, Any] | None:
    """Return the arguments of a tool call, none where the text is empty; None if they are no JSON object."""
    if not text.strip():
        return {}
    try:
        # Models write line breaks into strings as they are, which LangChain forgives too.
        arguments = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def call_id() -> str:
    """Return an id for a call that the server gave none: LangChain tells calls and their results apart by it."""
    return f"call_{uuid.uuid4().hex}"
