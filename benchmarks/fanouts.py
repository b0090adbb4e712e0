"""Many requests at once: ways of asking them, and what that costs beyond the requests themselves.

Each way asks for streams and returns every answer with its number. What it costs beyond the requests is what `SELF`,
this library's stream under gather and a semaphore, does not cost: `MAP`, aiometer and async-batch-llm ask by the very
same call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, ClassVar, Self, TypeAlias

from siliconflow_async import AsyncSiliconFlow

from . import OURS, UNIT
from .children import LINUX, alone, rss
from .contestants import Entrant
from .entries import load
from .fixtures import MESSAGES, MODEL, make
from .measure import Sample, Setting, WrongAnswer, compare, cpu_of

CPU = "CPU per item, µs"
BEYOND = "beyond the requests, µs"
# As many at a time.
AT_ONCE = 100
# Of a short answer, in one read.
CHUNKS = 20
SELF = f"{OURS} gathered"
MAP = f"{OURS} map()"
# The number of each request, and what it was answered.
Answers: TypeAlias = Iterable[tuple[int, str | None]]


class FanOut(Entrant):
    """A way of asking many. This one gathers, behind a semaphore."""

    # The contestant that asks.
    asker: ClassVar[str] = f"{OURS} completion()"
    # Is given a fifth to do.
    slow: ClassVar[bool] = False

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self._reader = load(self.asker)(base_url)

    @classmethod
    def check(cls) -> None:
        super().check()
        load(cls.asker)

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._reader.__aexit__(*error)

    async def ask(self, count: int) -> Answers:
        """Ask so many requests, `AT_ONCE` at a time."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def in_turn(number: int) -> tuple[int, str | None]:
            async with turn:
                return await self.one(number)

        return await asyncio.gather(*map(in_turn, range(count)))

    async def one(self, number: int) -> tuple[int, str | None]:
        texts: list[str | None] = []
        await self._reader.stream(texts.append)
        return number, "".join(text or "" for text in texts)


class _Self(FanOut):
    name = SELF


class _Map(FanOut):
    name = MAP

    async def __aenter__(self) -> Self:
        self._client = AsyncSiliconFlow("key", base_url=self.base_url, max_connections=10_000)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def ask(self, count: int) -> Answers:
        requests: Iterable[dict[str, Any]] = ({"model": MODEL, "messages": MESSAGES} for _ in range(count))
        async with self._client.chat.completions.map(requests, max_concurrency=AT_ONCE) as results:
            return [(one.index, one.completion.content if one.completion else None) async for one in results]


class _Unit(FanOut):
    name = asker = UNIT


class _Aiometer(FanOut):
    name = package = "aiometer"
    modules = distributions = ("aiometer",)

    async def ask(self, count: int) -> Answers:
        import aiometer

        calls = [partial(self.one, number) for number in range(count)]
        answers: Answers = await aiometer.run_all(calls, max_at_once=AT_ONCE)
        return answers


class _AsyncBatchLLM(FanOut):
    name = package = "async-batch-llm"
    modules = ("async_batch_llm",)
    distributions = ("async-batch-llm",)
    slow = True

    async def ask(self, count: int) -> Answers:
        from async_batch_llm import ArtifactIdentity, CallableStrategy, CallOutcome, ProcessorConfig, process_stream

        async def invoke(prompt: str, **options: Any) -> Any:
            _, answer = await self.one(int(prompt))
            return CallOutcome(answer)

        strategy = CallableStrategy(invoke, identity=ArtifactIdentity(provider="stand-in", model=MODEL))
        results = process_stream(
            strategy, ((str(n), str(n)) for n in range(count)), config=ProcessorConfig(concurrency=AT_ONCE)
        )
        return [(int(result.item_id), result.output) async for result in results]


class _Litellm(FanOut):
    name = asker = package = "litellm"
    slow = True


FANOUTS: tuple[type[FanOut], ...] = (_Unit, _Self, _Map, _Aiometer, _AsyncBatchLLM, _Litellm)


async def asked(way: FanOut, count: int, expected: str) -> Sample:
    """Time so many requests; raise WrongAnswer unless each of them has its answer, once."""
    answers: list[tuple[int, str | None]] = []

    async def work() -> None:
        answers.extend(await way.ask(count))

    cpu = await cpu_of(work)
    if sorted(number for number, _ in answers) != list(range(count)):
        raise WrongAnswer(f"{way.name} lost or doubled some of {count} requests: {len(answers)} answers")
    if wrong := sum(answer != expected for _, answer in answers):
        raise WrongAnswer(f"{way.name}: {wrong} wrong answers to {count} requests")
    return {CPU: cpu * 1e6 / count}


async def fan_out(setting: Setting) -> None:
    """CPU per item of `map`, short answers, 100 at a time, and what of it is not the requests' own."""
    fixture = make("text", CHUNKS)
    url = setting.server.url("bulk", fixture.name, CHUNKS, CHUNKS)
    async with AsyncExitStack() as stack:
        runs = {}
        for name, kind in setting.fanouts.items():
            way = await stack.enter_async_context(kind(url))
            count = setting.size(1_000, 120) // (5 if kind.slow else 1)
            runs[name] = partial(asked, way, count, fixture.said)
        # A difference of two times that scatter more than it is large: many short turns tell it best.
        found = await compare(runs, rounds=setting.count(41), note=setting.note)
    if SELF in found:
        for name, kind in setting.fanouts.items():
            if name != SELF and kind.asker == setting.fanouts[SELF].asker:
                for sample, requests in zip(found[name], found[SELF], strict=True):
                    sample[BEYOND] = sample[CPU] - requests[CPU]
    setting.add(f"{AT_ONCE} at a time", found, ratios=(CPU,))


async def items(setting: Setting) -> None:
    """100,000 items through one `map`: items per second, and resident memory as they pass."""
    if MAP in setting.fanouts:
        count = setting.size(100_000, 500)
        run = partial(
            alone, "fanouts.long_run", setting.loop, setting.server.url("bulk", "text", CHUNKS, CHUNKS), count
        )
        await setting.measure(f"{count:,} items, {AT_ONCE} at a time", {MAP: run})


async def long_run(url: str, count: int) -> Sample:
    """Measure one `map`, of which no item may be lost, doubled or wrong."""
    expected = make("text", CHUNKS).said
    places = {max(1, count * share // 100): share for share in (10, 50, 100)}
    seen = bytearray(count)
    memory: Sample = {}
    number = 0
    began, cpu = time.monotonic(), time.process_time()
    async with AsyncSiliconFlow("key", base_url=url, max_connections=AT_ONCE) as client:
        requests = ({"model": MODEL, "messages": MESSAGES, "custom_id": str(place)} for place in range(count))
        async with client.chat.completions.map(requests, max_concurrency=AT_ONCE) as results:
            async for result in results:
                if result.completion is None or result.completion.content != expected:
                    raise WrongAnswer(f"item {result.index}: {result.error!r}")
                if seen[result.index] or result.custom_id != str(result.index):
                    raise WrongAnswer(f"item {result.index} came twice, or as {result.custom_id}")
                seen[result.index] = True
                number += 1
                if number in places and LINUX:
                    memory[f"resident at {places[number]} %, MiB"] = rss()[0] / 2**20
    if number != count:
        raise WrongAnswer(f"{number} results of {count} items")
    lasted, cpu = time.monotonic() - began, time.process_time() - cpu
    return {"items per second": count / lasted, CPU: cpu * 1e6 / count, **memory}
