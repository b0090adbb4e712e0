"""How many tokens a request will use, guessed before it is sent and learned from what others used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..checks import LISTS, MAPPINGS, is_count
from ..errors import InvalidRequestError

__all__ = ["Estimate", "count_by_hook", "has_written_answer", "most_tokens", "weigh"]

# Tokens in a byte of text, and in an answer, before the first usage was seen.
_RATIO = 0.4
_ANSWER = 1024.0
# How fast an estimate comes down to what is really used. It goes up at once, but a single absurd usage must not hold
# all later calls up for hours.
_FORGET = 0.1
_LEAP = 8.0
# What a service may add to a prompt, or a model think beside `max_tokens`; and what no model of today takes or writes.
_UNSEEN = 64 * 1024
_MOST = 4 * 1024 * 1024
# What a picture, sound or clip may cost where nothing says more, in tokens.
_MEDIA_TOKENS = 1024
# Role and frame of a message, in bytes of text.
_FRAME = 12
# Parameters of other endpoints than chat that are a text, or several.
_TEXTS = ("input", "query", "documents", "prompt", "suffix")


class Estimate:
    """What one model's prompts and answers come to; rather too much than too little."""

    def __init__(self) -> None:
        self._ratio = _RATIO
        self._answer = _ANSWER

    def prompt(self, size: int) -> int:
        """Return the tokens of a prompt of `size` bytes."""
        return math.ceil(size * self._ratio)

    def answer(self) -> int:
        """Return the tokens of an answer whose length nothing bounds."""
        return math.ceil(self._answer)

    def learn_prompt(self, size: int, tokens: int) -> None:
        """Note what a prompt of `size` bytes came to; 0 bytes say nothing."""
        if size:
            self._ratio = _learned(self._ratio, tokens / size)

    def learn_answer(self, tokens: int) -> None:
        """Note what an answer came to."""
        self._answer = _learned(self._answer, tokens)


def most_tokens(size: int, tokens: int, max_tokens: int | None) -> tuple[int, int]:
    """Return the most tokens that a prompt and its answer can come to: a usage above that is not to be believed.

    The prompt is `size` bytes of text, none of which holds two tokens, and something else of about `tokens` tokens.
    """
    prompt = size + _UNSEEN if not tokens else max(_MOST, 2 * tokens)
    return prompt, _MOST if max_tokens is None else 2 * max_tokens + _UNSEEN


def _learned(known: float, seen: float) -> float:
    return min(seen, _LEAP * known) if seen > known else known + _FORGET * (seen - known)


def count_by_hook(hook: Callable[[Mapping[str, Any]], int], params: Mapping[str, Any]) -> int:
    """Return the tokens of a prompt; raise InvalidRequestError where the user's own function can't tell."""
    try:
        tokens = hook(params)
    except Exception as error:  # the user's code may raise anything
        raise InvalidRequestError(f"count_tokens failed: {error!r}", param="messages") from error
    if not is_count(tokens, 0):
        raise InvalidRequestError(f"count_tokens must return an integer >= 0, not {tokens!r}", param="messages")
    return tokens


def weigh(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of text in a prompt, and the tokens of what is no text.

    Bytes of UTF-8 rather than characters: a token of Chinese has about as many as one of English.
    """
    size = tokens = 0
    messages = params.get("messages")
    if not isinstance(messages, LISTS):
        return sum(_size_of_texts(params.get(name)) for name in _TEXTS), 0
    for message in messages:
        size += _FRAME
        # An AssistantMessage has it as an attribute.
        content = message.get("content") if isinstance(message, MAPPINGS) else getattr(message, "content", None)
        if isinstance(content, str):
            size += _size(content)
        elif isinstance(content, LISTS):
            for part in content:
                text = part.get("text") if isinstance(part, MAPPINGS) else None
                if isinstance(text, str):
                    size += _size(text)
                else:
                    tokens += _MEDIA_TOKENS
    prefix = params.get("prefix")
    if isinstance(prefix, str):
        size += _size(prefix)
    tools = params.get("tools")
    if tools:
        size += len(str(tools))
    return size, tokens


def has_written_answer(params: Mapping[str, Any]) -> bool:
    """Whether the answer is text, which costs tokens too; that to an embedding's or a reranker's texts is none."""
    return "input" not in params and "documents" not in params


def _size_of_texts(value: Any) -> int:
    if isinstance(value, str):
        return _size(value)
    return sum(_size(text) for text in value if isinstance(text, str)) if isinstance(value, LISTS) else 0


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
