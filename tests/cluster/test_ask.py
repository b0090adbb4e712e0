"""`ask` on a real cluster: every row once with its answer, whatever is killed, and hardly anything asked twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.batch.rowcolumns import COLUMNS
from siliconflow_async.testing import Gate, Until

from .conftest import case, ended, kill, raylet_of, recorded, until_recorded, writers

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import RayCluster

# Of each of two actors.
STREAMS = 8
WAIT = 120.0


def rows_of(count: int) -> list[dict[str, Any]]:
    return [{"id": f"id-{i:03}", "text": "Hi", "n": i} for i in range(count)]


def options(server: FakeSiliconFlow, store: Path, **more: Any) -> dict[str, Any]:
    client = {"base_url": server.base_url, "trust_env": False}
    ask = {"prompt": "text", "model": "org/m", "params": {"max_tokens": 3}, "store": str(store), "api_key": "test-key"}
    return {**ask, "client": client, "max_concurrency": STREAMS, **more}


def answered(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    code, out, err = ended(process)
    assert code == 0, err
    # Ray tells of what was killed there, too.
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def test_each_row_has_its_answer_beside_it(cluster: RayCluster, server: FakeSiliconFlow, tmp_path: Path) -> None:
    """With the columns that are documented; a failure is in columns too. Read twice, it is asked once."""
    server.fail(400, {"code": 20015, "message": "No."})
    with cluster.driver(case(rows_of(60), blocks=7, times=2, **options(server, tmp_path))) as process:
        rows = answered(process)
    assert len(server.requests) == 60
    assert sorted(row["id"] for row in rows[:60]) == [f"id-{i:03}" for i in range(60)]
    key = lambda row: str(row["id"])  # noqa: E731  # shorter than a function twice
    assert sorted(rows[:60], key=key) == sorted(rows[60:], key=key)
    assert {tuple(row) for row in rows} == {("id", "text", "n", *COLUMNS)}
    (failed,) = [row for row in rows[:60] if row["error"] is not None]
    assert (failed["error"], failed["error_code"], failed["content"]) == ("BadRequestError", "20015", None)
    assert {row["content"] for row in rows if row["error"] is None} == {"You said:"}
    assert "test-key" not in "".join(path.read_text() for path in tmp_path.iterdir())


@pytest.mark.parametrize("victim", ["actor", "node"])
def test_what_is_killed_costs_no_more_than_was_under_way(
    cluster: RayCluster, server: FakeSiliconFlow, tmp_path: Path, victim: str
) -> None:
    """An actor's process, or the raylet of its node, killed with 60 of 200 rows answered and the others waiting."""
    gate = Gate()
    server.reply("ok", times=60)
    server.reply("ok", before=[Until(gate)], times=200)
    with cluster.driver(case(rows_of(200), blocks=4, **options(server, tmp_path, actors=2))) as process:
        server.wait_received(60 + 2 * STREAMS, WAIT)
        until_recorded(tmp_path, 60)
        worker = writers(tmp_path)[0]
        kill(raylet_of(worker) if victim == "node" else worker)
        server.wait_left_early(STREAMS, WAIT)
        gate.set()
        rows = answered(process)
    assert sorted(row["id"] for row in rows) == [f"id-{i:03}" for i in range(200)]
    assert {row["error"] for row in rows} == {None}
    assert len(server.requests) <= 200 + STREAMS
    assert sorted(set(recorded(tmp_path))) == [f"id-{i:03}" for i in range(200)]
    if victim == "node":
        cluster.add_node()


BAD: list[tuple[list[dict[str, Any]], dict[str, Any], str]] = [
    ([{"key": "a", "text": "Hi"}], {}, "the dataset has no column 'id', only key, text"),
    ([{"id": "a", "words": "Hi"}], {}, "the dataset has no column 'text', only id, words"),
    ([{"id": 1, "text": "Hi"}], {}, "the column 'id' must be text, not int64"),
    ([{"id": "a", "text": "Hi", "content": ""}], {}, "columns that the answers need: content; rename them"),
    ([{"id": "a", "text": "Hi"}, {"id": "a", "text": "Ho"}], {}, "two rows have 'a' in the column 'id'"),
    ([{"id": "a", "text": "Hi"}, {"id": None, "text": "Ho"}], {}, "a row has null in the column 'id'"),
    ([{"id": "a", "text": "Hi"}], {"messages": "text"}, "ask needs either prompt= or messages="),
    ([{"id": "a", "text": "Hi"}], {"store": "nowhere://x"}, "can't write nowhere://x"),
    ([{"id": "a", "text": "Hi"}], {"client": {"timeouts": 3}}, "timeouts must be a Timeouts, not 3"),
]


def test_what_can_not_be_asked_is_named_before_anything_is_sent(
    cluster: RayCluster, server: FakeSiliconFlow, tmp_path: Path
) -> None:
    cases = [case(rows, **(options(server, tmp_path) | ask)) for rows, ask, _ in BAD]
    with cluster.driver(*cases) as process:
        told = answered(process)
    assert len(told) == len(BAD)
    for line, (_, _, words) in zip(told, BAD, strict=True):
        assert words in line["words"]
    assert len(server.requests) == 0
