"""Which lines are finished: what failed for passing reasons is open, and an account that is refused ends the run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    AuthenticationError,
    InsufficientBalanceError,
    PermissionDeniedError,
    SiliconFlowError,
)
from siliconflow_async.batch import run_batch
from siliconflow_async.testing import Fin, Gate, Until

from ..asking import chunk, served
from .jsonl import bad_request, ids, read, request, write

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .jsonl import Files

pytestmark = pytest.mark.anyio


def write_many(folder: Path, count: int, **body: Any) -> Path:
    return write(folder / "requests.jsonl", [request(f"id-{i:03}", **body) for i in range(count)])


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_a_line_that_the_service_could_not_serve_is_asked_again(files: Files, status: int) -> None:
    """It is open: the next run asks it, and only it, and its error goes."""
    async with served(max_retries=0) as (server, client):
        server.fail(status, headers={"Retry-After": "0"}, times=1)
        report = await run_batch(client, files.requests, files.results, max_concurrency=1)
        assert (report.done, report.failed, report.open) == (10, 1, 1)
        assert ids(files.errors) == ["id-00", "id-07"]
        assert [line["error"]["retryable"] for line in read(files.errors)] == [True, False]
        asked = len(server.requests)
        report = await run_batch(client, files.requests, files.results)
        assert len(server.requests) == asked + 1
    assert (report.done, report.failed, report.open, report.before) == (11, 1, 0, 11)
    assert ids(files.results) == files.good
    assert ids(files.errors) == ["id-07"]


async def test_a_line_that_could_not_be_sent_or_broke_off_is_asked_again(tmp_path: Path) -> None:
    """No connection, an answer cut short, an error inside it, and one that is none: all are open."""
    path = write_many(tmp_path, 3)
    results, errors = tmp_path / "r.jsonl", tmp_path / "r.errors.jsonl"
    async with served(max_retries=0) as (server, client):
        server.raw([chunk("It beg"), Fin()])
        server.raw([chunk("It"), b'data: {"error": {"message": "overloaded", "code": 503}}\n\n'])
        server.raw([b"<html>Bad gateway</html>"], headers={"Content-Type": "text/html"})
        report = await run_batch(client, path, results)
        assert (report.done, report.failed, report.open) == (0, 0, 3)
        assert ids(errors) == ["id-000", "id-001", "id-002"]
        gone = AsyncSiliconFlow("test-key", base_url="http://127.0.0.1:9/v1", max_retries=0)
        async with gone:
            report = await run_batch(gone, path, results, max_concurrency=1)
        assert (report.open, report.before) == (3, 0)
        assert {line["error"]["type"] for line in read(errors)} == {"APIConnectionError"}
        report = await run_batch(client, path, results)
    assert (report.done, report.open, report.before) == (3, 0, 0)
    assert errors.read_bytes() == b""


@pytest.mark.parametrize("status", [400, 404, 413, 451])
async def test_a_refused_line_is_finished_until_it_is_to_be_retried(tmp_path: Path, status: int) -> None:
    """The same command does not ask it again; `retry_failed` does."""
    path = write_many(tmp_path, 2)
    async with served() as (server, client):
        server.fail(status, times=1)
        for _ in range(2):
            report = await run_batch(client, path, tmp_path / "r.jsonl")
            assert (report.done, report.failed, report.open) == (1, 1, 0)
            assert len(server.requests) == 2
        report = await run_batch(client, path, tmp_path / "r.jsonl", retry_failed=True)
        assert (report.done, report.failed, len(server.requests)) == (2, 0, 3)


async def test_an_open_line_that_is_then_refused_is_finished(tmp_path: Path) -> None:
    """What counts is its last error, in whatever run."""
    path = write(tmp_path / "requests.jsonl", [request("a")])
    async with served(max_retries=0) as (server, client):
        server.fail(503)
        server.fail(400)
        assert (await run_batch(client, path, tmp_path / "r.jsonl")).open == 1
        assert (await run_batch(client, path, tmp_path / "r.jsonl")).failed == 1
        report = await run_batch(client, path, tmp_path / "r.jsonl")
        assert (report.failed, report.open, len(server.requests)) == (1, 0, 2)
    (line,) = read(tmp_path / "r.errors.jsonl")
    assert line["response"]["status_code"] == 400


async def test_the_report_says_what_lines_failed_with(tmp_path: Path) -> None:
    """By type, the commonest first, over all runs; open ones apart, and those that are done left out."""
    path = write(tmp_path / "requests.jsonl", [request("a"), request("b"), bad_request("c"), bad_request("d")])
    async with served(max_retries=0) as (server, client):
        server.fail(503, times=2)
        report = await run_batch(client, path, tmp_path / "r.jsonl", ordered=True, max_concurrency=1)
        assert {(kind.type, kind.count, kind.is_open) for kind in report.failures} == {
            ("OverloadedError", 2, True),
            ("BadRequestError", 2, False),
        }
        server.fail(451, times=1)
        report = await run_batch(client, path, tmp_path / "r.jsonl", max_concurrency=1)
    assert [(kind.type, kind.count, kind.is_open) for kind in report.failures] == [
        ("BadRequestError", 2, False),
        ("ContentFlaggedError", 1, False),
    ]
    assert report.failures[0].message.startswith("HTTP 400, code 20015: temperature: Must be less than")


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (402, InsufficientBalanceError), (403, PermissionDeniedError)],
)
async def test_an_account_that_is_refused_stops_the_run_at_once(
    tmp_path: Path, status: int, error: type[SiliconFlowError]
) -> None:
    """Of 600 lines no more are asked than are under way, the error is raised, and all lines are open."""
    path = write_many(tmp_path, 600)
    async with served() as (server, client):
        server.fail(status, times=None)
        with pytest.raises(error) as caught:
            await run_batch(client, path, tmp_path / "r.jsonl", max_concurrency=8)
        assert caught.value.__notes__ == ["stopped at 0 done, as no other line would fare better"]
        assert len(server.requests) <= 16
        server.reset()
        report = await run_batch(client, path, tmp_path / "r.jsonl")
        assert (report.done, report.failed, report.open, report.before) == (600, 0, 0, 0)
    assert (tmp_path / "r.errors.jsonl").read_bytes() == b""


async def test_a_balance_that_runs_out_stops_the_run_and_what_is_under_way_is_kept(tmp_path: Path) -> None:
    """After answers it takes five refusals in a row; an answer that had begun is waited for, and written."""
    path = write_many(tmp_path, 100)
    gate = Gate()
    async with served() as (server, client):
        server.reply("first")
        server.reply("long", before=[Until(gate)])
        server.fail(402, times=None)

        with pytest.raises(InsufficientBalanceError):
            await run_batch(
                client,
                path,
                tmp_path / "r.jsonl",
                max_concurrency=2,
                on_progress=lambda progress: gate.set() if progress.failed >= 5 else None,
            )
        assert ids(tmp_path / "r.jsonl") == ["id-000", "id-001"]
        assert 7 <= len(server.requests) <= 10
        server.reset()
        report = await run_batch(client, path, tmp_path / "r.jsonl")
    assert (report.done, report.before) == (100, 2)


async def test_a_few_refusals_among_answers_do_not_stop_a_run(tmp_path: Path) -> None:
    """Such lines are open, and the run goes on."""
    path = write_many(tmp_path, 20)
    async with served() as (server, client):
        for _ in range(2):
            server.reply("fine", times=1)
            server.fail(401, times=4)
        report = await run_batch(client, path, tmp_path / "r.jsonl", max_concurrency=1)
        assert (report.done, report.failed, report.open) == (12, 0, 8)


async def test_a_model_that_is_forbidden_does_not_stop_the_lines_of_others(tmp_path: Path) -> None:
    """A 403 refuses the line where the file names several models, and the account where it names one."""
    lines = [request("a", model="org/forbidden"), request("b"), request("c")]
    path = write(tmp_path / "requests.jsonl", lines)
    async with served() as (server, client):
        server.fail(403, times=1)
        report = await run_batch(client, path, tmp_path / "r.jsonl", max_concurrency=1)
        assert (report.done, report.failed, report.open) == (2, 1, 0)
        server.fail(403, {"code": 30001, "message": "No balance."}, times=1)
        with pytest.raises(InsufficientBalanceError):
            await run_batch(client, path, tmp_path / "r.jsonl", retry_failed=True)


async def test_lines_as_they_come_are_no_longer_read_once_the_account_is_refused() -> None:
    """Without files too; and what failed for passing reasons has failed, as no run goes on with it."""
    read_lines = 0

    async def lines(count: int) -> AsyncIterator[bytes]:
        nonlocal read_lines
        for i in range(count):
            read_lines += 1
            yield json.dumps(request(f"id-{i}")).encode()

    results: list[bytes] = []
    async with served(max_retries=0) as (server, client):
        server.fail(401, times=None)
        with pytest.raises(AuthenticationError):
            await run_batch(client, lines(1000), results.append, max_concurrency=4)
        assert read_lines < 20
        server.reset()
        server.fail(503, times=1)
        report = await run_batch(client, lines(2), results.append)
    assert (report.done, report.failed, report.open) == (1, 1, 0)
    assert [(kind.type, kind.is_open) for kind in report.failures] == [("OverloadedError", False)]
