"""Exactly one span for each call, whatever becomes of it, and the metrics of what happened."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from siliconflow_async import (
    APIStatusError,
    AsyncSiliconFlow,
    CallState,
    Limit,
    RetryPolicy,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.batch import run_batch
from siliconflow_async.integrations.otel import OpenTelemetry
from siliconflow_async.integrations.otel.names import LIMITS, GenAI, Metric, Ours
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst, Stall

from ..asking import ASK, DONE, chunk, served
from ..programs import environment
from .telemetry import Telemetry, id_of, parent_of, told

pytestmark = pytest.mark.anyio

PLENTY = RetryPolicy(base=0.0, budget=3.0)
MODEL = ASK["model"]


def strings(table: type) -> set[str]:
    return {value for name, value in vars(table).items() if isinstance(value, str) and not name.startswith("_")}


def instruments(table: type) -> dict[str, Metric]:
    return {value.name: value for value in vars(table).values() if isinstance(value, Metric)}


KNOWN = strings(GenAI) | strings(Ours)
METRICS = instruments(GenAI) | instruments(Ours) | {metric.name: metric for metric in LIMITS.values()}


def check_names(telemetry: Telemetry) -> None:
    """All that was told has a name of the table."""
    for span in telemetry.spans:
        assert told(span).keys() <= KNOWN
        for event in span.events:
            assert event.name in KNOWN
            assert dict(event.attributes or {}).keys() <= KNOWN
    for name, metric in telemetry.metrics().items():
        assert (name, metric.unit, metric.description) == METRICS[name][:3]
        for point in metric.data.data_points:
            assert dict(point.attributes or {}).keys() <= KNOWN
    for record in telemetry.records:
        assert record.event_name in KNOWN
        assert dict(record.attributes).keys() <= KNOWN


def test_the_conventions_names_are_theirs() -> None:
    """As OpenTelemetry's own package of them has them; ours begin otherwise."""
    constants = {
        value
        for module in (gen_ai_attributes, gen_ai_metrics, error_attributes, http_attributes, server_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    assert strings(GenAI) - {GenAI.DETAILS} <= constants
    assert instruments(GenAI).keys() <= constants
    ours = strings(Ours) | instruments(Ours).keys() | {metric.name for metric in LIMITS.values()}
    assert all(name.startswith("siliconflow.") for name in ours)


async def settled(condition: Callable[[], bool]) -> None:
    """Give the loop as many turns as it takes to tell what it has left to tell."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError


# One call


async def test_a_whole_answer() -> None:
    """Its span is named for the operation and the model, and says what was asked and how it ended."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.reply("Hello", usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
        done = await client.chat.completions.create(**ASK, temperature=0.5, max_tokens=64, stop="END", min_p=0.1)
    span = telemetry.span
    assert (span.name, span.kind, span.status.status_code) == (f"chat {MODEL}", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.start_time < span.end_time
    assert told(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "siliconflow",
        "gen_ai.request.model": MODEL,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.max_tokens": 64,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.id": done.id,
        "gen_ai.response.model": done.model,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 5,
        "http.response.status_code": 200,
        "server.address": "127.0.0.1",
        "server.port": int(server.base_url.rpartition(":")[2].partition("/")[0]),
        "siliconflow.request.min_p": 0.1,
        "siliconflow.ended": "done",
        "siliconflow.attempts": 1,
        "siliconflow.trace_id": done.trace_id,
    }
    check_names(telemetry)


async def test_tokens_of_reasoning_and_of_the_cache() -> None:
    telemetry = Telemetry()
    usage = {
        "prompt_tokens": 70,
        "completion_tokens": 50,
        "total_tokens": 120,
        "completion_tokens_details": {"reasoning_tokens": 30},
        "prompt_tokens_details": {"cached_tokens": 64},
    }
    async with served(observers=[telemetry.observer]) as (server, client):
        server.reply("Hello", usage=usage)
        await client.chat.completions.create(**ASK)
    attributes = told(telemetry.span)
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 30
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64


async def test_a_stream() -> None:
    """It says so, and when its first token came."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (_, client), client.chat.completions.stream(**ASK) as stream:
        done = await stream.completion()
    attributes = told(telemetry.span)
    assert done.usage is not None
    assert done.timing.total is not None
    assert attributes["gen_ai.request.stream"] is True
    assert 0 < attributes["gen_ai.response.time_to_first_chunk"] <= done.timing.total + 0.1
    assert attributes["gen_ai.usage.output_tokens"] == done.usage.completion_tokens
    check_names(telemetry)


async def test_another_endpoint() -> None:
    """Without a model it is named for the operation alone."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (_, client):
        await client.models.list()
    assert telemetry.span.name == told(telemetry.span)["gen_ai.operation.name"] == "models"


@pytest.mark.parametrize(
    ("script", "ended", "failure"),
    [
        ([chunk("a"), chunk("", finish="stop"), DONE], "done", None),
        ([chunk("a"), chunk("", finish="stop")], "finish", None),
        ([chunk("a"), Fin()], "truncated", "TruncatedStreamError"),
        ([chunk("a"), Rst()], "truncated", "TruncatedStreamError"),
        ([chunk("a"), b'data: {"error": {"message": "secret", "code": 20015}}\n\n'], "error", "StreamAPIError"),
        ([chunk("a"), b"data: {nonsense\n\n"], "malformed", "MalformedStreamError"),
        ([chunk("a"), b"data: " + b"x" * 5000], "too_large", "EventTooLargeError"),
        ([chunk("a"), Stall()], "timeout", "APITimeoutError"),
    ],
    ids=["done", "finish", "fin", "rst", "error", "malformed", "too_large", "timeout"],
)
@pytest.mark.parametrize("resume", [None, 1], ids=["", "resumable"])
async def test_each_ending_has_one_span(script: list[Any], ended: str, failure: str | None, resume: int | None) -> None:
    """An error where the call had one; its class is told, its words are not."""
    telemetry = Telemetry()
    options = {"max_event_size": 4096, "timeouts": Timeouts(idle=0.2), "retry": RetryPolicy(max_attempts=1, budget=0)}
    async with served(observers=[telemetry.observer], **options) as (server, client):
        server.raw(script)
        server.fail(400, times=3)
        async with client.chat.completions.stream(**ASK, resume=resume) as stream:
            with contextlib.suppress(SiliconFlowError):
                await stream.completion()
    span = telemetry.span
    assert told(span)["siliconflow.ended"] == ended
    assert told(span).get("error.type") == failure
    assert span.status.status_code is (StatusCode.UNSET if failure is None else StatusCode.ERROR)
    assert span.status.description == failure
    assert "secret" not in span.to_json()
    check_names(telemetry)


@pytest.mark.parametrize("how", ["break", "aclose", "cancel", "forget", "client", "another task"])
async def test_a_stream_that_is_left_has_one_span(how: str) -> None:
    """Which is no error, and has what had come."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.raw([chunk("a"), Stall()])
        if how == "break":
            async with client.chat.completions.stream(**ASK) as stream:
                async for _ in stream:
                    break
        else:
            stream = await client.chat.completions.create(**ASK, stream=True)
            assert telemetry.spans == []
            if how == "aclose":
                await stream.aclose()
            elif how == "cancel":
                task = asyncio.ensure_future(stream.completion())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            elif how == "client":
                await client.aclose()
            elif how == "another task":
                await asyncio.create_task(stream.aclose())
            del stream
            gc.collect()
            await asyncio.sleep(0)
    assert telemetry.span.status.status_code is StatusCode.UNSET
    assert told(telemetry.span)["siliconflow.ended"] == "closed"
    assert "error.type" not in told(telemetry.span)
    assert telemetry.observer.calls == {}


def test_a_stream_that_outlives_its_loop_has_one_span() -> None:
    """Whoever lets go of it last, in whatever thread."""
    telemetry = Telemetry()
    kept: list[Any] = []
    with FakeSiliconFlow().threaded() as server:
        server.raw([chunk("a"), Stall()])

        async def main() -> None:
            client = AsyncSiliconFlow("k", base_url=server.base_url, observers=[telemetry.observer])
            kept.append(await client.chat.completions.create(**ASK, stream=True))
            await client.aclose()

        asyncio.run(main())
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        gc.collect()
    assert told(telemetry.span)["siliconflow.ended"] == "closed"


async def test_a_call_that_is_cancelled_has_one_span() -> None:
    """While it waits for its answer."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.raw([Stall()])
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await server.received(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert told(telemetry.span)["siliconflow.ended"] == "closed"
    assert telemetry.span.status.status_code is StatusCode.UNSET


async def test_a_refusal() -> None:
    """With the status, the code, and the class of the error."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.fail(400, {"code": 20015, "message": "secret"})
        with pytest.raises(APIStatusError):
            await client.chat.completions.create(**ASK)
    span = telemetry.span
    assert span.status.status_code is StatusCode.ERROR
    names = ("error.type", "http.response.status_code", "siliconflow.error.code", "siliconflow.ended")
    assert [told(span)[name] for name in names] == ["BadRequestError", 400, 20015, "error"]
    assert "secret" not in span.to_json()
    check_names(telemetry)


# What happens on the way


async def test_retries_are_events() -> None:
    """Of one span, each with the error before it."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer], retry=PLENTY) as (server, client):
        server.fail(503, times=2, headers={"Retry-After": "0.05"})
        await client.chat.completions.create(**ASK)
    span = telemetry.span
    assert told(span)["siliconflow.attempts"] == 3
    events = [(event.name, dict(event.attributes or {})) for event in span.events]
    assert [name for name, _ in events] == ["siliconflow.retry"] * 2
    for attempt, (_, attributes) in enumerate(events, 2):
        assert attributes.pop("siliconflow.seconds") == 0.05
        assert attributes == {
            "error.type": "OverloadedError",
            "http.response.status_code": 503,
            "siliconflow.attempt": attempt,
        }
    (point,) = telemetry.points("siliconflow.client.retries")
    assert (point.value, point.attributes["error.type"]) == (2, "OverloadedError")
    check_names(telemetry)


async def test_a_retry_is_an_event_as_its_wait_begins_and_counted_as_it_is_sent() -> None:
    """A call that is cancelled while it waits has been sent but once."""
    telemetry = Telemetry()
    waiting = asyncio.Event()

    class Waiting:
        def retried(self, state: CallState) -> None:
            waiting.set()

    async with served(observers=[telemetry.observer, Waiting()], retry=PLENTY) as (server, client):
        server.fail(503, headers={"Retry-After": "59"})
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await waiting.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    (event,) = telemetry.span.events
    assert (event.name, dict(event.attributes or {})["siliconflow.seconds"]) == ("siliconflow.retry", 59)
    assert told(telemetry.span)["siliconflow.attempts"] == 1
    assert telemetry.points("siliconflow.client.retries") == []


async def test_a_continuation_is_an_event() -> None:
    """Its own retries are told apart from it."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer], retry=PLENTY) as (server, client):
        server.raw([chunk("Once "), Rst()])
        server.fail(503)
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            await stream.completion()
    assert [event.name for event in telemetry.span.events] == ["siliconflow.resume", "siliconflow.retry"]
    assert told(telemetry.span)["siliconflow.attempts"] == 3


async def test_waits_at_a_gate_are_events() -> None:
    """Each for itself, and all of them in an attribute."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.05"})
        async with client.chat.completions.map([ASK]) as results:
            (result,) = [result async for result in results]
    (span,) = telemetry.named("chat")
    (event,) = (event for event in span.events if event.name == "siliconflow.wait")
    assert event.attributes is not None
    assert event.attributes["siliconflow.seconds"] == told(span)["siliconflow.waited"] == result.times.waited > 0
    assert event.attributes["siliconflow.attempt"] == 2
    (point,) = telemetry.points("siliconflow.client.wait.duration")
    assert point.sum == result.times.waited
    check_names(telemetry)


async def test_traceparent_is_sent() -> None:
    """That of the call's span, with every attempt; baggage, which is nobody else's to know, is not."""
    telemetry = Telemetry()
    token = context.attach(baggage.set_baggage("customer", "secret"))
    try:
        async with served(observers=[telemetry.observer], retry=PLENTY) as (server, client):
            server.fail(503)
            await client.chat.completions.create(**ASK)
    finally:
        context.detach(token)
    identity = telemetry.span.get_span_context()
    assert identity is not None
    for request in server.requests:
        assert request.headers["traceparent"].startswith(f"00-{identity.trace_id:032x}-{identity.span_id:016x}-")
        assert "baggage" not in request.headers
    assert len(server.requests) == 2


# Parents


async def test_the_parent_is_the_span_that_is_current() -> None:
    """And it stays current while a stream is open."""
    telemetry = Telemetry()
    tracer = telemetry.tracers.get_tracer("app")
    async with served(observers=[telemetry.observer]) as (_, client):
        with tracer.start_as_current_span("handler") as handler:
            async with client.chat.completions.stream(**ASK) as stream:
                async for _chunk in stream:
                    assert trace.get_current_span() is handler
            assert trace.get_current_span() is handler
    (call,) = telemetry.named("chat")
    assert parent_of(call) == id_of(handler)


async def test_a_map_is_a_parent() -> None:
    """Of each of its calls, and itself a child of the span that is current."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.fail(400)
        with telemetry.tracers.get_tracer("app").start_as_current_span("job") as job:
            async with client.chat.completions.map([ASK] * 5) as results:
                assert len([result async for result in results]) == 5
    (run,) = telemetry.named("map")
    assert parent_of(run) == id_of(job)
    assert {parent_of(call) for call in telemetry.named("chat")} == {id_of(run)}
    assert told(run) == {
        "gen_ai.provider.name": "siliconflow",
        "siliconflow.run": "map",
        "siliconflow.ended": "done",
        "siliconflow.run.calls": 5,
        "siliconflow.run.failed": 1,
    }
    check_names(telemetry)


@pytest.mark.parametrize("how", ["left", "forgotten"])
async def test_a_map_that_is_left_has_one_span(how: str) -> None:
    """And so have its calls."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.raw([chunk("a"), Stall()])
        server.raw([chunk("a"), Stall()])
        results = client.chat.completions.map([ASK] * 2)
        await results.__aenter__()
        await server.received(2)
        if how == "left":
            await results.__aexit__(None, None, None)
        del results
        gc.collect()
        await settled(lambda: not telemetry.observer.calls)
        await asyncio.sleep(0)
    assert len(telemetry.named("chat")) == 2
    (run,) = telemetry.named("map")
    assert told(run)["siliconflow.ended"] == "closed"
    assert run.status.status_code is StatusCode.UNSET


async def test_a_map_that_fails_is_an_error() -> None:
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.fail(400)
        async with client.chat.completions.map([ASK], fail_fast=True) as results:
            with pytest.raises(APIStatusError):
                await anext(results)
    (run,) = telemetry.named("map")
    assert (run.status.status_code, told(run)["error.type"]) == (StatusCode.ERROR, "BadRequestError")


async def test_a_batch_is_a_parent(tmp_path: Path) -> None:
    telemetry = Telemetry()
    lines = [
        {"custom_id": f"{number}", "method": "POST", "url": "/v1/chat/completions", "body": ASK} for number in range(3)
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    async with served(observers=[telemetry.observer]) as (_, client):
        await run_batch(client, path, tmp_path / "results.jsonl")
    (run,) = telemetry.named("batch")
    assert [parent_of(call) for call in telemetry.named("chat")] == [id_of(run)] * 3


def weather(city: str) -> str:
    return f"sunny in {city}"


def broken(city: str) -> str:
    raise ValueError("secret")


async def test_a_conversation_with_tools_is_a_parent() -> None:
    """Of its answers and of each call of a tool, whose span is current in the tool, also in a thread."""
    telemetry = Telemetry()
    current: list[Any] = []

    async def ask(city: str) -> str:
        current.append(trace.get_current_span())
        done = await client.chat.completions.create(**ASK)
        return done.content or ""

    def look(city: str) -> str:
        current.append(trace.get_current_span())
        return "so"

    async with served(observers=[telemetry.observer]) as (server, client):
        call = {"city": "Xi'an"}
        server.reply(tool_calls=[{"name": name, "arguments": call} for name in ("ask", "look", "broken")])
        run = client.chat.completions.run_tools(**ASK, tools=[ask, look, broken])
        await run.completion()
        assert not trace.get_current_span().get_span_context().is_valid
    (conversation,) = telemetry.named("run_tools")
    assert conversation.parent is None
    assert told(conversation)["gen_ai.operation.name"] == "invoke_agent"
    assert told(conversation)["siliconflow.run.calls"] == 2
    tools = {told(span)["gen_ai.tool.name"]: span for span in telemetry.named("execute_tool")}
    assert {span.name for span in tools.values()} == {"execute_tool ask", "execute_tool look", "execute_tool broken"}
    assert {parent_of(span) for span in tools.values()} == {id_of(conversation)}
    assert {id_of(span) for span in current} == {id_of(tools["ask"]), id_of(tools["look"])}
    parents = [parent_of(span) for span in telemetry.named("chat")]
    assert sorted(parents, key=str) == sorted([id_of(conversation)] * 2 + [id_of(tools["ask"])], key=str)
    assert tools["broken"].status.status_code is StatusCode.ERROR
    assert told(tools["broken"])["error.type"] == "ValueError"
    assert "secret" not in tools["broken"].to_json()
    identities = {call.id for call in run.completions[0].tool_calls or ()}
    assert {told(span)["gen_ai.tool.call.id"] for span in tools.values()} == identities
    check_names(telemetry)


@pytest.mark.parametrize("how", ["aclose", "forget", "cancel"])
async def test_a_conversation_that_is_left_has_one_span(how: str) -> None:
    """And so has the tool that ran."""
    telemetry = Telemetry()
    began = asyncio.Event()

    async def wait(city: str) -> str:
        began.set()
        await asyncio.Event().wait()
        return ""

    async with served(observers=[telemetry.observer]) as (server, client):
        server.reply(tool_calls=[{"name": "wait", "arguments": {"city": "Xi'an"}}])
        run = client.chat.completions.run_tools(**ASK, tools=[wait])
        reading = asyncio.ensure_future(run.completion())
        await began.wait()
        if how == "aclose":
            await run.aclose()
        reading.cancel()
        await asyncio.wait([reading])
        if how == "cancel":
            await run.aclose()
        del run, reading
        gc.collect()
        await settled(lambda: bool(telemetry.named("execute_tool")))
    (conversation,) = telemetry.named("run_tools")
    (tool,) = telemetry.named("execute_tool")
    assert (told(conversation)["siliconflow.ended"], told(tool)["siliconflow.ended"]) == ("closed", "closed")


async def test_a_conversation_that_nobody_reads_on_has_one_span() -> None:
    """It is told of when it is forgotten between two events."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (_, client):
        run = client.chat.completions.run_tools(**ASK, tools=[weather])
        await anext(run)
        del run
        gc.collect()
        await settled(lambda: not telemetry.observer.calls)
    assert told(telemetry.named("run_tools")[0])["siliconflow.ended"] == "closed"
    assert len(telemetry.named("chat")) == 1


# Metrics


async def test_the_metrics_of_a_stream() -> None:
    """Its time, its first token and its tokens, in the convention's buckets."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.reply("Hello", usage={"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12})
        async with client.chat.completions.stream(**ASK) as stream:
            done = await stream.completion()
    for name in ("gen_ai.client.operation.duration", "gen_ai.client.operation.time_to_first_chunk"):
        (point,) = telemetry.points(name)
        assert tuple(point.explicit_bounds) == tuple(0.01 * 2**power for power in range(14))
        assert (point.count, point.attributes["gen_ai.request.model"]) == (1, MODEL)
        assert done.timing.total is not None
        assert 0 < point.sum <= done.timing.total + 0.1
    tokens = telemetry.points("gen_ai.client.token.usage")
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in tokens} == {"input": 7, "output": 5}
    assert tuple(tokens[0].explicit_bounds) == tuple(4**power for power in range(14))
    check_names(telemetry)


async def test_the_metrics_of_a_failure() -> None:
    """Its duration, with the class of the error; no tokens, no first token."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer]) as (server, client):
        server.fail(400)
        with pytest.raises(APIStatusError):
            await client.chat.completions.create(**ASK)
    (point,) = telemetry.points("gen_ai.client.operation.duration")
    assert point.attributes["error.type"] == "BadRequestError"
    assert telemetry.metrics().keys() == {"gen_ai.client.operation.duration"}


async def test_open_streams_are_counted() -> None:
    """By their model, whichever observer of a provider knows of them; none is left."""
    telemetry = Telemetry()
    second = telemetry.another()
    name = "siliconflow.client.open_streams"
    async with served(observers=[telemetry.observer]) as (_, client):
        other = client.with_options(observers=[second])
        async with client.chat.completions.stream(**ASK), other.chat.completions.stream(**ASK):
            (point,) = telemetry.points(name)
            assert (point.value, point.attributes["gen_ai.request.model"]) == (2, MODEL)
        assert telemetry.points(name) == []


async def test_limits_are_told() -> None:
    """Those of a model that were given, and that were learned; those of a client and its copies once."""
    telemetry = Telemetry()
    async with served(observers=[telemetry.observer], limits=Limit(rpm=100, tpm=5000)) as (_, client):
        await client.with_options(timeout=5).chat.completions.create(**ASK)
        for name, value in (("requests", 100), ("tokens", 5000)):
            (point,) = telemetry.points(f"siliconflow.client.limit.{name}")
            assert (point.value, point.attributes["gen_ai.request.model"]) == (value, MODEL)
            assert point.attributes["siliconflow.limit.learned"] is False
        (point,) = telemetry.points("siliconflow.client.waiting")
        assert point.value == 0
    check_names(telemetry)
    del client
    gc.collect()
    assert telemetry.points("siliconflow.client.waiting") == []


async def test_the_time_for_each_chunk_is_recorded_only_if_asked() -> None:
    """For each but the first."""
    name = "gen_ai.client.operation.time_per_output_chunk"
    script = [chunk("a"), chunk("b"), chunk("c"), chunk("", finish="stop"), DONE]
    for asked, count in ((False, 0), (True, 3)):
        telemetry = Telemetry(time_per_output_chunk=asked)
        async with served(observers=[telemetry.observer]) as (server, client):
            server.raw(script)
            async with client.chat.completions.stream(**ASK) as stream:
                await stream.completion()
        assert sum(point.count for point in telemetry.points(name)) == count
        check_names(telemetry)


# Content


async def test_content_is_told_only_if_asked() -> None:
    """As the convention's event, beside the span of its call."""
    question = [
        {"role": "user", "content": [{"type": "text", "text": "Which?"}, {"type": "image_url", "image_url": {}}]}
    ]
    for asked in (False, True):
        telemetry = Telemetry(content=asked)
        async with served(observers=[telemetry.observer]) as (server, client):
            server.reply("Blue.")
            await client.chat.completions.create(model=MODEL, messages=question)
            server.fail(400, {"code": 20015, "message": "not blue"})
            with pytest.raises(APIStatusError):
                await client.chat.completions.create(model=MODEL, messages=question)
        everything = "".join(span.to_json() for span in telemetry.spans) + repr(
            [record.attributes for record in telemetry.records]
        )
        assert ("lue" in everything, "Which" in everything) == (asked, asked)
        assert [record.event_name for record in telemetry.records] == [GenAI.DETAILS] * (2 * asked)
        check_names(telemetry)
    answered, refused = (dict(record.attributes) for record in telemetry.records)
    assert [record.span_id for record in telemetry.records] == [id_of(span) for span in telemetry.spans]
    asked_for = [{"role": "user", "parts": [{"type": "text", "content": "Which?"}, {"type": "image"}]}]
    assert plain(answered[GenAI.INPUT_MESSAGES]) == plain(refused[GenAI.INPUT_MESSAGES]) == asked_for
    assert plain(answered[GenAI.OUTPUT_MESSAGES]) == [
        {"role": "assistant", "parts": [{"type": "text", "content": "Blue."}], "finish_reason": "stop"}
    ]
    assert GenAI.OUTPUT_MESSAGES not in refused


async def test_the_content_of_a_conversation_with_tools() -> None:
    """The model's calls and what came of them."""
    telemetry = Telemetry(content=True)
    async with served(observers=[telemetry.observer]) as (server, client):
        server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Xi'an"}}], reasoning="Hm.")
        run = client.chat.completions.run_tools(**ASK, tools=[weather])
        await run.completion()
    (call,) = run.completions[0].tool_calls or ()
    _, assistant, tool = plain(dict(telemetry.records[-1].attributes)[GenAI.INPUT_MESSAGES])
    made = {"type": "tool_call", "id": call.id, "name": "weather", "arguments": {"city": "Xi'an"}}
    assert made in assistant["parts"]
    answer = {"type": "tool_call_response", "id": call.id, "response": "sunny in Xi'an"}
    assert tool == {"role": "tool", "parts": [answer]}


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


# Without an SDK


def run_program(code: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", code], env=environment(), check=True, timeout=60)


def test_nothing_of_it_is_imported_without_the_integration() -> None:
    """Neither by the package nor by its other parts."""
    run_program(
        "import sys, siliconflow_async, siliconflow_async.relay, siliconflow_async.batch, siliconflow_async.cli\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )


def test_without_an_sdk_calls_are_not_watched_and_one_that_is_set_later_counts() -> None:
    """The providers are the global ones, which are looked for until there are any."""
    run_program(
        """
import time
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from siliconflow_async.integrations.otel import OpenTelemetry

traced, measured = OpenTelemetry(), OpenTelemetry()
assert not traced.watches()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
deadline = time.monotonic() + 30
while not measured.watches():
    assert time.monotonic() < deadline
assert measured.watches()
"""
    )


def test_a_client_that_has_it_is_pickled() -> None:
    """Providers stay where they are; what was asked for is asked for there too."""
    telemetry = Telemetry(content=True, time_per_output_chunk=True)
    client = AsyncSiliconFlow("k", observers=[telemetry.observer])
    observer = pickle.loads(pickle.dumps(telemetry.observer))
    assert (observer.content, hasattr(observer, "progress")) == (True, True)
    assert pickle.dumps(client)
    assert not hasattr(pickle.loads(pickle.dumps(Telemetry().observer)), "progress")


async def test_a_call_that_nobody_watches_is_left_alone() -> None:
    """No header is sent for it."""
    observer = OpenTelemetry(tracer_provider=trace.NoOpTracerProvider(), meter_provider=NoOpMeterProvider())
    assert not observer.watches()
    async with served(observers=[observer]) as (server, client):
        await client.chat.completions.create(**ASK)
        async with client.chat.completions.map([ASK]) as results:
            assert len([result async for result in results]) == 1
    assert observer.calls == {}
    assert all("traceparent" not in request.headers for request in server.requests)
