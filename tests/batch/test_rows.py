"""Rows in, rows out: every row has its line, whatever became of its request, and none is asked twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import AsyncSiliconFlow, ClosedError, InvalidRequestError
from siliconflow_async.batch.rowcolumns import COLUMNS, columns_of
from siliconflow_async.batch.rows import Rows
from siliconflow_async.batch.rowstore import RowStore
from siliconflow_async.batch.rowworker import RowWorker
from siliconflow_async.testing import FakeSiliconFlow, Fin, Gate, Until

from ..asking import ASK, chunk, served
from ..programs import environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

pytestmark = pytest.mark.anyio


def row(custom_id: str, **body: Any) -> dict[str, Any]:
    return {"custom_id": custom_id, **ASK, "max_tokens": 3, **body}


def rows_of(count: int, **body: Any) -> list[dict[str, Any]]:
    return [row(f"id-{i:03}", **body) for i in range(count)]


def read(line: bytes) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(line)
    return said


def recorded(folder: Path) -> list[str]:
    """The ids of all whole lines in a store."""
    lines = [line for path in folder.iterdir() for line in path.read_bytes().split(b"\n")[:-1]]
    return sorted(read(line)["custom_id"] for line in lines)


async def test_each_row_has_the_line_of_a_batch_in_the_order_of_the_rows(tmp_path: Path) -> None:
    """The same lines as in a batch's files, and the store holds them."""
    async with served() as (server, client), Rows(client, RowStore(tmp_path, "r1")) as rows:
        lines = [read(line) for line in await rows.ask([*rows_of(3), row("bad", temperature=9)])]
        assert len(server.requests) == 4
    assert [line["custom_id"] for line in lines] == ["id-000", "id-001", "id-002", "bad"]
    assert [list(line) for line in lines] == [["id", "custom_id", "response", "error"]] * 4
    assert lines[0]["response"]["body"]["choices"][0]["message"]["content"]
    assert (lines[3]["error"]["type"], lines[3]["error"]["attempts"]) == ("BadRequestError", 1)
    assert recorded(tmp_path) == ["bad", "id-000", "id-001", "id-002"]
    assert sum(path.endswith(".errors.jsonl") for path in os.listdir(tmp_path)) == 1


async def test_what_is_in_the_store_is_not_asked(tmp_path: Path) -> None:
    """By another process of the same run, or of a later one; a changed request is."""
    async with served() as (server, client):
        async with Rows(client, RowStore(tmp_path, "r1")) as rows:
            first = await rows.ask([*rows_of(3), row("bad", temperature=9)])
        async with Rows(client, RowStore(tmp_path, "r2")) as rows:
            assert await rows.ask([*rows_of(3), row("bad", temperature=9)]) == first
            assert len(server.requests) == 4
            await rows.ask([row("id-000", top_p=0.5)])
        assert len(server.requests) == 5


async def test_a_row_that_is_under_way_is_not_asked_a_second_time() -> None:
    """Nor is one of the same id and request that comes with it; all have the one answer."""
    async with served() as (server, client), Rows(client) as rows:
        gate = Gate()
        server.reply("once", before=[Until(gate)])
        asking = asyncio.gather(rows.ask([row("a"), row("a")]), rows.ask([row("a")]))
        await server.received()
        gate.set()
        (one, two), (three,) = await asking
        assert one == two == three
        assert len(server.requests) == 1


async def test_rows_of_many_tasks_are_under_way_at_once_up_to_the_bound() -> None:
    """What one task waits for does not hold up another's rows."""
    async with served() as (server, client), Rows(client, max_concurrency=3) as rows:
        gate = Gate()
        server.reply("late", before=[Until(gate)], times=2)
        slow = asyncio.ensure_future(rows.ask(rows_of(2)))
        await server.received(2)
        assert len(await rows.ask([row("quick")])) == 1
        gate.set()
        assert len(await slow) == 2


async def test_an_answer_is_written_as_it_comes_not_when_all_have(tmp_path: Path) -> None:
    async with served() as (server, client), Rows(client, RowStore(tmp_path, "r1"), max_concurrency=1) as rows:
        gate = Gate()
        server.reply("early")
        server.reply("late", before=[Until(gate)])
        asking = asyncio.ensure_future(rows.ask(rows_of(2)))
        await server.received(2)
        assert recorded(tmp_path) == ["id-000"]
        gate.set()
        await asking


