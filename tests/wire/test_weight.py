"""What JSON weighs, beside what it really takes."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.wire.weight import SMALL, Signs, TooHeavyError, check_weight, weight

TEXTS = st.text(max_size=6) | st.sampled_from(['"', "\\", '\\"', "{}", "[],", ":", '"{', "é", "😀"])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def signs(value: Any) -> dict[str, int]:
    """Count what stands outside the texts of a value's JSON."""
    found = {"{": 0, "[": 0, ",": 0, ":": 0}
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, dict | list):
            found["{" if isinstance(item, dict) else "["] += 1
            found[","] += max(0, len(item) - 1)
            found[":"] += len(item) if isinstance(item, dict) else 0
            left += item.values() if isinstance(item, dict) else item
    return found


@given(VALUES, st.lists(st.integers(0, 400), max_size=6), st.booleans())
def test_signs_are_told_from_texts(value: Any, cuts: list[int], ascii_only: bool) -> None:
    """Brackets, commas and colons within texts don't count, whatever is escaped, and wherever the pieces are cut."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    edges = [0, *sorted(cuts), len(data)]
    read = Signs()
    outside = b"".join(b"".join(read.outside(data[at:end])) for at, end in pairwise(edges))
    assert {sign: outside.count(sign.encode()) for sign in signs(value)} == signs(value)


@pytest.mark.parametrize("before", range(4))
def test_a_piece_may_end_within_an_escape(before: int) -> None:
    """A text of backslashes and quotes that is longer than a piece is one text."""
    text = "x" * before + '\\"{' * 40_000
    data = json.dumps([text, {}]).encode()
    assert weight(data) == weight(b'["",{}]')


@given(VALUES)
def test_nothing_takes_more_than_it_weighs(value: Any) -> None:
    """Many of any value take no more memory than their weight, and the characters of their texts at four bytes each."""
    data = b"[" + b",".join([json.dumps(value, ensure_ascii=False).encode()] * 20) + b"]"
    tracemalloc.start()
    try:
        parsed = msgspec.json.decode(data)
        took, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(parsed) == 20
    assert took <= weight(data) + 4 * len(data) + 4096


@pytest.mark.parametrize(
    "item",
    [b"{}", b"[]", b'{"a":1}', b'"a"', b'{"a":{"b":[]}}', b"[[[[]]]]", b'{"a":[1]}'],
    ids=bytes.decode,
)
def test_what_takes_many_times_its_size_is_too_heavy(item: bytes) -> None:
    """A megabyte of it is refused, with its size, its weight and the bound; little of it is harmless."""
    many = b"[" + b",".join([item] * (2**20 // len(item))) + b"]"
    with pytest.raises(TooHeavyError, match=rf"{len(many):,} bytes of JSON .* {weight(many):,} .* more than [\d,]+"):
        check_weight(many)
    check_weight(many[:SMALL])


@pytest.mark.parametrize("top", [0, 1, 20])
@pytest.mark.parametrize("text", ["a", " the", "é"])
def test_log_probabilities_are_not_too_heavy(text: str, top: int) -> None:
    """A megabyte and more of the log probabilities of short tokens pass."""
    entry = {"token": text, "logprob": -0.25, "bytes": list(text.encode())}
    data = json.dumps(
        [{**entry, "top_logprobs": [entry] * top}] * (30_000 // (top + 1)), separators=(",", ":")
    ).encode()
    check_weight(data)
