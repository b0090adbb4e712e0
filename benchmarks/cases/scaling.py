"""How the work grows: with the length of a stream, the number of streams, the size of an event, the deltas to fold."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterable

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol

from ..contestants import OURS, RAW, UNIT, Contestant
from ..fixtures import Fixture, huge_event, make
from ..measure import Row, Sample, WrongAnswer, compare, cpu_of, rows
from .bulk import CPU, check, checked_stream
from .setting import Setting

__all__ = ["scaling", "streams"]

PER_SECOND = "chunks per second of CPU"
_MIB = 1024 * 1024


async def _lengths(setting: Setting) -> list[Row]:
    result = []
    total = setting.size(20_000, 200)
    for chunks in setting.size((10, 100, 1_000, 10_000), (10, 100)):
        url, fixture = setting.server.bulk("text", chunks), make("text", chunks)
        runs = {}
        for name in (UNIT, OURS):
            if name in setting.contestants:
                runs[name] = functools.partial(_several, setting.contestants[name], url, fixture, total // chunks)
        found = await compare(runs, rounds=setting.count(5), note=setting.note)
        result += rows(found, case="scaling", variant=f"{chunks:,} chunks", loop=setting.loop, ratios=(CPU,))
    return result


async def _several(kind: type[Contestant], url: str, fixture: Fixture, times: int) -> Sample:
    async with kind(url) as reader:
        return await checked_stream(reader, fixture, times)


async def _huge_events(setting: Setting) -> list[Row]:
    """The client reads one event, sent in pieces of 1 KiB."""
    if OURS not in setting.contestants:
        return []
    result = []
    for size in setting.size((_MIB * 5 // 8, _MIB * 5 // 4, _MIB * 5 // 2, 5 * _MIB, 10 * _MIB), (64 * 1024,)):
        expected = huge_event(size)[1]

        async def read(size: int = size, expected: str = expected) -> Sample:
            taken: list[str | None] = []
            async with setting.contestants[OURS](setting.server.huge(size)) as reader:
                cpu = await cpu_of(lambda: reader.stream(taken.append))
            if taken[0] != expected:
                raise WrongAnswer(f"{OURS} did not read an event of {size} bytes as it was sent")
            return {"CPU per MiB, ms": cpu * 1e3 * _MIB / size}

        found = await compare({OURS: read}, rounds=setting.count(3), note=setting.note)
        variant = f"one event of {size / _MIB:g} MiB in 1 KiB pieces"
        result += rows(found, case="scaling", variant=variant, loop=setting.loop)
    return result


def _feed(pieces: Iterable[bytes]) -> str | None:
    protocol, accumulator = ChatProtocol(16 * _MIB), Accumulator()
    for piece in pieces:
        accumulator.fold(protocol.feed(piece))
    return accumulator.completion().content


async def _offline(setting: Setting) -> list[Row]:
    """Without a socket, so that the pieces are what they are said to be."""
    result = []
    for size in setting.size((_MIB * 5 // 4, _MIB * 5 // 2, 5 * _MIB, 10 * _MIB), (64 * 1024,)):
        whole, content = huge_event(size)
        pieces = [whole[at : at + 1024] for at in range(0, len(whole), 1024)]
        metric = "protocol alone, CPU per MiB, ms"
        result += await _timed(setting, pieces, content, f"{size / _MIB:g} MiB", metric, 1e3 * _MIB / size)
    for deltas in setting.size((4_000, 8_000, 16_000, 32_000, 64_000), (500,)):
        fixture = make("text", deltas + 2)
        metric = "protocol and folding alone, CPU per delta, µs"
        result += await _timed(
            setting, fixture.blocks, fixture.content, f"{deltas:,} deltas folded", metric, 1e6 / deltas
        )
    return result


async def _timed(
    setting: Setting, pieces: Iterable[bytes], content: str | None, variant: str, metric: str, scale: float
) -> list[Row]:
    async def run() -> Sample:
        began = time.process_time()
        got = _feed(pieces)
        cpu = time.process_time() - began
        if got != content:
            raise WrongAnswer(f"{variant} did not fold to what was sent")
        return {metric: cpu * scale}

    found = await compare({OURS: run}, rounds=setting.count(5), note=setting.note)
    return rows(found, case="scaling", variant=variant, loop="")


async def scaling(setting: Setting) -> list[Row]:
    """What should be linear: the figure per unit of work stays as the work grows."""
    return [*await _lengths(setting), *await _huge_events(setting), *await _offline(setting)]


async def streams(setting: Setting) -> list[Row]:
    """From one stream to 2,000 at the same time, each chunk a write of its own: chunks per second of CPU."""
    result = []
    for count in setting.size((1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000), (1, 5)):
        fixtures: dict[str, Fixture] = {}
        runs: dict[str, Callable[[], Awaitable[Sample]]] = {}
        for name, kind in setting.contestants.items():
            if name in (UNIT, RAW, OURS) or (kind.streams and count <= 1_000 and ".stream()" not in name):
                budget = setting.size(20_000, 60) // (1 if kind.quick_to_read else 10)
                fixtures[name] = make("text", max(budget // count, 20), 1)
                url = setting.server.bulk("text", fixtures[name].chunks, 1)
                runs[name] = functools.partial(_at_once, kind, url, fixtures[name], count)
        found = await compare(
            runs,
            rounds=setting.count(3),
            note=setting.noting(f"{count} streams"),
            warm_up=False,
        )
        result += rows(found, case="streams", variant=f"{count}", loop=setting.loop, ratios=(CPU,))
    return result


async def _at_once(kind: type[Contestant], url: str, fixture: Fixture, count: int) -> Sample:
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
    chunks = fixture.chunks * count
    return {CPU: cpu * 1e6 / chunks, PER_SECOND: chunks / cpu, "chunks per second": chunks / lasted}
