"""Batches of texts: filled by count and by what they weigh, in order, and read no further than they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest

from siliconflow_async.runs.texts import AsyncBatches, Batch, Filler, batches

pytestmark = pytest.mark.anyio


async def later(texts: Iterator[Any]) -> AsyncIterator[Any]:
    for text in texts:
        yield text


async def cut(texts: list[Any], most: int, tokens: int = 100) -> list[tuple[int, list[Any]]]:
    """The batches of a list, which are those of the same texts that come one by one."""
    found = list(batches(texts, Filler(lambda: most, tokens)))
    assert [batch async for batch in AsyncBatches(later(iter(texts)), Filler(lambda: most, tokens))] == found
    assert [text for batch in found for text in batch.texts] == texts
    return [(batch.first, batch.texts) for batch in found]


async def test_a_batch_has_so_many_texts() -> None:
    assert await cut(list("abcde"), 2) == [(0, ["a", "b"]), (2, ["c", "d"]), (4, ["e"])]
    assert await cut(["a"], 2) == [(0, ["a"])]
    assert await cut([], 2) == []


async def test_a_batch_has_about_so_many_tokens() -> None:
    """A text above that goes alone."""
    small, large = "x" * 100, "x" * 300  # some 40 and 120 tokens
    assert [first for first, _ in await cut([small] * 5, 9)] == [0, 2, 4]
    assert [first for first, _ in await cut([small, large, small, small], 9)] == [0, 1, 2]


async def test_what_is_no_text_is_alone() -> None:
    assert await cut(["a", 5, "b", "c", None], 9) == [(0, ["a"]), (1, [5]), (2, ["b", "c"]), (4, [None])]


def test_the_iterable_is_read_no_further_than_it_must_be() -> None:
    texts = map(str, count())
    found = batches(texts, Filler(lambda: 3))
    assert next(found) == Batch(0, ["0", "1", "2"])
    assert next(texts) == "3"


def test_a_size_that_is_learned_counts_from_the_next_text() -> None:
    most = 4
    found = batches(map(str, count()), Filler(lambda: most))
    assert len(next(found).texts) == 4
    most = 2
    assert len(next(found).texts) == 2


async def test_what_the_iterable_raises_comes_after_the_texts_before_it() -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise OSError("gone")

    found = batches(broken(), Filler(lambda: 9))
    assert next(found).texts == ["a"]
    with pytest.raises(OSError, match="gone"):
        next(found)
    following = AsyncBatches(later(broken()), Filler(lambda: 9))
    assert (await anext(following)).texts == ["a"]
    with pytest.raises(OSError, match="gone"):
        await anext(following)
