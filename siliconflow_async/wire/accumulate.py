"""Chunks to a ChatCompletion, merged field by field.

Text is kept in lists and joined when asked for, so folding is linear; a look at the answer so far costs one copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..errors import MalformedStreamError
from .lazy import Chunk
from .structs import (
    MOST_CALLS,
    MOST_CHOICES,
    AssistantMessage,
    ChatCompletion,
    Choice,
    ChunkChoice,
    Usage,
)
from .toolcalls import ToolCallAssembler
from .weight import SMALL, TooHeavyError, check_total, weight

__all__ = ["Accumulator", "has_progress"]


class _ChoiceParts:
    __slots__ = ("calls", "content", "finish_reason", "index", "logprobs", "reasoning")

    def __init__(self, index: int) -> None:
        self.index = index
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: ToolCallAssembler | None = None
        self.finish_reason: str | None = None
        # As JSON, which takes a tenth of the objects' memory. Those of a large chunk stay objects: whoever holds the
        # chunk has them already.
        self.logprobs: list[bytes | dict[str, Any]] = []


def has_progress(chunks: Iterable[Chunk]) -> bool:
    """Whether a chunk brings text, reasoning, a tool call or a finish reason."""
    return any(
        choice.delta.content or choice.delta.reasoning_content or choice.delta.tool_calls or choice.finish_reason
        for chunk in chunks
        for choice in chunk.choices
    )


class Accumulator:
    """Fold the chunks of one stream."""

    __slots__ = ("_choices", "_created", "_fingerprint", "_id", "_model", "_size", "_usage", "_weight")

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceParts] = {}
        self._id = ""
        self._model = ""
        self._created = 0
        self._fingerprint: str | None = None
        self._usage: Usage | None = None
        # Of all log probabilities, which the answer holds as objects.
        self._size = self._weight = 0

    @property
    def finished(self) -> bool:
        """Whether every choice that appeared has a finish reason, and one did appear."""
        return bool(self._choices) and all(parts.finish_reason for parts in self._choices.values())

    @property
    def headed(self) -> bool:
        """Whether the model is known, and no more is asked of a chunk but its choices and its usage."""
        return bool(self._model)

    @property
    def begun(self) -> bool:
        """Whether any choice has appeared."""
        return bool(self._choices)

    @property
    def usage(self) -> Usage | None:
        """The last usage; None if there was none."""
        return self._usage

    def fold(self, chunks: Sequence[Chunk]) -> bool:
        """Add chunks, in the order of the stream; return whether one brings what `has_progress` looks for.

        Raises MalformedStreamError where they come to more than any answer holds; what came before is kept.
        """
        if not self._model:
            self._take_head(chunks)
        for chunk in reversed(chunks):
            # `"usage": null` after the chunk that carries it does not unsay it.
            if chunk.usage is not None:
                self._usage = chunk.usage
                break
        progressed = False
        parts: _ChoiceParts | None = None
        for chunk in chunks:
            for choice in chunk.choices:
                # Most often that of the chunk before.
                if parts is None or parts.index != choice.index:
                    parts = self._parts_of(choice.index)
                delta = choice.delta
                # An empty text is kept only to tell it from none: a server may send them without end.
                text = delta.content
                if text:
                    parts.content.append(text)
                    progressed = True
                elif text is not None and not parts.content:
                    parts.content.append(text)
                text = delta.reasoning_content
                if text:
                    parts.reasoning.append(text)
                    progressed = True
                elif text is not None and not parts.reasoning:
                    parts.reasoning.append(text)
                if choice.finish_reason or delta.tool_calls:
                    progressed = True
                    self._take_rare(parts, choice)
                if choice.logprobs is not None:
                    self._take_logprobs(parts, choice.logprobs, chunk.raw)
        return progressed

    def completion(self) -> ChatCompletion:
        """Return the answer so far."""
        return ChatCompletion(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=[_build(self._choices[index]) for index in sorted(self._choices)],
            usage=self._usage,
            system_fingerprint=self._fingerprint,
        )

    def take_usage(self) -> Usage | None:
        """Return the usage so far and forget it: what follows is another request's."""
        usage, self._usage = self._usage, None
        return usage

    def _take_head(self, chunks: Sequence[Chunk]) -> None:
        for chunk in chunks:
            self._id = self._id or chunk.id
            self._model = chunk.model
            self._created = self._created or chunk.created
            if self._fingerprint is None:
                self._fingerprint = chunk.system_fingerprint
            if self._model:
                break

    def _parts_of(self, index: int) -> _ChoiceParts:
        choices = self._choices
        parts = choices.get(index)
        if parts is None:
            if len(choices) == MOST_CHOICES:
                raise _too_many("choices", MOST_CHOICES)
            parts = choices[index] = _ChoiceParts(index)
        return parts

    def _take_rare(self, parts: _ChoiceParts, choice: ChunkChoice) -> None:
        if choice.finish_reason:
            parts.finish_reason = choice.finish_reason
        for fragment in choice.delta.tool_calls or ():
            if parts.calls is None:
                parts.calls = ToolCallAssembler()
            parts.calls.add(fragment)
            if len(parts.calls) > MOST_CALLS:
                raise _too_many("tool calls in one choice", MOST_CALLS)

    def _take_logprobs(self, parts: _ChoiceParts, logprobs: dict[str, Any], raw: bytes | None) -> None:
        if raw is not None and len(raw) > SMALL:
            data = raw
            parts.logprobs.append(logprobs)
        else:
            data = msgspec.json.encode(logprobs)
            parts.logprobs.append(data)
        self._size += len(data)
        self._weight += weight(data)
        try:
            check_total(self._weight, self._size)
        except TooHeavyError as error:
            why = str(error)
        else:
            return
        raise MalformedStreamError(f"the stream holds too many log probabilities ({why})")


def _too_many(what: str, most: int) -> MalformedStreamError:
    return MalformedStreamError(f"the stream has {most + 1:,} {what}, more than {most:,}")


def _build(parts: _ChoiceParts) -> Choice:
    calls = parts.calls.build() if parts.calls is not None else None
    return Choice(
        index=parts.index,
        message=AssistantMessage(
            content=_joined(parts.content),
            reasoning_content=_joined(parts.reasoning),
            tool_calls=calls,
        ),
        finish_reason=parts.finish_reason,
        logprobs=_merge_logprobs(parts.logprobs),
    )


def _joined(texts: list[str]) -> str | None:
    if not texts:
        return None
    if len(texts) > 1:
        texts[:] = ["".join(texts)]
    return texts[0]


def _merge_logprobs(all_of_them: list[bytes | dict[str, Any]]) -> dict[str, Any] | None:
    """Append the token lists of all chunks, key by key."""
    merged: dict[str, Any] = {}
    for logprobs in all_of_them:
        if isinstance(logprobs, dict):
            # The lists grow here, and not in the chunk.
            parts = {key: part[:] if isinstance(part, list) else part for key, part in logprobs.items()}
        else:
            parts = msgspec.json.decode(logprobs)
        if not merged:
            merged = parts
            continue
        for key, part in parts.items():
            if isinstance(part, list) and isinstance(merged.get(key), list):
                merged[key] += part
            else:
                merged.setdefault(key, part)
    return merged or None
