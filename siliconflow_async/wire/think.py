"""`<think>…</think>` at the start of the content, split off as reasoning: for servers that leave it there.

Only a block that opens the content counts, white space before it allowed: models write it first or not at all, and a
tag further on is text about tags. The tags go, with the white space that follows each; all else stays as it came. A
block that never closes is reasoning to its end. A choice that has reasoning of its own is left alone.

`ThinkProtocol` is a `ChatProtocol` whose chunks come out split, wherever they were cut; `split_completion` does the
same to a whole answer.
"""

from __future__ import annotations

from .failures import Mask, unmasked
from .lazy import Chunk
from .protocol import ChatProtocol
from .structs import ChatCompletion, ChatCompletionChunk, ChoiceDelta, ChunkChoice

__all__ = ["ThinkProtocol", "split_completion"]

_OPEN = "<think>"
_CLOSE = "</think>"
# White space before a tag, which is held back until it is known to be one.
_MOST_SPACE = 1024


class _Splitter:
    """The content of one choice: `feed(text)` returns the (reasoning, content) that are known by then."""

    __slots__ = ("_held", "_in_block", "_skip_space", "plain")

    def __init__(self) -> None:
        self.plain = False
        self._in_block = False
        self._skip_space = True
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        reasoning = ""
        text = self._held + text
        self._held = ""
        if not self.plain and not self._in_block:
            start = text.lstrip()
            far = len(text) - len(start) > _MOST_SPACE
            if start.startswith(_OPEN) and not far:
                self._in_block = True
                text = start[len(_OPEN) :]
            elif _OPEN.startswith(start) and not far:
                self._held = text
                return "", ""
            else:
                self.plain = True
                self._skip_space = False
        if self._in_block:
            if self._skip_space:
                text = text.lstrip()
                self._skip_space = not text
            reasoning, closed, text = text.partition(_CLOSE)
            if not closed:
                end = len(reasoning) - _overlap(reasoning)
                self._held = reasoning[end:]
                return reasoning[:end], ""
            self.plain = self._skip_space = True
            self._in_block = False
        if self._skip_space:
            text = text.lstrip()
            self._skip_space = not text
        return reasoning, text

    def flush(self) -> tuple[str, str]:
        """Return what was held back, once nothing more can come."""
        held, self._held = self._held, ""
        return (held, "") if self._in_block else ("", held)


def _overlap(text: str) -> int:
    """Return how many characters at the end of the text may begin the closing tag."""
    for size in range(min(len(_CLOSE) - 1, len(text)), 0, -1):
        if _CLOSE.startswith(text[-size:]):
            return size
    return 0


class ThinkProtocol(ChatProtocol):
    """A `ChatProtocol` that moves a leading `<think>` block from the content to the reasoning."""

    __slots__ = ("_last", "_splitters")

    def __init__(self, max_event_size: int, mask: Mask = unmasked) -> None:
        super().__init__(max_event_size, mask)
        self._splitters: dict[int, _Splitter] = {}
        self._last: Chunk = ChatCompletionChunk()

    def feed(self, data: bytes, lazily: bool = False) -> list[Chunk]:
        chunks = self._split(super().feed(data, lazily))
        if self.done or self.failure is not None:
            chunks += self.cut_short()
        return chunks

    def eof(self) -> list[Chunk]:
        return self._split(super().eof()) + self.cut_short()

    def cut_short(self) -> list[Chunk]:
        choices = []
        for index, splitter in self._splitters.items():
            reasoning, content = splitter.flush()
            if reasoning or content:
                delta = ChoiceDelta(content=content or None, reasoning_content=reasoning or None)
                choices.append(ChunkChoice(index, delta))
        if not choices:
            return []
        last = self._last
        return [ChatCompletionChunk(id=last.id, created=last.created, model=last.model, choices=choices)]

    def _split(self, chunks: list[Chunk]) -> list[Chunk]:
        for chunk in chunks:
            for choice in chunk.choices:
                self._split_choice(choice)
            self._last = chunk
        return chunks

    def _split_choice(self, choice: ChunkChoice) -> None:
        splitter = self._splitters.get(choice.index)
        if splitter is None:
            splitter = self._splitters[choice.index] = _Splitter()
        delta = choice.delta
        if delta.content:
            if delta.reasoning_content:
                splitter.plain = True
            reasoning, content = splitter.feed(delta.content)
        elif delta.reasoning_content:
            # What was held back came before it.
            reasoning, content = splitter.flush()
            delta.reasoning_content = reasoning + delta.reasoning_content
            reasoning = ""
            splitter.plain = True
        else:
            reasoning = content = ""
        if choice.finish_reason:
            more_reasoning, more_content = splitter.flush()
            reasoning += more_reasoning
            content += more_content
        if delta.content or content:
            delta.content = content or None
        if reasoning:
            delta.reasoning_content = (delta.reasoning_content or "") + reasoning


def split_completion(completion: ChatCompletion) -> None:
    """Move a leading `<think>` block of each choice's content to its reasoning."""
    for choice in completion.choices:
        message = choice.message
        if not message.content or message.reasoning_content:
            continue
        splitter = _Splitter()
        reasoning, content = splitter.feed(message.content)
        more_reasoning, more_content = splitter.flush()
        reasoning += more_reasoning
        if reasoning or content + more_content != message.content:
            message.content = content + more_content
            message.reasoning_content = reasoning or None
