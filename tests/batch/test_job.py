from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import ConfigurationError, InvalidRequestError
from siliconflow_async.batch import run_batch
from siliconflow_async.testing import Fin, Gate, Until

from ..asking import chunk, served
from .jsonl import bad_request, ids, read, request, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .jsonl import Files

pytestmark = pytest.mark.anyio


async def test_each_line_has_a_line_in_the_results_or_in_the_errors(files: Files) -> None:
    """The lines are those of OpenAI's batch files; the answer is the body, a refusal has its own words."""
    async with served() as (server, client):
        report = await run_batch(client, files.requests, files.results)
        assert (report.done, report.failed, report.bad, report.before) == (11, 1, 0, 0)
        assert ids(files.results) == files.good
        traces = {record.trace_id for record in server.requests}
    for line in read(files.results):
        assert list(line) == ["id", "custom_id", "response", "error"]
        assert line["error"] is None
        assert line["id"] == f"batch_req_{int(line['custom_id'][3:]) + 1}"
        response = line["response"]
        assert response["status_code"] == 200
        assert response["request_id"] in traces
        assert response["body"]["object"] == "chat.completion"
        assert response["body"]["choices"][0]["message"]["content"]
        assert response["body"]["usage"]["completion_tokens"] == 3
    (line,) = read(files.errors)
    assert (line["custom_id"], line["response"]["status_code"]) == ("id-07", 400)
    assert line["response"]["body"]["code"] == 20015
    assert (line["error"]["type"], line["error"]["code"], line["error"]["attempts"]) == ("BadRequestError", 20015, 1)
    assert line["error"]["partial"] is None
    assert "temperature" in line["error"]["message"]


async def test_what_had_arrived_of_a_failed_line_is_kept(tmp_path: Path) -> None:
    """An answer that breaks off leaves its text in the file of errors."""
    path = write(tmp_path / "requests.jsonl", [request("a")])
    async with served() as (server, client):
        server.raw([chunk("It beg"), Fin()])
        report = await run_batch(client, path, tmp_path / "out.jsonl", errors=tmp_path / "bad.jsonl")
    assert (report.done, report.failed, report.open) == (0, 0, 1)
    (line,) = read(tmp_path / "bad.jsonl")
    assert line["response"] is None
    assert line["error"]["type"] == "TruncatedStreamError"
    assert line["error"]["partial"]["choices"][0]["message"]["content"] == "It beg"


async def test_a_finished_batch_is_not_run_again(files: Files) -> None:
    """A second run sends nothing; the failed line counts as finished."""
    async with served() as (server, client):
        await run_batch(client, files.requests, files.results)
        before = files.results.read_bytes(), files.errors.read_bytes()
        asked = len(server.requests)
        begun: list[tuple[int, int]] = []
        report = await run_batch(client, files.requests, files.results, on_begin=lambda *at: begun.append(at))
        assert len(server.requests) == asked
    assert (report.done, report.failed, report.before) == (11, 1, 12)
    assert begun == [(12, 12)]
    assert before == (files.results.read_bytes(), files.errors.read_bytes())


async def test_failed_lines_are_asked_for_again_when_told_to(files: Files) -> None:
    """With `retry_failed` only they are sent; one that succeeds leaves the errors, one that fails stands there once."""
    files.lines[3] = bad_request("id-03")
    write(files.requests, files.lines)
    async with served() as (server, client):
        await run_batch(client, files.requests, files.results)
        asked = len(server.requests)
        server.reply("At last", times=1)
        report = await run_batch(client, files.requests, files.results, retry_failed=True, max_concurrency=1)
        assert len(server.requests) == asked + 2
    assert (report.done, report.failed, report.before) == (11, 1, 10)
    assert ids(files.results) == sorted({*files.good})
    assert ids(files.errors) == ["id-07"]


async def test_a_result_counts_before_an_error_left_by_a_retry_that_was_stopped(files: Files) -> None:
    """A line in both files is done, and the error goes."""
    async with served() as (server, client):
        await run_batch(client, files.requests, files.results)
        done = json.loads(files.results.read_text().splitlines()[0])
        with files.errors.open("a") as file:
            file.write(json.dumps(done) + "\n")
        asked = len(server.requests)
        report = await run_batch(client, files.requests, files.results)
        assert len(server.requests) == asked
    assert (report.done, report.failed) == (11, 1)
    assert ids(files.errors) == ["id-07"]


