"""`client.batches`: the service's own batches, from the file to the last line of the results."""

from __future__ import annotations

import asyncio
import json
import pickle
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    BusyError,
    InvalidRequestError,
    MalformedStreamError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    TruncatedStreamError,
)
from siliconflow_async.answers import Batch
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst, Stall

from ..asking import served

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


def line(custom_id: str, content: str = "Hi", **more: Any) -> bytes:
    body = {"model": "org/m", "messages": [{"role": "user", "content": content}], **more}
    request = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps(request).encode() + b"\n"


async def made(client: AsyncSiliconFlow, data: bytes, **options: Any) -> Batch:
    file = await client.files.create(file=("requests.jsonl", data), purpose="batch")
    return await client.batches.create(input_file_id=file.id, **options)


async def test_a_batch_runs_and_its_results_come_line_by_line() -> None:
    """Those that failed last; each is told as the call itself would have been."""
    async with served() as (server, client):
        data = line("a", "One") + line("b", max_tokens=-1) + b"\n" + line("c", "Two")
        batch = await made(client, data, metadata={"run": "1"}, completion_window="48h")
        assert (batch.status, batch.ended, batch.metadata, batch.completion_window) == (
            "in_queue",
            False,
            {"run": "1"},
            "48h",
        )
        assert batch.trace_id == server.requests[-1].trace_id
        told: list[str] = []
        done = await client.batches.wait(batch, interval=0, on_progress=lambda batch: told.append(batch.status))
        assert told == ["in_progress", "completed"]
        assert done.request_counts is not None
        assert done.request_counts.to_dict() == {"total": 3, "completed": 2, "failed": 1}
        results = [result async for result in client.batches.results(done)]
    assert [result.custom_id for result in results] == ["a", "c", "b"]
    one, _, failed = results
    assert one.completion is not None
    assert "One" in (one.completion.content or "")
    assert one.completion is one.completion  # read once
    assert pickle.loads(pickle.dumps(one)).completion == one.completion
    assert one.failure is None
    assert one.response is not None
    assert one.completion.trace_id == one.response.request_id
    assert failed.completion is None
    assert isinstance(failed.failure, BadRequestError)
    assert failed.failure.code == 20015
    assert failed.response is not None
    assert failed.failure.trace_id == failed.response.request_id
    assert json.loads(failed.raw or b"")["custom_id"] == "b"


async def test_what_is_sent_is_what_was_given() -> None:
    """With defaults for what every batch has to have."""
    async with served() as (server, client):
        await made(client, line("a"), replace={"model": "org/other"}, extra_body={"priority": 1})
        assert server.requests[-1].json == {
            "endpoint": "/v1/chat/completions",
            "completion_window": "24h",
            "input_file_id": server.requests[-1].json["input_file_id"],
            "replace": {"model": "org/other"},
            "priority": 1,
        }
        (batch,) = (await client.batches.list()).data
        done = await client.batches.wait(batch.id, interval=0)
        (result,) = [result async for result in client.batches.results(done.id)]
    assert result.completion is not None
    assert result.completion.model == "org/other"


async def test_batches_are_listed_told_of_and_cancelled() -> None:
    async with served() as (_, client):
        first, second = await made(client, line("a")), await made(client, line("b"))
        assert [batch.id async for batch in client.batches.list()] == [second.id, first.id]
        assert (await client.batches.retrieve(first.id)).status == "in_progress"
        assert (await client.batches.get(second.id)).input_file_id == second.input_file_id
        assert (await client.batches.cancel(first.id)).status == "cancelling"
        cancelled = await client.batches.wait(first)
        assert (cancelled.status, cancelled.ended) == ("cancelled", True)
        assert [result async for result in client.batches.results(cancelled)] == []
        with pytest.raises(BadRequestError, match="cancelled"):
            await client.batches.cancel(first.id)
        for unknown in (client.batches.retrieve, client.batches.cancel, client.batches.wait):
            with pytest.raises(NotFoundError):
                await unknown("batch_none")


async def test_the_stand_in_finishes_a_batch_though_who_asked_has_gone() -> None:
    """A command that is killed as it asks leaves a batch that the next run waits for."""
    async with FakeSiliconFlow(batch_polls=1) as server, client_of(server) as client, client_of(server) as other:
        batch = await made(client, b"".join(line(f"{number}") for number in range(5000)))
        asking = asyncio.create_task(client.batches.retrieve(batch.id))
        while (await other.batches.list()).data[0].status != "finalizing":  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        done = await other.batches.wait(batch, interval=0, timeout=20)
        assert done.status == "completed"
        assert done.request_counts is not None
        assert (done.request_counts.completed, done.request_counts.failed) == (5000, 0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (line("a") + line("a"), 20072),
        (b"", 20073),
        (b"x\n", 20071),
        (line("a") * 5001, 20072),
        (b"".join(line(str(at)) for at in range(5001)), 20074),
    ],
)
async def test_the_stand_in_refuses_files_as_the_service_does(data: bytes, code: int) -> None:
    async with served() as (_, client):
        with pytest.raises(BadRequestError) as caught:
            await made(client, data)
        assert caught.value.code == code