async def test_how_a_row_failed_is_in_its_columns() -> None:
    """Class, code, message, attempts, and what had arrived; nothing is raised."""
    async with served() as (server, client), Rows(client, max_concurrency=1) as rows:
        server.raw([chunk("It beg"), Fin()])
        server.fail(400, {"code": 20015, "message": "No."})
        asked = [row("broke"), row("refused"), row("no model", model=None), row("odd", messages=7), row("fine")]
        broke, refused, unnamed, odd, fine = map(columns_of, await rows.ask(asked))
        assert len(server.requests) == 3
    assert list(fine) == list(COLUMNS)
    assert (broke["error"], broke["error_attempts"]) == ("TruncatedStreamError", 1)
    assert json.loads(broke["error_partial"])["choices"][0]["message"]["content"] == "It beg"
    assert (refused["error"], refused["error_code"], refused["content"]) == ("BadRequestError", "20015", None)
    assert "No." in refused["error_message"]
    assert (unnamed["error"], unnamed["error_attempts"]) == ("InvalidRequestError", 0)
    assert "messages" in odd["error_message"]
    assert fine["error"] is None
    assert fine["content"] == json.loads(fine["answer"])["choices"][0]["message"]["content"]
    assert (fine["finish_reason"], fine["completion_tokens"]) == ("length", 3)
    assert fine["trace_id"].startswith("ti_")


@pytest.mark.parametrize("value", [None, 7, "\ud800"])
async def test_an_id_that_is_no_text_is_named_before_anything_is_sent(value: object) -> None:
    async with served() as (server, client), Rows(client) as rows:
        with pytest.raises(InvalidRequestError, match="custom_id must be text") as caught:
            await rows.ask([row("a"), {**row("b"), "custom_id": value}])
        assert caught.value.param == "custom_id"
        assert len(server.requests) == 0


async def test_what_json_can_not_hold_fails_alone() -> None:
    async with served() as (server, client), Rows(client) as rows:
        bad, good = map(columns_of, await rows.ask([row("bad", seed=object()), row("good")]))
        assert (bad["error"], good["error"], len(server.requests)) == ("InvalidRequestError", None, 1)


async def test_once_the_account_is_refused_no_row_is_asked(tmp_path: Path) -> None:
    """All have the error; none but the refused one is in the store, and the next run asks them all."""
    async with served() as (server, client):
        async with Rows(client, RowStore(tmp_path, "r1"), max_concurrency=1) as rows:
            server.fail(401)
            lines = [read(line)["error"] for line in await rows.ask(rows_of(5))]
            assert {(error["type"], error["retryable"]) for error in lines} == {("AuthenticationError", True)}
            assert rows.refusal is not None
            late = columns_of((await rows.ask([row("late")]))[0])
            assert (late["error"], late["error_attempts"]) == ("AuthenticationError", 0)
            assert len(server.requests) == 1
        assert recorded(tmp_path) == ["id-000"]
        async with Rows(client, RowStore(tmp_path, "r2")) as rows:
            assert {read(line)["error"] for line in await rows.ask(rows_of(5))} == {None}


async def test_where_lines_are_written_together_a_result_is_given_out_once_it_is_written() -> None:
    """On fsspec: another process finds all that were given out."""
    where = f"memory://rows-{os.getpid()}"
    async with served() as (server, client):
        async with Rows(client, RowStore(where, "r1")) as rows:
            first = await asyncio.gather(rows.ask(rows_of(3)), rows.ask([row("bad", temperature=9)]))
            other = RowStore(where, "r1")
            other.refresh()
            assert len(other) == 4
        async with Rows(client, RowStore(where, "r2")) as rows:
            assert await rows.ask([*rows_of(3), row("bad", temperature=9)]) == [*first[0], *first[1]]
        assert len(server.requests) == 4


async def test_a_store_that_can_not_be_written_ends_it(tmp_path: Path) -> None:
    """No answer is taken for written that is not: all that wait, and all that come, get the error."""
    async with served() as (server, client):
        gate = Gate()
        server.reply("first")
        server.reply("late", before=[Until(gate)], times=None)
        async with Rows(client, RowStore(tmp_path, "r1"), max_concurrency=2) as rows:
            asking = asyncio.ensure_future(rows.ask(rows_of(3)))
            await server.received(3)
            (name,) = os.listdir(tmp_path)
            segment = tmp_path / name
            segment.write_bytes(b"")
            gate.set()
            with pytest.raises(OSError, match="it was cut by someone else") as caught:
                await asking
            assert caught.value.filename == str(segment)
            with pytest.raises(OSError, match="it was cut by someone else"):
                await rows.ask([row("next")])


