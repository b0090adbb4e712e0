from __future__ import annotations

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.batch.ids import LineOfId


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=3)))
def test_it_knows_the_first_line_of_each_id(names: list[str]) -> None:
    """It behaves as a dict that keeps the first value."""
    table = LineOfId()
    model: dict[str, int] = {}
    for line, name in enumerate(names, 1):
        assert table.add(name, line) == model.get(name, 0)
        model.setdefault(name, line)
    assert len(table) == len(model)
    assert {name: table.get(name) for name in names} == model


def test_it_grows_without_forgetting_and_holds_at_most_100_bytes_an_id() -> None:
    """Thirty thousand long ids are all found again, and the peak of memory on the way is below 100 bytes for each."""
    names = range(30_000)
    tracemalloc.start()
    try:
        table = LineOfId()
        for i in names:
            assert table.add(f"a rather long id, as people make them, number {i}", i + 1) == 0
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100 * len(names)
    assert all(table.get(f"a rather long id, as people make them, number {i}") == i + 1 for i in names)
    assert table.get("another") == 0