@pytest.mark.parametrize(
    "options",
    [
        {"endpoint": "/v1/embeddings"},
        {"completion_window": "1h"},
        {"completion_window": "day"},
        {"metadata": {str(at): "x" for at in range(17)}},
    ],
)
async def test_the_stand_in_refuses_parameters_as_the_service_does(options: dict[str, Any]) -> None:
    async with served() as (_, client):
        with pytest.raises(BadRequestError):
            await made(client, line("a"), **options)
        with pytest.raises(BadRequestError, match="no such file"):
            await client.batches.create(input_file_id="file-none")


class TestCreate:
    async def test_it_is_not_sent_again_where_the_service_may_have_begun(self) -> None:
        """A connection that breaks, an answer that breaks off, 500: nobody can tell whether there is a batch."""
        async with served() as (server, client):
            server.raw([Rst()], framing="verbatim")
            with pytest.raises(APIConnectionError):
                await client.batches.create(input_file_id="f")
            server.fail(500)
            with pytest.raises(Exception, match="HTTP 500"):
                await client.batches.create(input_file_id="f")
            server.raw([b'{"id":', Fin()], headers=JSON)
            with pytest.raises(TruncatedStreamError):
                await client.batches.create(input_file_id="f")
            assert len(server.requests) == 3

    async def test_it_is_sent_again_where_the_service_has_surely_not(self) -> None:
        """It was overloaded, or a meter was full."""
        async with served() as (server, client):
            server.fail(503)
            batch = await made(client, line("a"))
            assert batch.id
            server.fail(503)
            server.fail(429, {"code": 50601, "message": "RPM"})
            file = await client.files.create(file=line("a"), purpose="batch")
            server.fail(503)
            server.fail(429, {"code": 50601, "message": "RPM"})
            batch = await client.batches.create(input_file_id=file.id)
            assert batch.timing.attempts == 3

    async def test_a_wrong_argument_is_named_before_anything_is_sent(self) -> None:
        async with served() as (server, client):
            with pytest.raises(TypeError, match="missing required keyword argument: 'input_file_id'"):
                await client.batches.create()  # type: ignore[call-arg]
            with pytest.raises(TypeError, match="'window'"):
                await client.batches.create(input_file_id="f", window="24h")  # type: ignore[call-arg]
            with pytest.raises(InvalidRequestError, match="metadata"):
                await client.batches.create(input_file_id="f", metadata=object())  # type: ignore[arg-type]
            with pytest.raises(InvalidRequestError, match="batch_id"):
                await client.batches.get("")
            for name in ("timeout", "interval", "patience"):
                with pytest.raises(InvalidRequestError, match=name):
                    await client.batches.wait("b", **{name: -1})  # type: ignore[arg-type]
            assert server.requests == []


class TestForms:
    """What a batch may look like on the wire."""

    @pytest.mark.parametrize("wrapped", [True, False])
    async def test_odd_fields_are_read_as_far_as_they_go(self, wrapped: bool) -> None:
        body = {
            "id": "b",
            "status": "in_validation",
            "output_file_id": "",
            "error_file_id": None,
            "completed_at": 0,
            "created_at": 7.0,
            "request_counts": {"total": 3, "completed": "2"},
            "metadata": {"a": "b", "c": 1},
            "errors": "none",
            "new": {},
        }
        async with served() as (server, client):
            server.raw([json.dumps({"code": 20000, "data": body} if wrapped else body).encode()], headers=JSON)
            batch = await client.batches.retrieve("b")
        assert (batch.status, batch.ended, batch.created_at, batch.metadata) == ("in_validation", False, 7, {"a": "b"})
        assert batch.output_file_id is batch.error_file_id is batch.completed_at is batch.errors is None
        assert batch.request_counts is not None
        assert batch.request_counts.to_dict() == {"total": 3, "completed": 0, "failed": 0}

    @pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id":1}', b"<html>", b'{"code":20000,"data":null}'])
    async def test_what_is_no_batch_is_malformed(self, body: bytes) -> None:
        async with served() as (server, client):
            server.raw([body], headers=JSON)
            with pytest.raises(MalformedStreamError, match="no batch"):
                await client.batches.retrieve("b")

    async def test_what_is_no_list_is_malformed(self) -> None:
        async with served() as (server, client):
            for body in (b"3", b'{"data":{}}', b'{"object":"list"}'):
                server.raw([body], headers=JSON)
                with pytest.raises(MalformedStreamError, match="no list of batches"):
                    await client.batches.list()
            for body in (b'{"code":20000,"data":{"data":[{"id":"a"},{}]}}', b'[{"id":"a"},3]'):
                server.raw([body], headers=JSON)
                assert [batch.id for batch in (await client.batches.list()).data] == ["a"]


