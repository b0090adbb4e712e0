"""How a body may be cut into reads; what comes out must not depend on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from hypothesis import strategies as st


def cuts(data: bytes, *, step: int = 1) -> Iterator[list[bytes]]:
    """Yield `data` whole, byte by byte, with empty reads, and cut in two at every `step`-th place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    yield [b"", data, b""]
    for at in range(1, len(data), step):
        yield [data[:at], data[at:]]


def chunkings(data: st.SearchStrategy[bytes]) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
    """Draw bytes, and the same bytes cut at any places."""

    def cut(whole: bytes) -> st.SearchStrategy[tuple[bytes, list[bytes]]]:
        places = st.lists(st.integers(0, len(whole)), max_size=12).map(sorted)
        return places.map(lambda at: (whole, _cut_at(whole, at)))

    return data.flatmap(cut)


def _cut_at(whole: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *places, len(whole)]
    return [whole[start:end] for start, end in pairwise(edges)]
