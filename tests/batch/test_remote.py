"""A file of requests that the service itself answers: nothing is sent twice, and nothing is lost, whatever happens."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APIStatusError,
    AsyncSiliconFlow,
    BadRequestError,
    ConfigurationError,
    InsufficientBalanceError,
    InvalidRequestError,
    NotFoundError,
    OverloadedError,
    SiliconFlowError,
)
from siliconflow_async.batch import BatchReport, run_batch, run_remote_batch
from siliconflow_async.batch.requestfiles import RequestFiles
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst

from ..asking import served
from .jsonl import Files, ids, read, request, write

if TYPE_CHECKING:
    from pathlib import Path

    from siliconflow_async import MapProgress

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


async def run(client: AsyncSiliconFlow, files: Files, **options: Any) -> BatchReport:
    return await run_remote_batch(client, files.requests, files.results, **{"interval": 0, **options})


def made(server: FakeSiliconFlow) -> int:
    """How many batches were asked for and not refused."""
    return sum((asked.method, asked.path, asked.status) == ("POST", "/v1/batches", 200) for asked in server.requests)


def steps(files: Files) -> list[dict[str, Any]]:
    return read(files.results.with_name("results.jsonl.remote"))


async def test_the_lines_are_those_of_a_batch_that_is_run_here(files: Files, tmp_path: Path) -> None:
    """But for ids of requests and times; what failed is in the file of errors, and counted by its kind."""
    async with served() as (server, client):
        sent: list[tuple[str, int]] = []
        report = await run(client, files, on_sent=lambda batch, lines: sent.append((batch, lines)))
        assert (report.done, report.failed, report.open, report.bad, report.before) == (11, 1, 0, 0, 0)
        assert [(kind.type, kind.count) for kind in report.failures] == [("BadRequestError", 1)]
        assert len(sent) == made(server) == 1
        assert sent[0][1] == 12
        other = tmp_path / "here.jsonl"
        await run_batch(client, files.requests, other)
    here = {line["custom_id"]: line for line in read(other) + read(tmp_path / "here.errors.jsonl")}
    for line in read(files.results) + read(files.errors):
        twin = here[line["custom_id"]]
        assert list(line) == list(twin)
        assert line["id"] == twin["id"]
        assert line["response"].keys() == twin["response"].keys()
        assert line["response"]["status_code"] == twin["response"]["status_code"]
        choices = [found["response"]["body"].get("choices") for found in (line, twin)]
        assert choices[0] == choices[1]
        if line["error"] is not None:
            told, twin_told = ({**found["error"], "request_id": None} for found in (line, twin))
            told["message"], twin_told["message"] = (
                found["message"].partition(" [trace")[0] for found in (told, twin_told)
            )
            assert told == twin_told
    assert ids(files.results) == files.good


async def test_what_is_finished_is_not_sent_again(files: Files) -> None:
    """The same call asks for nothing; `retry_failed` sends what was refused, and nothing else."""
    async with served() as (server, client):
        await run(client, files)
        begun: list[tuple[int, int]] = []
        asked = len(server.requests)
        report = await run(client, files, on_begin=lambda before, total: begun.append((before, total)))
        assert (report.done, report.failed, report.before, begun) == (11, 1, 12, [(12, 12)])
        assert len(server.requests) == asked
        report = await run(client, files, retry_failed=True)
        assert (report.done, report.failed) == (11, 1)
        assert made(server) == 2
        upload = next(asked for asked in reversed(server.requests) if asked.path == "/v1/files")
        assert upload.body.count(b"custom_id") == 1
    assert ids(files.errors) == ["id-07"]


async def test_model_and_bare_bodies(tmp_path: Path) -> None:
    """What is sent is a file as the service takes it, whatever form the lines have."""
    path = tmp_path / "r.jsonl"
    bare = {"model": "org/a", "messages": [{"role": "user", "content": "x"}], "stream": True, "unknown": [1]}
    path.write_text(json.dumps(bare) + "\n\n" + json.dumps(request("b")) + "\n")
    async with served() as (server, client):
        report = await run_remote_batch(
            client, path, tmp_path / "o.jsonl", model="org/other", completion_window="48h", interval=0
        )
        assert report.done == 2
        upload, create = server.requests[:2]
        lines = [json.loads(line) for line in upload.body.splitlines() if line.startswith(b"{")]
        assert create.json["completion_window"] == "48h"
    assert [(line["custom_id"], line["method"], line["url"]) for line in lines] == [
        ("line-1", "POST", "/v1/chat/completions"),
        ("b", "POST", "/v1/chat/completions"),
    ]
    assert lines[0]["body"] == {"model": "org/other", "messages": bare["messages"], "unknown": [1]}


async def test_bad_lines_are_named_before_anything_is_sent(tmp_path: Path) -> None:
    """Also what only the service would refuse, and with it the whole file."""
    last = request("b", messages=[{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}])
    path = write(tmp_path / "r.jsonl", [request("a"), last, request("c", messages=[]), request("a")])
    async with served() as (server, client):
        bad: list[str] = []
        with pytest.raises(InvalidRequestError, match="3 bad lines"):
            await run_remote_batch(client, path, tmp_path / "o.jsonl", on_bad=bad.append)
        assert bad == [
            "line 2: the last message must be the user's",
            "line 3: the last message must be the user's",
            "line 4: custom_id 'a' is that of line 1",
        ]
        assert server.requests == []
        report = await run_remote_batch(client, path, tmp_path / "o.jsonl", skip_bad=True, interval=0)
        assert (report.done, report.bad) == (1, 3)


async def test_files_must_be_of_their_own(files: Files) -> None:
    async with served() as (_, client):
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_remote_batch(client, files.requests, files.requests)
        with pytest.raises(ConfigurationError, match="files of their own"):
            await run_remote_batch(
                client, files.requests, files.results, errors=files.results.with_name("results.jsonl.remote")
            )


async def test_a_long_file_becomes_several(files: Files) -> None:
    """Each batch of so many lines at most; the progress counts all of them."""
    told: list[MapProgress] = []
    async with served() as (server, client):
        report = await run(client, files, lines_per_batch=5, on_progress=told.append)
        assert (report.done, report.failed) == (11, 1)
        assert made(server) == 3
        for bad in (0, 5001, True, 2.0):
            with pytest.raises(InvalidRequestError, match="lines_per_batch"):
                await run(client, files, lines_per_batch=bad)
    assert ids(files.results) == files.good
    assert {progress.total for progress in told} == {12}
    first, last = told[0], told[-1]
    assert (first.done, first.in_flight, last.done, last.failed, last.in_flight) == (0, 12, 11, 1, 0)
    assert [step["ranges"] for step in steps(files) if "ranges" in step] == [[[1, 5]], [[6, 10]], [[11, 12]]]


async def test_a_file_has_no_more_lines_than_the_service_takes() -> None:
    line = json.dumps(request("a")).encode()
    files = RequestFiles(((number, line) for number in range(1, 5002)), None)
    sizes = []
    while (part := await files.next()) is not None:
        part.data.close()
        sizes.append(len(part.numbers))
    assert sizes == [5000, 1]


async def test_a_file_has_no_more_bytes_than_the_service_takes() -> None:
    lines = [(number, json.dumps(request(f"{number}")).encode()) for number in range(1, 8)]
    size = len(lines[0][1]) + 10
    files = RequestFiles(iter(lines), None, most_lines=4, most_bytes=3 * size)
    numbers = []
    while (part := await files.next()) is not None:
        with part.data as data:
            data.seek(0)
            assert len(data.read()) <= 3 * size
        numbers.append(part.numbers)
    assert [number for some in numbers for number in some] == [*range(1, 8)]
    assert max(map(len, numbers)) == 3
    files = RequestFiles(iter(lines[:2]), None, most_bytes=1)
    part = await files.next()
    assert part is not None
    part.data.close()
    assert part.numbers == [1]


class TestGoingOn:
    """Wherever a run ends, the next one takes it from there, and no batch is made twice."""

    @pytest.mark.parametrize("reached", range(6))
    async def test_a_run_that_is_left_at_any_request(self, files: Files, reached: int) -> None:
        """Before the first, at the upload, the making, the questions, the results: it is cancelled there."""
        async with served() as (server, client):
            whole = asyncio.create_task(run(client, files))
            if reached:
                await server.received(reached)
            whole.cancel()
            with pytest.raises(asyncio.CancelledError):
                await whole
            report = await run(client, files)
            assert (report.done, report.failed, made(server)) == (11, 1, 1)
        assert ids(files.results) == files.good

    async def test_a_batch_that_was_made_but_not_noted_is_found(self, files: Files) -> None:
        """The answer to its making was lost: in the same run it is looked for, and not made again."""
        async with served() as (server, client):
            # The upload is answered by the stand-in, and so is the making, but its answer does not arrive.
            report = await lose_answer_to_create(server, client, files)
            assert (report.done, report.failed) == (11, 1)
            assert made(server) == 1
            assert [asked.path for asked in server.requests].count("/v1/batches") >= 2

    async def test_it_is_found_by_the_next_run_too(self, files: Files) -> None:
        async with served() as (server, client):
            await run(client, files)
            # As if the process had been killed between the two.
            journal = files.results.with_name("results.jsonl.remote")
            kept = [step for step in journal.read_bytes().splitlines(True) if b"batch" not in step]
            journal.write_bytes(b"".join(line for line in kept if b"fetched" not in line))
            files.results.write_bytes(b"")
            files.errors.write_bytes(b"")
            report = await run(client, files)
            assert (report.done, report.failed) == (11, 1)
            assert made(server) == 1

    async def test_results_that_were_fetched_in_part_are_fetched_whole(self, files: Files) -> None:
        """Each line once, whichever had been written."""
        async with served() as (server, client):
            await run(client, files)
            journal = files.results.with_name("results.jsonl.remote")
            journal.write_bytes(journal.read_bytes().replace(b'{"part":1,"fetched":true}\n', b'{"part":1,"fet'))
            lines = files.results.read_bytes().splitlines(True)
            files.results.write_bytes(b"".join(lines[:5]) + lines[5][:20])
            report = await run(client, files)
            assert (report.done, report.failed, made(server)) == (11, 1, 1)
        assert ids(files.results) == files.good
        assert ids(files.errors) == ["id-07"]
        assert steps(files)[-1] == {"part": 1, "fetched": True}

    async def test_an_outage_is_waited_out(self, files: Files) -> None:
        """At every step; where its patience ends the error is raised, and the next run goes on."""
        async with served(max_retries=0) as (server, client):
            for _ in range(3):
                server.fail(503)
            server.raw([Rst()], framing="verbatim")
            with pytest.raises(OverloadedError):
                await run(client, files, patience=0)
            report = await run(client, files)
            assert (report.done, report.failed, made(server)) == (11, 1, 1)

    async def test_other_requests_can_not_take_their_place(self, files: Files) -> None:
        """As long as some are with the service; nor does a run here answer them, too."""
        async with FakeSiliconFlow(batch_polls=1000) as server, client_of(server) as client:
            task = asyncio.create_task(run(client, files, interval=60))
            await server.received(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            with pytest.raises(ConfigurationError, match="are with the service"):
                await run_batch(client, files.requests, files.results)
            write(files.requests, [request("new")])
            with pytest.raises(ConfigurationError, match="have changed since they were sent"):
                await run(client, files)
            assert made(server) == 1

    async def test_a_refused_batch_is_raised_and_may_be_sent_again(self, files: Files) -> None:
        """What the service says no to was never a batch: other requests may take its place."""
        async with served() as (server, client):
            server.raw([b'{"id":"file-x"}'], headers=JSON)
            with pytest.raises(BadRequestError, match="no such file"):
                await run(client, files)
            server.reset()
            server.raw([b'{"id":"file-x"}'], headers=JSON)
            server.fail(402, {"code": 30001, "message": "No balance"})
            with pytest.raises(InsufficientBalanceError):
                await run(client, files)
            write(files.requests, [request("new")])
            assert (await run(client, files)).done == 1

    async def test_a_batch_that_is_gone_is_named(self, files: Files) -> None:
        async with served() as (_, client):
            await run(client, files)
        journal = files.results.with_name("results.jsonl.remote")
        journal.write_bytes(journal.read_bytes().replace(b'{"part":1,"fetched":true}\n', b""))
        async with served() as (_, client):
            with pytest.raises(NotFoundError) as caught:
                await run(client, files)
            assert any("results.jsonl.remote" in note for note in caught.value.__notes__)


async def lose_answer_to_create(server: FakeSiliconFlow, client: AsyncSiliconFlow, files: Files) -> BatchReport:
    """Run, with a server in between that answers the making of the first batch, and loses the answer."""
    lost = False

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, down: bool) -> None:
        nonlocal lost
        try:
            while data := await reader.read(65536):
                if down and not lost and b'"object":"batch"' in data:
                    lost = True
                    break
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(server.base_url.rpartition(":")[2].partition("/")[0])
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, up_writer, down=False), pipe(up_reader, writer, down=True))

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=url, max_retries=0) as between:
            report = await run(between, files)
    assert lost
    return report


BATCH = {"id": "batch_x", "object": "batch", "status": "expired", "input_file_id": "f"}


class TestEndings:
    """What becomes of lines that have no result."""

    @pytest.mark.parametrize("status", ["expired", "cancelled", "completed"])
    async def test_a_line_without_a_result_is_open(self, files: Files, status: str) -> None:
        """The next run sends it again."""
        async with served() as (server, client):
            server.raw([b'{"id":"f"}'], headers=JSON)
            server.raw([json.dumps({**BATCH, "status": "in_queue"}).encode()], headers=JSON)
            server.raw([json.dumps({**BATCH, "status": status, "error_file_id": "e"}).encode()], headers=JSON)
            late = {
                "id": "r",
                "custom_id": "id-03",
                "response": None,
                "error": {"code": "batch_expired", "message": "?"},
            }
            server.raw([json.dumps(late).encode()])
            report = await run(client, files)
            assert (report.done, report.failed, report.open) == (0, 0, 12)
            errors = {line["custom_id"]: line["error"] for line in read(files.errors)}
            assert all(error["retryable"] for error in errors.values())
            assert "batch_expired" in errors["id-03"]["message"]
            assert errors["id-04"]["message"] == f"the batch batch_x is {status}, without an answer to this"
            report = await run(client, files)
            assert (report.done, report.failed, report.open) == (11, 1, 0)

    async def test_a_batch_that_the_service_failed_is_refused(self, files: Files) -> None:
        """Its lines are finished, with what it said, unless they are to be sent again."""
        errors = {"object": "list", "data": [{"code": "x", "message": "Model has no batches.", "line": 1}]}
        async with served() as (server, client):
            server.raw([b'{"id":"f"}'], headers=JSON)
            server.raw([json.dumps(BATCH).encode()], headers=JSON)
            server.raw([json.dumps({**BATCH, "status": "failed", "errors": errors}).encode()], headers=JSON)
            report = await run(client, files)
            assert (report.done, report.failed, report.open) == (0, 12, 0)
            assert report.failures[0].message == "the service refused the batch batch_x: Model has no batches."
            assert (await run(client, files, retry_failed=True)).done == 11

    async def test_lines_that_nobody_asked_for_are_passed_over(self, files: Files) -> None:
        line = {"id": "r", "custom_id": "other", "response": {"status_code": 200, "body": {}}, "error": None}
        async with served() as (server, client):
            server.raw([b'{"id":"f"}'], headers=JSON)
            server.raw([json.dumps(BATCH).encode()], headers=JSON)
            server.raw([json.dumps({**BATCH, "status": "completed", "output_file_id": "o"}).encode()], headers=JSON)
            server.raw([json.dumps(line).encode()])
            assert (await run(client, files)).open == 12
        assert "other" not in ids(files.errors)

    async def test_a_batch_answers_its_own_lines_alone(self, files: Files) -> None:
        """Whatever ids its results have."""
        line = {"custom_id": "id-11", "response": {"status_code": 400, "body": {"code": 20015}}, "error": None}
        async with served() as (server, client):
            for name in ("f1", "f2"):
                server.raw([json.dumps({"id": name}).encode()], headers=JSON)
                server.raw([json.dumps({**BATCH, "id": f"b{name}"}).encode()], headers=JSON)
            server.raw([json.dumps({**BATCH, "id": "bf1", "output_file_id": "o"}).encode()], headers=JSON)
            server.raw([json.dumps(line).encode()])
            server.raw([json.dumps({**BATCH, "id": "bf2"}).encode()], headers=JSON)
            assert (await run(client, files, lines_per_batch=6)).open == 12
        (last,) = [line["error"]["message"] for line in read(files.errors) if line["custom_id"] == "id-11"]
        assert last.startswith("the batch bf2 is expired")

    async def test_results_that_can_not_be_had_are_an_error(self, files: Files) -> None:
        async with served() as (server, client):
            server.raw([b'{"id":"f"}'], headers=JSON)
            server.raw([json.dumps(BATCH).encode()], headers=JSON)
            server.raw([json.dumps({**BATCH, "output_file_id": "o"}).encode()], headers=JSON)
            server.fail(404)
            with pytest.raises(APIStatusError):
                await run(client, files)
            server.raw([json.dumps({**BATCH, "output_file_id": "o"}).encode()], headers=JSON)
            server.raw([b"{", Fin()])
            with pytest.raises(SiliconFlowError):
                await run(client, files, patience=0)


async def test_leaving_leaves_the_batches_running(files: Files) -> None:
    async with served() as (server, client):
        task = asyncio.create_task(run(client, files, interval=60))
        await server.received(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [asked.path for asked in server.requests if "cancel" in asked.path] == []
        assert (await run(client, files)).done == 11


def client_of(server: FakeSiliconFlow) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("test-key", base_url=server.base_url)
