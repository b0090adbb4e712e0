"""A folder of results has each row once when nobody writes it, and can be made one file."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError
from siliconflow_async.batch.parts import join, open_parts, settle
from siliconflow_async.batch.rowstore import RowStore

from .test_rowstore import KEYS, line, written

if TYPE_CHECKING:
    from pathlib import Path


def keys(folder: Path, pattern: str) -> list[str]:
    lines = [each for path in sorted(folder.glob(pattern)) for each in path.read_text().splitlines()]
    return [json.loads(each)["id"].removeprefix("batch_req_") for each in lines]


def errors(folder: Path) -> list[str]:
    return keys(folder, "*.errors.jsonl")


def results(folder: Path) -> list[str]:
    return [key for key in keys(folder, "*.jsonl") if key not in errors(folder)]


def test_an_answer_that_two_processes_wrote_is_left_once(tmp_path: Path) -> None:
    """As where one was taken for dead, and another asked again. A part that holds nothing else goes."""
    written(RowStore(tmp_path, "r1"), *map(line, KEYS[:3])).close()
    written(RowStore(tmp_path, "r2"), line(KEYS[1]), line(KEYS[3])).close()
    written(RowStore(tmp_path, "r3"), line(KEYS[2])).close()
    settled = settle(tmp_path)
    assert (settled.done, settled.failed, settled.open) == (4, 0, 0)
    assert sorted(keys(tmp_path, "*.jsonl")) == sorted(KEYS[:4])
    assert len(list(tmp_path.iterdir())) == 2


def test_of_a_row_that_failed_the_last_failure_is_left_until_it_is_done(tmp_path: Path) -> None:
    """Over all runs; the kinds are those of what is left."""
    written(
        RowStore(tmp_path, "r1"),
        line(KEYS[0], "first", retryable=True),
        line(KEYS[1], "gone", retryable=True),
        line(KEYS[2], "refused", retryable=False),
        failed=True,
    ).close()
    second = written(RowStore(tmp_path, "r2"), line(KEYS[0], "second", retryable=True), failed=True)
    written(second, line(KEYS[1])).close()
    settled = settle(tmp_path)
    assert (settled.done, settled.failed, settled.open) == (1, 1, 1)
    assert {(kind.message, kind.count, kind.is_open) for kind in settled.kinds} == {
        ("second", 1, True),
        ("refused", 1, False),
    }
    assert sorted(errors(tmp_path)) == sorted([KEYS[0], KEYS[2]])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    settle(tmp_path)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}


def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    written(RowStore(tmp_path, "r1"), *map(line, KEYS[:2])).close()
    (part,) = tmp_path.iterdir()
    part.write_bytes(part.read_bytes()[:-4])
    assert settle(tmp_path).done == 1
    assert part.read_bytes() == line(KEYS[0]) + b"\n"


def test_a_part_that_is_still_written_is_left_as_it_is(tmp_path: Path) -> None:
    """Its writer would lose what it adds."""
    first = written(RowStore(tmp_path, "r1"), line(KEYS[0]))
    second = written(RowStore(tmp_path, "r2"), line(KEYS[0]), line(KEYS[1]))
    assert settle(tmp_path).done == 2
    assert len(keys(tmp_path, "*.jsonl")) == 3
    first.close()
    second.close()
    assert settle(tmp_path).done == 2
    assert sorted(keys(tmp_path, "*.jsonl")) == sorted(KEYS[:2])


def test_the_parts_are_made_one_file_of_results_and_one_of_errors(tmp_path: Path) -> None:
    """In place of what was there; the parts stay."""
    parts, joined = tmp_path / "results", tmp_path / "all.jsonl"
    joined.write_text("old")
    store = written(RowStore(parts, "r1"), *map(line, KEYS[:3]))
    written(store, line(KEYS[4], retryable=False), failed=True).close()
    written(RowStore(parts, "r2"), line(KEYS[3])).close()
    join(parts, joined)
    assert sorted(keys(tmp_path, "all.jsonl")) == sorted(KEYS[:4])
    assert keys(tmp_path, "all.errors.jsonl") == [KEYS[4]]
    assert len(list(parts.iterdir())) == 3


def test_a_folder_belongs_to_its_requests_and_to_one_run_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    with ExitStack() as closing:
        open_parts(folder, "one", closing)
        with pytest.raises(ConfigurationError, match=r"another run is writing .*results"), ExitStack() as other:
            open_parts(folder, "one", other)
        written(RowStore(folder, "r1"), line(KEYS[0])).close()
    with ExitStack() as closing:
        open_parts(folder, "one", closing)
    with pytest.raises(ConfigurationError, match="the requests have changed"), ExitStack() as closing:
        open_parts(folder, "two", closing)
    (folder / ".journal").unlink()
    with pytest.raises(ConfigurationError, match="does not say of which requests"), ExitStack() as closing:
        open_parts(folder, "one", closing)


def test_a_folder_that_can_not_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="can't write"), ExitStack() as closing:
        open_parts(tmp_path / "file", "one", closing)
    (tmp_path / "part-of-something.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(ConfigurationError, match="is no part of results"):
        settle(tmp_path)
