"""What a table of digests holds is what a dict would hold, in a third of the memory."""

from __future__ import annotations

import random
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.batch.keytable import KeyTable

DIGESTS = st.integers(0, 2**64 - 1) | st.integers(0, 7).map(lambda n: n << 40)
NUMBERS = st.integers(0, 2**64 - 2)


def digests(count: int) -> dict[int, None]:
    drawn = random.Random(count)
    return dict.fromkeys(drawn.getrandbits(64) for _ in range(count))


@given(st.lists(st.tuples(DIGESTS, NUMBERS)))
def test_it_holds_what_a_dict_holds(pairs: list[tuple[int, int]]) -> None:
    """Zeros, digests that fall on one place, and the largest numbers included."""
    table, expected = KeyTable(), dict(pairs)
    for key, number in pairs:
        table.put(key, number)
    assert {key: table.get(key) for key in expected} == expected
    assert len(table) == len(expected)


def test_it_grows_and_forgets_nothing() -> None:
    """Also where a digest was asked for before it came, and the first number stays by `setdefault`."""
    keys = list(digests(20_000))
    table = KeyTable()
    for number, key in enumerate(keys):
        assert table.get(key) is None
        assert table.setdefault(key, number) == number
        assert table.setdefault(key, number + 1) == number
    assert [table.get(key) for key in keys] == list(range(20_000))
    assert table.get(2**63 + 1) is None


def test_a_digest_takes_48_bytes_at_most() -> None:
    keys = list(digests(50_000))
    tracemalloc.start()
    try:
        table = KeyTable()
        for key in keys:
            table.put(key, 1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= 48 * len(keys) + 32 * 1024
