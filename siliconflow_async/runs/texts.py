"""Texts of a run, cut into batches that go in one request each: so many texts at most, and so many tokens.

A batch is filled as it is asked for, from an iterable that is read no further than that. What is no text has a batch of
its own, so that it fails alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

from ..limits.estimate import Estimate, weigh

__all__ = ["AsyncBatches", "Batch", "Filler", "batches"]

# As many as the longest text may have that any of the service's models takes.
_TOKENS = 32_768


class Batch(NamedTuple):
    """Texts of one request; `first` is the index of the first of them among all."""

    first: int
    texts: list[Any]


class Filler:
    """Fills batches of up to `most()` texts and about `tokens` tokens; a text above that goes alone."""

    def __init__(self, most: Callable[[], int], tokens: int = _TOKENS) -> None:
        self._most = most
        self._tokens = tokens
        self._estimate = Estimate()
        self._held: list[Any] = []
        self._held_tokens = 0
        self._first = 0

    def add(self, text: Any) -> list[Batch]:
        """Take the next text, and return the batches that are full now."""
        full: list[Batch] = []
        is_text = isinstance(text, str)
        size, _ = weigh({"input": text})
        tokens = self._estimate.prompt(size)
        if self._held and (not is_text or self._held_tokens + tokens > self._tokens):
            full += self.rest()
        self._held.append(text)
        self._held_tokens += tokens
        if not is_text or len(self._held) >= self._most():
            full += self.rest()
        return full

    def rest(self) -> list[Batch]:
        """Return the batch that is not full yet, if there is one."""
        if not self._held:
            return []
        batch = Batch(self._first, self._held)
        self._first += len(self._held)
        self._held = []
        self._held_tokens = 0
        return [batch]


def batches(texts: Iterable[Any], filler: Filler) -> Iterator[Batch]:
    """Yield the batches of texts; what reading them raises comes after the last that it left."""
    failure: Exception | None = None
    try:
        for text in texts:
            yield from filler.add(text)
    except Exception as error:  # the user's own
        failure = error
    yield from filler.rest()
    if failure is not None:
        raise failure


class AsyncBatches:
    """The same of an async iterable."""

    def __init__(self, texts: AsyncIterable[Any], filler: Filler) -> None:
        self._texts: AsyncIterator[Any] = aiter(texts)
        self._filler = filler
        self._ready: deque[Batch] = deque()
        self._end: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Batch:
        while not self._ready:
            if self._end is not None:
                raise self._end
            try:
                text = await anext(self._texts)
            except Exception as error:  # its end, or the user's own
                self._end = error
                self._ready.extend(self._filler.rest())
            else:
                self._ready.extend(self._filler.add(text))
        return self._ready.popleft()
