"""Cases whose contestants take turns in this process: bulk streams, how their work grows, and what comes before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol

from . import OURS, RAW, UNIT
from .contestants import Contestant
from .fixtures import NAMES, PER_BLOCK, Fixture, huge_event, make
from .measure import Sample, Setting, WrongAnswer, cpu_of, percentile
from .report import PER_SECOND

_CPU = "CPU per chunk, µs"
_CPU_OF_A_STREAM = "CPU per stream, µs"
_MIB = 2**20


def check(reader: Contestant, fixture: Fixture, texts: list[str | None]) -> None:
    """Raise WrongAnswer unless these are the pieces of the fixture."""
    if not reader.decodes:
        right = len(texts) == fixture.chunks
    else:
        # Pieces without text are left out by some; a completion is one piece.
        pieces = sum(map(bool, texts))
        right = "".join(text or "" for text in texts) == fixture.said and (
            not reader.streams or fixture.calls != () or pieces == fixture.chunks - 2
        )
    if not right:
        raise WrongAnswer(f"{reader.name} did not read {fixture.name} as it was sent")


async def _in_a_row(reader: Contestant, fixture: Fixture, times: int) -> Sample:
    """Time answers one after the other, then check what came."""
    taken: list[list[str | None]] = [[] for _ in range(times)]

    async def read() -> None:
        for texts in taken:
            await reader.stream(texts.append)

    cpu = await cpu_of(read)
    for texts in taken:
        check(reader, fixture, texts)
    return {_CPU: cpu * 1e6 / (fixture.chunks * times)}


async def _in_turns(
    setting: Setting, variant: str, fixtures: Mapping[str, Fixture], rounds: int, times: int = 1
) -> None:
    """Measure how each contestant reads its fixture, so many times in a row, on a connection that it keeps."""
    async with AsyncExitStack() as stack:
        runs = {}
        for name, fixture in fixtures.items():
            url = setting.server.url("bulk", fixture.name, fixture.chunks, PER_BLOCK)
            reader = await stack.enter_async_context(setting.contestants[name](url))
            runs[name] = partial(_in_a_row, reader, fixture, times)
        await setting.measure(variant, runs, rounds, warm_up=True, ratios=(_CPU,))


async def bulk(setting: Setting) -> None:
    """CPU per chunk of a stream of text; peers read a tenth of it."""
    chunks = setting.size(20_000, 60)
    fixtures = {
        name: make("text", chunks if kind.quick_to_read else max(chunks // 10, 60))
        for name, kind in setting.contestants.items()
    }
    await _in_turns(setting, f"text, blocks of {PER_BLOCK} chunks", fixtures, 9)


async def inputs(setting: Setting) -> None:
    """CPU per chunk of every input, for this library and, where it can read them, the unit."""
    kinds = {name: kind for name, kind in setting.contestants.items() if name in (UNIT, OURS)}
    for fixture in (make(name, setting.size(10_000, 60)) for name in NAMES):
        fixtures = {name: fixture for name, kind in kinds.items() if fixture.simple or kind.full_sse}
        await _in_turns(setting, fixture.name, fixtures, 5)


async def scaling(setting: Setting) -> None:
    """What should be linear: the figure per unit of work stays as the work grows."""
    total = setting.size(20_000, 200)
    for chunks in setting.size((10, 100, 1_000, 10_000), (10, 100)):
        fixtures = {name: make("text", chunks) for name in (UNIT, OURS) if name in setting.contestants}
        await _in_turns(setting, f"{chunks:,} chunks", fixtures, 5, total // chunks)
    sizes = setting.size((_MIB * 5 // 8, _MIB * 5 // 4, _MIB * 5 // 2, 5 * _MIB, 10 * _MIB), (64 * 1024,))
    if OURS in setting.contestants:
        for size in sizes:
            run = partial(_huge, setting.contestants[OURS], setting.server.url("huge", size), size)
            await setting.measure(f"one event of {size / _MIB:g} MiB in 1 KiB pieces", {OURS: run}, 3, warm_up=True)
    # Without a socket, so that the pieces are what they are said to be.
    for size in sizes[-4:]:
        event, content = huge_event(size)
        pieces = [event[at : at + 1024] for at in range(0, len(event), 1024)]
        run = partial(_fold, pieces, content, "protocol alone, CPU per MiB, ms", 1e3 * _MIB / size)
        await setting.measure(f"{size / _MIB:g} MiB", {OURS: run}, 5, warm_up=True, loop="")
    for deltas in setting.size((4_000, 8_000, 16_000, 32_000, 64_000), (500,)):
        fixture = make("text", deltas + 2)
        metric = "protocol and folding alone, CPU per delta, µs"
        run = partial(_fold, fixture.blocks, fixture.content, metric, 1e6 / deltas)
        await setting.measure(f"{deltas:,} deltas folded", {OURS: run}, 5, warm_up=True, loop="")


async def _huge(kind: type[Contestant], url: str, size: int) -> Sample:
    taken: list[str | None] = []
    async with kind(url) as reader:
        cpu = await cpu_of(lambda: reader.stream(taken.append))
    if taken[0] != huge_event(size)[1]:
        raise WrongAnswer(f"{kind.name} did not read an event of {size} bytes as it was sent")
    return {"CPU per MiB, ms": cpu * 1e3 * _MIB / size}


async def _fold(pieces: Iterable[bytes], content: str | None, metric: str, scale: float) -> Sample:
    began = time.process_time()
    protocol, accumulator = ChatProtocol(16 * _MIB), Accumulator()
    for piece in pieces:
        accumulator.fold(protocol.feed(piece))
    got = accumulator.completion().content
    cpu = time.process_time() - began
    if got != content:
        raise WrongAnswer("what was sent did not fold to its content")
    return {metric: cpu * scale}


async def streams(setting: Setting) -> None:
    """From one stream to 2,000 at the same time, each chunk a write of its own: chunks per second of CPU."""
    for count in setting.size((1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000), (1, 5)):
        runs: dict[str, Callable[[], Awaitable[Sample]]] = {}
        for name, kind in setting.contestants.items():
            if name in (UNIT, RAW, OURS) or (kind.streams and count <= 1_000 and ".stream()" not in name):
                budget = setting.size(20_000, 60) // (1 if kind.quick_to_read else 10)
                # As long as a short answer: what opening costs is another case.
                least = setting.size(200, 20) if kind.quick_to_read else 20
                chunks = max(budget // count, least)
                runs[name] = partial(_at_once, kind, setting.server.url("bulk", "text", chunks, 1), chunks, count)
        await setting.measure(f"{count}", runs, 3, ratios=(_CPU,))


async def opening(setting: Setting) -> None:
    """100, 500 and 1,000 streams of 20 chunks, opened at the same time on new connections: CPU for each of them."""
    chunks = 20
    for count in setting.size((100, 500, 1_000), (5,)):
        runs = {
            name: partial(_opened, kind, setting.server.url("bulk", "text", chunks, 1), chunks, count)
            for name, kind in setting.contestants.items()
            if name in (UNIT, OURS)
        }
        await setting.measure(f"{count} streams", runs, 9, ratios=(_CPU_OF_A_STREAM,))


async def _opened(kind: type[Contestant], url: str, chunks: int, count: int) -> Sample:
    sample = await _at_once(kind, url, chunks, count)
    return {_CPU_OF_A_STREAM: sample[_CPU] * chunks}


async def _at_once(kind: type[Contestant], url: str, chunks: int, count: int) -> Sample:
    fixture = make("text", chunks, 1)
    taken: list[list[str | None]] = [[] for _ in range(count)]
    async with kind(url) as reader:
        await reader.stream(lambda text: None)

        async def read() -> None:
            await asyncio.gather(*(reader.stream(texts.append) for texts in taken))

        began = time.monotonic()
        cpu = await cpu_of(read)
        lasted = time.monotonic() - began
    for texts in taken:
        check(reader, fixture, texts)
    total = fixture.chunks * count
    return {_CPU: cpu * 1e6 / total, PER_SECOND: total / cpu, "chunks per second": total / lasted}


async def construction(setting: Setting) -> None:
    """Make a client, as each call site would that has none yet."""
    kinds = {kind.modules[0]: kind for kind in reversed(setting.contestants.values()) if kind.modules}
    if UNIT in setting.contestants:
        kinds[UNIT] = setting.contestants[UNIT]
    times = setting.size(50, 2)
    runs = {
        name: partial(_construct, kind, setting.server.url("whole"), times) for name, kind in reversed(kinds.items())
    }
    await setting.measure("one client", runs, 5, warm_up=True, loop="")


async def _construct(kind: type[Contestant], url: str, times: int) -> Sample:
    cpu = 0.0
    for _ in range(times):
        began = time.process_time()
        reader = await kind(url).__aenter__()
        cpu += time.process_time() - began
        await reader.__aexit__(None, None, None)
    return {"client construction, µs": cpu * 1e6 / times}


async def first_token(setting: Setting) -> None:
    """From the call to the first piece of text, on a kept connection; in turns, what raw sockets need taken off."""
    times, unmeasured = setting.size(300, 3), 5
    fixture = make("text", 4)
    url = setting.server.url("bulk", fixture.name, fixture.chunks, PER_BLOCK)
    seen: dict[str, list[int]] = {}
    async with AsyncExitStack() as stack:
        readers = {
            name: await stack.enter_async_context(kind(url))
            for name, kind in setting.contestants.items()
            if kind.streams
        }
        for turn in range(unmeasured + times):
            if turn % 50 == 0:
                setting.note(f"turn {turn}/{times}")
            for name, reader in readers.items():
                micros = await _first(reader)
                if turn >= unmeasured:
                    seen.setdefault(name, []).append(micros)
    medians = {name: percentile(micros, 0.5) for name, micros in seen.items()}
    floor = medians.get(RAW, 0.0)
    found = {
        name: [{"first text, median, µs": median, "beyond raw sockets, µs": median - floor}]
        for name, median in medians.items()
    }
    setting.add("kept connection, one at a time", found)


async def _first(reader: Contestant) -> int:
    """Return the microseconds until the first piece of text."""
    first: list[int] = []

    def take(text: str | None) -> None:
        if not first:
            first.append(time.perf_counter_ns())

    began = time.perf_counter_ns()
    await reader.stream(take)
    if not first:
        raise WrongAnswer(f"{reader.name} gave out no text")
    return round((first[0] - began) / 1e3)