async def test_a_run_goes_on_at_every_place_where_it_may_have_been_cut_off(files: Files) -> None:
    """Whatever beginning of the results is left, each line is in them once in the end; no whole one is repeated."""
    async with served() as (server, client):
        await run_batch(client, files.requests, files.results)
        whole = files.results.read_bytes()
        starts = [0, 1, whole.index(b"\n"), whole.index(b"\n") + 1, whole.index(b"\n") + 2, len(whole) - 1]
        for size in [*starts, len(whole) // 2]:
            files.results.write_bytes(whole[:size])
            asked = len(server.requests)
            report = await run_batch(client, files.requests, files.results)
            assert ids(files.results) == files.good
            finished = whole[:size].count(b"\n") + (whole[size : size + 1] == b"\n" and size > 0)
            assert len(server.requests) - asked == 11 - finished
            assert (report.done, report.failed, report.before) == (11, 1, finished + 1)
            assert files.results.read_bytes().startswith(whole[: whole[:size].rfind(b"\n") + 1])


async def test_progress_counts_from_what_was_finished_before(files: Files) -> None:
    """A run that goes on tells of the whole batch: done and failed, of all lines."""
    looks: list[tuple[int, int, int | None]] = []
    async with served() as (_, client):
        await run_batch(client, files.requests, files.results, ordered=True)
        lines = files.results.read_bytes().splitlines(keepends=True)
        files.results.write_bytes(b"".join(lines[:4]))
        await run_batch(
            client,
            files.requests,
            files.results,
            on_progress=lambda progress: looks.append((progress.done, progress.failed, progress.total)),
        )
    assert min(looks) >= (4, 1, 12)
    assert looks[-1] == (11, 1, 12)


async def test_a_changed_file_of_requests_is_noticed(files: Files) -> None:
    """One byte more, and the results are not gone on with; nothing is sent or written."""
    async with served() as (server, client):
        await run_batch(client, files.requests, files.results)
        before = files.results.read_bytes()
        asked = len(server.requests)
        write(files.requests, [*files.lines, request("new")])
        with pytest.raises(ConfigurationError, match="requests have changed"):
            await run_batch(client, files.requests, files.results)
        assert len(server.requests) == asked
    assert files.results.read_bytes() == before


async def test_results_of_something_else_are_not_added_to(files: Files) -> None:
    """A file without a journal, or with lines that are none of a batch's, stays as it is."""
    async with served() as (server, client):
        files.results.write_text("mine\n")
        with pytest.raises(ConfigurationError, match="does not say of which requests"):
            await run_batch(client, files.requests, files.results)
        files.results.write_text("")
        await run_batch(client, files.requests, files.results)
        asked = len(server.requests)
        for foreign in ("mine\n", '{"custom_id": "unheard of"}\n'):
            files.results.write_text(foreign)
            with pytest.raises(ConfigurationError, match=r"results\.jsonl"):
                await run_batch(client, files.requests, files.results)
            assert files.results.read_text() == foreign
        assert len(server.requests) == asked


async def test_two_runs_do_not_write_the_same_results(files: Files) -> None:
    """The second one is refused for as long as the first lasts."""
    pytest.importorskip("fcntl")
    async with served() as (server, client):
        gate = Gate()
        server.reply("late", before=[Until(gate)])
        first = asyncio.create_task(run_batch(client, files.requests, files.results))
        await server.received()
        with pytest.raises(ConfigurationError, match="another run is writing"):
            await run_batch(client, files.requests, files.results)
        gate.set()
        report = await first
        assert report.done + report.failed == 12


async def test_ordered_results_stand_in_the_order_of_the_requests(files: Files) -> None:
    """Whatever order the answers come in; also over a stop and a resumption."""
    async with served() as (_, client):
        await run_batch(client, files.requests, files.results, ordered=True)
        assert [line["custom_id"] for line in read(files.results)] == files.good
        lines = files.results.read_bytes().splitlines(keepends=True)
        files.results.write_bytes(b"".join(lines[:4]))
        await run_batch(client, files.requests, files.results, ordered=True)
        assert [line["custom_id"] for line in read(files.results)] == files.good


async def test_lines_as_they_come_are_answered_without_any_file() -> None:
    """From an async iterable to functions; a bad line is told when it is read, and skipped where that is chosen."""

    async def lines() -> AsyncIterator[bytes]:
        for line in (request("a"), bad_request("b"), request("a"), request("c")):
            yield json.dumps(line).encode()

    results: list[bytes] = []
    told: list[str] = []
    async with served() as (_, client):
        report = await run_batch(client, lines(), results.append, skip_bad=True, on_bad=told.append)
        assert (report.done, report.failed, report.bad) == (2, 1, 1)
        assert sorted(json.loads(line)["custom_id"] for line in results) == ["a", "b", "c"]
        assert told == ["line 3: custom_id 'a' is that of line 1"]
        results.clear()
        with pytest.raises(InvalidRequestError, match="line 3: custom_id 'a' is that of line 1"):
            await run_batch(client, lines(), results.append)
        assert sorted(json.loads(line)["custom_id"] for line in results) == ["a", "b"]


async def test_one_file_is_not_used_for_two_things(files: Files) -> None:
    """Results over the requests would be their end."""
    async with served() as (_, client):
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_batch(client, files.requests, files.requests)
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_batch(client, files.requests, files.results, errors=files.results)
    assert read(files.requests) == files.lines


async def test_a_file_that_changes_while_it_is_read_ends_the_run(files: Files) -> None:
    """What was taken is answered and written; the next line that is not the one that was checked is not sent."""

    def change(*_: int) -> None:
        write(files.requests, [request(line["custom_id"] + "x") for line in files.lines])

    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="was changed while it was read"):
            await run_batch(client, files.requests, files.results, on_begin=change)
        assert server.requests == []