class TestWait:
    async def test_an_outage_is_waited_out(self) -> None:
        """Beyond the retries of a single question; what the service refuses ends the wait at once."""
        async with served(max_retries=0) as (server, client):
            batch = await made(client, line("a"))
            for _ in range(5):
                server.fail(503)
            server.fail(429, {"code": 50601, "message": "RPM"})
            assert (await client.batches.wait(batch, interval=0)).status == "completed"
            server.fail(403)
            with pytest.raises(Exception, match="403"):
                await client.batches.wait(batch, interval=0)

    async def test_its_patience_ends(self) -> None:
        async with served(max_retries=0) as (server, client):
            batch = await made(client, line("a"))
            server.fail(503)
            with pytest.raises(OverloadedError):
                await client.batches.wait(batch, interval=0, patience=0)

    async def test_each_outage_has_all_of_its_patience(self) -> None:
        """Once the service was there again."""
        async with served(max_retries=0) as (server, client):
            batch = await made(client, line("a"))
            server.fail(503)
            server.raw([batch.to_json().encode()], headers=JSON)
            server.fail(503)
            assert (await client.batches.wait(batch, interval=0.1, patience=0.15)).status == "completed"

    async def test_it_ends_at_its_timeout_and_says_how_the_batch_stands(self) -> None:
        async with FakeSiliconFlow(batch_polls=1_000_000) as server, client_of(server) as client:
            batch = await made(client, line("a"))
            with pytest.raises(APITimeoutError, match=r"has not ended after 0.05 s: it is in_progress") as caught:
                await client.batches.wait(batch, timeout=0.05)
            assert (caught.value.clock, caught.value.seconds) == ("total", 0.05)

    async def test_a_cancelled_wait_leaves_the_batch_running(self) -> None:
        async with served() as (server, client):
            batch = await made(client, line("a"))
            task = asyncio.create_task(client.batches.wait(batch, interval=60))
            await server.received(3)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.batches.retrieve(batch.id)).status == "completed"

    async def test_what_the_users_function_raises_is_raised(self) -> None:
        def tell(batch: Batch) -> None:
            raise ZeroDivisionError

        async with served() as (_, client):
            batch = await made(client, line("a"))
            with pytest.raises(ZeroDivisionError):
                await client.batches.wait(batch, on_progress=tell)


