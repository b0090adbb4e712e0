"""Chunks of a file have all of its rows, each as it stands in the file, and notice a change."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import ConfigurationError
from siliconflow_async.batch import chunks
from siliconflow_async.batch.chunks import chunks_of, read_chunk
from siliconflow_async.batch.lines import check

from ..asking import ASK

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


async def rows_of(path: Path, model: str | None = None, **options: Any) -> list[list[dict[str, Any]]]:
    checked = await check(path, model, **options)
    return [read_chunk(path, chunk, model) for chunk in chunks_of(path, checked.states)]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 600])
async def test_each_row_is_in_one_chunk(tmp_path: Path, count: int, end: str) -> None:
    """With the id that its line gives it, whether or not the last line has an end."""
    path = tmp_path / "requests.jsonl"
    lines = [json.dumps({**ASK, "seed": i} | ({"custom_id": f"id-{i}"} if i % 2 else {})) for i in range(count)]
    path.write_text("\n".join(lines) + (end if lines else ""))
    found = await rows_of(path)
    assert [row["custom_id"] for rows in found for row in rows] == [
        f"id-{i}" if i % 2 else f"line-{i + 1}" for i in range(count)
    ]
    assert [row["seed"] for rows in found for row in rows] == list(range(count))
    assert max(map(len, found), default=0) <= 256


async def test_bad_lines_blank_ones_and_duplicates_are_left_out(tmp_path: Path) -> None:
    """Of those that have one id the first is there; a byte order mark is no part of the first."""
    path = tmp_path / "requests.jsonl"
    good, again = ({**ASK, "custom_id": name} for name in ("a", "a"))
    path.write_text("\ufeff" + "\n".join([json.dumps(good), "{", "", json.dumps(again), json.dumps(ASK)]))
    assert [[row["custom_id"] for row in rows] for rows in await rows_of(path, skip_bad=True)] == [["a", "line-5"]]


async def test_a_row_has_the_whole_body_and_the_model_that_takes_its_place(tmp_path: Path) -> None:
    """Names that the library does not know included, as they stand there."""
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"custom_id": "a", "body": {**ASK, "novel": 1}}))
    assert await rows_of(path, "org/other") == [[{**ASK, "model": "org/other", "novel": 1, "custom_id": "a"}]]


async def test_large_lines_make_small_chunks(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text("".join(json.dumps({**ASK, "user": "x" * chunks._BYTES}) + "\n" for _ in range(2)))
    assert [len(rows) for rows in await rows_of(path)] == [1, 1]


async def test_a_file_that_was_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps(ASK) + "\n")
    checked = await check(path, None)
    (chunk,) = chunks_of(path, checked.states)
    path.write_text(json.dumps(ASK).replace("hi", "ho") + "\n")
    with pytest.raises(ConfigurationError, match="was changed while it was read"):
        read_chunk(path, chunk, None)
