"""What observers cost: `python -m benchmarks.observing [--rounds N] [--quick]`.

CPU time of this process, for a whole answer (one or a hundred at a time, connections kept) and for a chunk of a
stream, by who watches:

    nobody        no observers
    empty         an observer with every hook, none of which does anything
    api           OpenTelemetry without an SDK: to cost at most 1.02 × of nobody
    by hand       an SDK that exports spans in batches, and meters: a span with as many attributes, and the records of
                  the conventions, made by hand, and nothing else: what the SDK itself takes
    sdk           OpenTelemetry with the same SDK: to cost at most 80 µs more a request than nobody
    per chunk     … and a record for each chunk

All take turns in one process, in another order each round; figures are medians, ratios those within a round. An answer
that is not what the server sent, a span that is missing and a metric that lacks a call are errors.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import gc
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.integrations.otel import OpenTelemetry

from .fixtures import make, whole_answer
from .server import Server

_ASK: Any = {"model": "stand-in/Large-Instruct-2507", "messages": [{"role": "user", "content": "Say something long."}]}
_PER_BLOCK = 4


class _Empty:
    def waited(self, state: Any) -> None: ...

    sent = answered = first_token = progress = retried = ended = run_began = run_ended = attached = waited


class _Counting(SpanExporter):
    def __init__(self) -> None:
        self.spans = 0

    def export(self, spans: Any) -> SpanExportResult:
        self.spans += len(spans)
        return SpanExportResult.SUCCESS


class _ByHand:
    """Calls the SDK as often as OpenTelemetry does for a call that goes well, and knows nothing of the call."""

    def __init__(self, traces: TracerProvider, meters: MeterProvider) -> None:
        meter = meters.get_meter("by hand")
        self._tracer = traces.get_tracer("by hand")
        self._duration = meter.create_histogram("gen_ai.client.operation.duration")
        self._tokens = meter.create_histogram("gen_ai.client.token.usage")
        self._at_first = {f"gen_ai.request.attribute_{number}": "a value" for number in range(5)}
        self._at_last = {f"gen_ai.response.attribute_{number}": "a value" for number in range(9)}
        self._spans: dict[Any, Any] = {}

    def sent(self, state: Any) -> None:
        self._spans[state] = self._tracer.start_span("by hand", None, SpanKind.CLIENT, self._at_first)

    def ended(self, state: Any) -> None:
        span = self._spans.pop(state)
        span.set_attributes(self._at_last)
        self._duration.record(state.seconds, self._at_first)
        for tokens in (state.usage.prompt_tokens, state.usage.completion_tokens):
            self._tokens.record(tokens, self._at_first)
        span.end()


class _Sdk:
    """OpenTelemetry with everything behind it but a network."""

    def __init__(self, *, by_hand: bool = False, **options: Any) -> None:
        self._exporter = _Counting()
        self._traces = TracerProvider(shutdown_on_exit=False)
        self._traces.add_span_processor(BatchSpanProcessor(self._exporter, max_queue_size=100_000))
        self._reader = InMemoryMetricReader()
        meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer: object = (
            _ByHand(self._traces, meters)
            if by_hand
            else OpenTelemetry(tracer_provider=self._traces, meter_provider=meters, **options)
        )

    def check(self, calls: int) -> None:
        """Raise unless so many calls were told of since the beginning."""
        self._traces.force_flush()
        found = self._reader.get_metrics_data()
        assert found is not None
        metrics = found.resource_metrics[0].scope_metrics[0].metrics
        (points,) = (metric.data.data_points for metric in metrics if metric.name == "gen_ai.client.operation.duration")
        measured = sum(point.count for point in points)
        if (self._exporter.spans, measured) != (calls, calls):
            raise SystemExit(f"{calls} calls, but {self._exporter.spans} spans and {measured} in the metric")


async def _wholes(client: AsyncSiliconFlow, requests: int, at_once: int) -> None:
    expected = whole_answer()[1]
    left = requests

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            done = await client.chat.completions.create(**_ASK)
            if done.content != expected:
                raise SystemExit("an answer is not what was sent")

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _stream(client: AsyncSiliconFlow, chunks: int) -> None:
    got = []
    async with client.chat.completions.stream(**_ASK) as stream:
        async for chunk in stream:
            got.append(chunk.choices[0].delta.content or "")
    if "".join(got) != make("text", chunks, _PER_BLOCK).said:
        raise SystemExit("a stream is not what was sent")


async def _turns(
    title: str, unit: str, each: int, runs: dict[str, Callable[[], Awaitable[None]]], rounds: int
) -> dict[str, float]:
    """Print and return the CPU of each, in microseconds by `each`."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    rng = random.Random(0)
    for number in range(rounds + 1):
        rng.shuffle(order)
        for name in order:
            gc.collect()
            gc.freeze()
            began = time.process_time()
            await runs[name]()
            if number:  # the first was to warm up
                found[name].append((time.process_time() - began) * 1e6 / each)
    print(f"\n{title}: CPU per {unit}, µs, median of {rounds}")
    for name, values in found.items():
        pairs = list(zip(values, found["nobody"], strict=True))
        ratio = statistics.median(own / one for own, one in pairs)
        more = statistics.median(own - one for own, one in pairs)
        print(f"  {name:12}{statistics.median(values):9.2f}  {ratio:6.3f} ×  {more:+8.2f} µs")
    return {name: statistics.median(values) for name, values in found.items()}


async def _measure(rounds: int, requests: int, chunks: int) -> None:
    async with Server() as server:
        await _measure_by(server, rounds, requests, chunks)


async def _measure_by(server: Server, rounds: int, requests: int, chunks: int) -> None:
    by_hand, sdk, per_chunk = _Sdk(by_hand=True), _Sdk(), _Sdk(time_per_output_chunk=True)
    watching: dict[str, list[object]] = {
        "nobody": [],
        "empty": [_Empty()],
        "api": [OpenTelemetry()],
        "by hand": [by_hand.observer],
        "sdk": [sdk.observer],
        "per chunk": [per_chunk.observer],
    }

    async def turns(title: str, unit: str, url: str, each: int, ask: Any) -> None:
        clients = {name: AsyncSiliconFlow("key", base_url=url, observers=who) for name, who in watching.items()}
        runs = {name: lambda client=client: ask(client, each) for name, client in clients.items()}
        await _turns(title, unit, each, runs, rounds)
        for client in clients.values():
            await client.aclose()

    for at_once in (1, 100):
        ask = functools.partial(_wholes, at_once=at_once)
        await turns(f"whole answers, {at_once} at a time", "request", server.url("whole"), requests, ask)
    await turns("a stream", "chunk", server.url("bulk", "text", chunks, _PER_BLOCK), chunks, _stream)
    for one in (by_hand, sdk, per_chunk):
        one.check((2 * requests + 1) * (rounds + 1))


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=21, metavar="N", help="how often each has its turn")
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run? The figures mean nothing")
    options = parser.parse_args(arguments)
    rounds, requests, chunks = (1, 100, 60) if options.quick else (options.rounds, 1_000, 5_000)
    asyncio.run(_measure(rounds, requests, chunks))


if __name__ == "__main__":
    main(sys.argv[1:])