RESULT = {
    "id": "r",
    "custom_id": "a",
    "response": {
        "status_code": 200,
        "request_id": "t",
        "body": {"choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}]},
    },
    "error": None,
}


def ended(**fields: Any) -> Batch:
    return Batch(id="b", status="completed", **fields)


class TestResults:
    async def test_a_batch_that_goes_on_has_none(self) -> None:
        async with served() as (_, client):
            batch = await made(client, line("a"))
            with pytest.raises(InvalidRequestError, match="in_queue: wait"):
                await anext(client.batches.results(batch))
            with pytest.raises(InvalidRequestError, match="in_progress: wait"):
                await anext(client.batches.results(batch.id))

    @pytest.mark.parametrize(
        ("more", "kind", "passing"),
        [
            ({"response": None, "error": {"code": "batch_expired", "message": "Too late."}}, "APIStatusError", True),
            ({"response": None, "error": {"code": "batch_cancelled", "message": "No."}}, "APIStatusError", True),
            ({"response": None, "error": {"code": "20012", "message": "No model."}}, "APIStatusError", False),
            ({"response": None, "error": {"code": 50505, "message": "Busy."}}, "APIStatusError", True),
            ({"response": None, "error": {"message": "No."}}, "APIStatusError", False),
            ({"response": None, "error": None}, "MalformedStreamError", True),
            ({"response": {"status_code": 400, "body": {"code": 20015, "message": "No."}}}, "BadRequestError", False),
            ({"response": {"status_code": 451, "body": {"code": 20021}}}, "ContentFlaggedError", False),
            ({"response": {"status_code": 504, "body": "Gateway Timeout"}}, "GatewayTimeoutError", True),
            ({"response": {"status_code": 200, "body": {"code": 50505, "message": "Busy."}}}, "APIStatusError", True),
            ({"response": {"status_code": 200, "body": {"choices": []}}}, "MalformedStreamError", True),
            ({"response": {"status_code": 200}}, "MalformedStreamError", True),
        ],
    )
    async def test_each_failure_is_an_error_of_this_library(
        self, more: dict[str, Any], kind: str, passing: bool
    ) -> None:
        """Which tells whether the request may fare better another time."""
        async with served() as (server, client):
            server.raw([json.dumps({**RESULT, **more}).encode()])
            (result,) = [result async for result in client.batches.results(ended(error_file_id="f"))]
        assert result.completion is None
        failure = result.failure
        assert type(failure).__name__ == kind or kind in [base.__name__ for base in type(failure).__mro__]
        assert failure is not None
        assert failure.passing is passing

    async def test_ids_may_be_urls_which_get_no_key(self) -> None:
        """Of a server that knows nothing of the service."""
        seen: list[Any] = []

        async def give(request: web.Request) -> web.StreamResponse:
            seen.append(request.headers.get("authorization"))
            return web.Response(body=json.dumps(RESULT).encode() + b"\n\n" + json.dumps(RESULT).encode())

        app = web.Application()
        app.router.add_get("/x", give)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with served() as (server, client):
                url = f"http://127.0.0.1:{runner.addresses[0][1]}/x?sig=a%2Fb"
                results = [result async for result in client.batches.results(ended(output_file_id=url))]
                assert server.requests == []
        finally:
            await runner.cleanup()
        assert [result.completion.content for result in results if result.completion] == ["x", "x"]
        assert seen == [None]

    async def test_a_file_that_breaks_off_is_read_on(self) -> None:
        """Each line comes once, wherever it broke; the policy bounds how often without a byte."""
        lines = [json.dumps({**RESULT, "custom_id": str(at)}).encode() + b"\n" for at in range(5)]
        data = b"".join(lines)
        half = len(lines[0]) + 10
        async with served() as (server, client):
            server.raw([data[:half], Fin()])
            server.raw([data[:10], Fin()])
            for count in (2, 3, 4):
                server.raw([data[: count * len(lines[0])], Fin()])
            server.raw([data[: len(data) - 3], Rst()])
            server.raw([data], framing="length")
            results = [result async for result in client.batches.results(ended(output_file_id="f"))]
            assert [result.custom_id for result in results] == ["0", "1", "2", "3", "4"]
            assert len(server.requests) == 7
            for _ in range(9):
                server.raw([data[:half], Fin()])
            broken = client.batches.results(ended(output_file_id="f"))
            assert (await anext(broken)).custom_id == "0"
            with pytest.raises(TruncatedStreamError):
                await anext(broken)
            assert len(server.requests) == 7 + 4

    async def test_a_line_that_is_none_is_malformed(self) -> None:
        async with served() as (server, client):
            for bad in (b"{", b"[]", b'{"id":1}', b'{"custom_id":7}', b"\xff"):
                server.raw([bad])
                with pytest.raises(MalformedStreamError, match="no line of a batch's results"):
                    await anext(client.batches.results(ended(output_file_id="f")))

    async def test_a_refusal_is_raised(self) -> None:
        async with served(max_retries=0) as (server, client):
            server.fail(404)
            with pytest.raises(NotFoundError):
                await anext(client.batches.results(ended(output_file_id="f")))
            server.fail(429, {"code": 50608, "message": "RPD"})
            with pytest.raises(RateLimitError):
                await anext(client.batches.results("b"))

    async def test_leaving_early_closes_the_connection(self) -> None:
        async with served() as (server, client):
            server.raw([json.dumps(RESULT).encode() + b"\n", Stall()])
            async with client.batches.results(ended(output_file_id="f")) as results:
                assert (await anext(results)).custom_id == "a"
                task = asyncio.create_task(anext(results))
                await asyncio.sleep(0)
                with pytest.raises(BusyError):
                    await anext(results)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await server.disconnected()
            server.raw([json.dumps(RESULT).encode() + b"\n", Stall()])
            results = client.batches.results(ended(output_file_id="f"))
            await anext(results)
            del results
            await server.disconnected()

    async def test_a_large_file_takes_no_memory(self) -> None:
        """64 MiB of lines, of which one is held at a time."""
        data = json.dumps({**RESULT, "id": "x" * 100_000}).encode() + b"\n"
        piece = data * 10

        async def give(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            for _ in range(64):
                await response.write(piece)
            return response

        app = web.Application()
        app.router.add_get("/x", give)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            async with AsyncSiliconFlow("k") as client:
                url = f"http://127.0.0.1:{runner.addresses[0][1]}/x"
                count = 0
                tracemalloc.start()
                try:
                    async for _ in client.batches.results(ended(output_file_id=url)):
                        count += 1
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
        finally:
            await runner.cleanup()
        assert count == 640
        assert peak < 16 * 1024 * 1024


def client_of(server: FakeSiliconFlow) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("test-key", base_url=server.base_url)
