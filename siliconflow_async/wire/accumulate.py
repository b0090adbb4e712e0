"""Chunks to a ChatCompletion, merged field by field.

Text is kept in lists and joined when asked for, so folding is linear; a look at the answer so far costs one copy of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .choices import Choices, joined, merged_logprobs, too_many
from .lazy import Chunk
from .structs import MOST_CALLS, AssistantMessage, ChatCompletion, Choice, ChunkChoice, Usage
from .toolcalls import ToolCallAssembler

__all__ = ["Accumulator", "has_progress"]


class _ChoiceParts:
    __slots__ = ("calls", "content", "finish_reason", "index", "logprobs", "reasoning")

    def __init__(self, index: int) -> None:
        self.index = index
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: ToolCallAssembler | None = None
        self.finish_reason: str | None = None
        self.logprobs: list[bytes | dict[str, Any]] = []


def has_progress(chunks: Iterable[Chunk]) -> bool:
    """Whether a chunk brings text, reasoning, a tool call or a finish reason."""
    return any(
        choice.delta.content or choice.delta.reasoning_content or choice.delta.tool_calls or choice.finish_reason
        for chunk in chunks
        for choice in chunk.choices
    )


class Accumulator(Choices[_ChoiceParts]):
    """Fold the chunks of one stream."""

    __slots__ = ()

    parts = _ChoiceParts

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
                    self._take_logprobs(parts.logprobs, choice.logprobs, chunk.raw)
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

    def _take_rare(self, parts: _ChoiceParts, choice: ChunkChoice) -> None:
        if choice.finish_reason:
            parts.finish_reason = choice.finish_reason
        for fragment in choice.delta.tool_calls or ():
            if parts.calls is None:
                parts.calls = ToolCallAssembler()
            parts.calls.add(fragment)
            if len(parts.calls) > MOST_CALLS:
                raise too_many("tool calls in one choice", MOST_CALLS)


def _build(parts: _ChoiceParts) -> Choice:
    calls = parts.calls.build() if parts.calls is not None else None
    return Choice(
        index=parts.index,
        message=AssistantMessage(
            content=joined(parts.content),
            reasoning_content=joined(parts.reasoning),
            tool_calls=calls,
        ),
        finish_reason=parts.finish_reason,
        logprobs=merged_logprobs(parts.logprobs),
    )
