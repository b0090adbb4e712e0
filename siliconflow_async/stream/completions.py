"""A text completion as it comes: an async iterator of chunks, with all that a ChatStream can do but for its events."""

from __future__ import annotations

from typing import Self

from ..wire.endpoints.completions import Completion, TextAccumulator
from .folded import FoldedStream
from .manager import StreamManager
from .opened import Uncopyable
from .reading import Reading

__all__ = ["CompletionStream", "CompletionStreamManager", "CompletionTextIterator"]


class CompletionStream(FoldedStream[Completion, Completion, Completion]):
    """An open text: iterate it for chunks, or use `text()` or `completion()`.

    `ended` is None while it is open, then "done" (`[DONE]` came), "finish" (it ended without, every choice finished),
    "truncated", "error", "malformed", "too_large", "timeout" or "closed". `trace_id` is what SiliconFlow's support asks
    for.
    """

    __slots__ = ()

    def __init__(self, reading: Reading[Completion], started_at: float) -> None:
        super().__init__(reading, started_at, TextAccumulator())

    def text(self) -> CompletionTextIterator:
        """Iterate the text of choice 0, piece by piece, empty pieces left out."""
        return CompletionTextIterator(self)


class CompletionTextIterator(Uncopyable):
    """The text of choice 0 as it comes; made by `CompletionStream.text()`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: CompletionStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        stream = self._stream
        while True:
            for chunk in stream._rest:
                for choice in chunk.choices:
                    if choice.index == 0 and choice.text:
                        return choice.text
            if not await stream._fill():
                raise StopAsyncIteration


class CompletionStreamManager(StreamManager[CompletionStream]):
    """What `completions.stream(…)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ()

    _opens = CompletionStream
