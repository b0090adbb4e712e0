"""What the stand-in says in a chat: the same answer to the same request."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ..serving.answers import CallPieces, ChatAnswer, ChoicePieces, deltas, wanted_logprobs
from ..serving.refusals import refuse
from .models import Capabilities, capabilities
from .question import Question
from .rules import check_messages, check_parameters
from .samples import sample

__all__ = ["answered", "before", "chat"]

_MEDIA_TOKENS = 256
_encode = msgspec.json.Encoder().encode


async def chat(question: Question) -> None:
    """Answer `POST /chat/completions`."""
    request = question.json()
    name, meter = question.model(request)
    answer = answered(request, name)
    if meter is not None:
        meter.admit(answer.prompt_tokens)
    await question.writer.answer(answer, stream=request.get("stream") is True, meter=meter)


def answered(request: Mapping[str, Any], name: str) -> ChatAnswer:
    """Return the answer of a model to a request; raise Refused for one that it does not take."""
    model = capabilities(name)
    messages = check_messages(request.get("messages"), model)
    check_parameters(request, model)
    prompt_tokens = sum(_tokens(message) for message in messages) + len(deltas(request.get("prefix") or ""))
    # The page asks to leave room for the answer in the model's window.
    wanted = prompt_tokens + int(request.get("max_tokens") or 0)
    if wanted > model.context:
        refuse(f"length of prompt_tokens ({wanted}) must be less than max_seq_len ({model.context}).")
    count = int(request.get("n") or 1)
    choices = [_choice(request, messages, model, index) for index in range(count)]
    return ChatAnswer(choices, name, prompt_tokens=prompt_tokens, logprobs=wanted_logprobs(request))


def _choice(
    request: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], model: Capabilities, index: int
) -> ChoicePieces:
    prompt = _text(next(turn for turn in reversed(messages) if turn["role"] == "user"))
    reasoning: list[str] = []
    prefix = request.get("prefix") or ""
    thinks = model.thinking == "always" or (model.thinking == "hybrid" and request.get("enable_thinking") is not False)
    if thinks and not prefix:
        budget = request.get("thinking_budget")
        reasoning = deltas(_thought(prompt))[: None if budget is None else int(budget)]
    calls = [] if prefix else _calls(request, messages, prompt, index)
    stop = request.get("stop") or []
    stops = [stop] if isinstance(stop, str) else stop
    content = "" if calls else before(_content(request, messages, prompt, index), stops)
    if prefix:
        content = before(_rest(content, prefix), [request.get("suffix") or ""])
    choice = ChoicePieces(deltas(content), reasoning, calls, "tool_calls" if calls else "stop")
    limit = request.get("max_tokens")
    return choice if limit is None else _limited(choice, int(limit))


def _content(request: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], prompt: str, index: int) -> str:
    wanted = request.get("response_format") or {}
    if wanted.get("type") == "json_schema":
        return _encode(sample(wanted["json_schema"]["schema"], prompt)).decode()
    if wanted.get("type") == "json_object":
        return _encode({"answer": f"You said: {prompt}", "index": index}).decode()
    if messages[-1]["role"] == "tool":
        opening = f"The tool answered: {_text(messages[-1])}."
    else:
        opening = f"You said: “{_short(prompt, 600)}”."
    number = f" This is answer {index + 1} to it." if index else ""
    return (
        f"{opening}{number} I am a stand-in for {request['model']} that runs on this machine, so "
        "nothing you write here leaves it. I can't think, but I send what I have the way the "
        "service does: piece by piece, 一个词接一个词, with usage on every chunk. 😀\n\n"
        "Set SILICONFLOW_API_KEY to talk to the real models."
    )


def _rest(text: str, prefix: str) -> str:
    """Continue a prefix: return what follows as much of the text as the prefix ends with."""
    at = next(size for size in range(min(len(text), len(prefix)), -1, -1) if prefix.endswith(text[:size]))
    return text[at:]


def before(text: str, ends: Sequence[str]) -> str:
    """Return the text up to where the first of some strings begins."""
    return text[: min((at for end in ends if end and (at := text.find(end)) >= 0), default=len(text))]


def _thought(prompt: str) -> str:
    return (
        f"The user says: “{_short(prompt, 4000)}”. "
        "Let me see what they want. I have no knowledge of my own, so the honest answer is to "
        "repeat the words, say what I am, and keep it short."
    )


def _calls(
    request: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], prompt: str, index: int
) -> list[CallPieces]:
    tools = request.get("tools")
    choice = request.get("tool_choice")
    if not tools or choice == "none" or messages[-1]["role"] != "user":
        return []
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    name = choice["function"]["name"] if isinstance(choice, dict) else next(iter(functions))
    schema = {"type": "object", **(functions[name].get("parameters") or {})}
    arguments = _encode(sample(schema, prompt)).decode()
    identity = hashlib.md5(f"{name}:{index}:{arguments}".encode(), usedforsecurity=False)
    return [CallPieces(name, deltas(arguments), identity.hexdigest())]


def _limited(choice: ChoicePieces, limit: int) -> ChoicePieces:
    """Return the first `limit` tokens of a choice, which has content or one call."""
    if choice.tokens <= limit:
        return choice
    reasoning = choice.reasoning[:limit]
    limit -= len(reasoning)
    calls = [CallPieces(call.name, call.arguments[: limit - 1], call.id) for call in choice.calls if limit]
    return ChoicePieces(choice.content[:limit], reasoning, calls, "length")


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


def _tokens(message: Mapping[str, Any]) -> int:
    content = message.get("content")
    media = sum(part["type"] != "text" for part in content) if isinstance(content, list) else 0
    return 3 + len(deltas(_text(message))) + media * _MEDIA_TOKENS


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"