async def test_leaving_closes_what_is_under_way_and_whoever_waits_is_told(tmp_path: Path) -> None:
    async with served() as (server, client):
        server.reply("never", before=[Until(Gate())], times=2)
        async with Rows(client, RowStore(tmp_path, "r1")) as rows:
            asking = asyncio.ensure_future(rows.ask(rows_of(2)))
            await server.received(2)
        await server.left_early(2)
        with pytest.raises(ClosedError, match="inside `async with`"):
            await asking


async def test_whoever_asked_may_leave_and_the_rows_are_answered_all_the_same(tmp_path: Path) -> None:
    async with served() as (server, client), Rows(client, RowStore(tmp_path, "r1")) as rows:
        gate = Gate()
        server.reply("late", before=[Until(gate)], times=2)
        asking = asyncio.ensure_future(rows.ask(rows_of(2)))
        await server.received(2)
        asking.cancel()
        gate.set()
        assert len(await rows.ask(rows_of(2))) == 2
        assert len(server.requests) == 2


def test_threads_share_one_worker(tmp_path: Path) -> None:
    """As an engine calls it: one client and one store, whichever thread asks; a closed one says so."""
    with FakeSiliconFlow().threaded() as server:
        worker = RowWorker(
            lambda: AsyncSiliconFlow("test-key", base_url=server.base_url), lambda: RowStore(tmp_path, "r1")
        )
        found: dict[int, list[bytes]] = {}

        def ask(number: int) -> None:
            found[number] = worker.ask(rows_of(10, seed=number))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        worker.close()
        worker.close()
        with pytest.raises(ClosedError):
            worker.ask(rows_of(1))
        server.wait_disconnected()
    assert {len(lines) for lines in found.values()} == {10}
    assert len(list(tmp_path.iterdir())) == 1
    assert len(recorded(tmp_path)) == 40


def test_a_worker_that_can_not_begin_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="can't write"):
        RowWorker(lambda: AsyncSiliconFlow("k"), lambda: RowStore(tmp_path / "file", "r1"))


_PROGRAM = """
import sys
from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.batch.rowstore import RowStore
from siliconflow_async.batch.rowworker import RowWorker

url, folder, run, count = sys.argv[1:]
worker = RowWorker(
    lambda: AsyncSiliconFlow("test-key", base_url=url), lambda: RowStore(folder, run), max_concurrency=8
)
rows = [
    {"custom_id": f"id-{i:03}", "model": "org/m", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
    for i in range(int(count))
]
print(len(worker.ask(rows)), flush=True)
worker.close()
"""


@pytest.mark.skipif(os.name == "nt", reason="kill -9")
@pytest.mark.parametrize("answered", [1, 55])
def test_after_kill_9_no_more_is_asked_twice_than_was_under_way(tmp_path: Path, answered: int) -> None:
    """Killed when so many rows were answered and the rest wait: the next process asks those that have no answer."""
    command = [sys.executable, "-c", _PROGRAM]
    with FakeSiliconFlow().threaded() as server:
        stuck = Gate()
        server.reply("ok", times=answered)
        server.reply("never", before=[Until(stuck)], times=60 - answered)
        args = [server.base_url, str(tmp_path), "r1", "60"]
        with subprocess.Popen([*command, *args], env=environment()) as process:
            under_way = min(8, 60 - answered)
            server.wait_received(answered + under_way)
            _until_recorded(tmp_path, answered)
            process.send_signal(signal.SIGKILL)
        assert len(recorded(tmp_path)) == answered
        server.wait_left_early(under_way)
        stuck.set()
        done = subprocess.run([*command, *args], env=environment(), capture_output=True, text=True, check=True)
        assert done.stdout == "60\n"
        assert len(server.requests) == 60 + under_way
    assert recorded(tmp_path) == [f"id-{i:03}" for i in range(60)]


def _until_recorded(folder: Path, count: int) -> None:
    # The last answer may still be on its way to the process, which alone can say that it has come.
    while len(recorded(folder)) < count:
        time.sleep(0.005)


def _typed(lines: Mapping[str, Any]) -> None:
    for name, value in lines.items():
        assert value is None or type(value) is COLUMNS[name]


async def test_every_column_has_its_type() -> None:
    async with served() as (server, client), Rows(client) as rows:
        server.fail(400, {"code": "text", "message": "No."})
        for line in await rows.ask(rows_of(2)):
            _typed(columns_of(line))
