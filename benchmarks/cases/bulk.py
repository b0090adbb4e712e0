"""A stream that is sent as fast as it is read: CPU per chunk."""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack

from ..contestants import OURS, UNIT, Contestant
from ..fixtures import NAMES, Fixture, make
from ..measure import Row, Sample, WrongAnswer, compare, cpu_of, rows
from .setting import Setting

__all__ = ["bulk", "checked_stream", "inputs"]

CPU = "CPU per chunk, µs"


async def checked_stream(reader: Contestant, fixture: Fixture, times: int = 1) -> Sample:
    """Time one answer, or several one after the other, then check what came."""
    taken: list[list[str | None]] = [[] for _ in range(times)]

    async def read() -> None:
        for texts in taken:
            await reader.stream(texts.append)

    cpu = await cpu_of(read)
    for texts in taken:
        check(reader, fixture, texts)
    return {CPU: cpu * 1e6 / (fixture.chunks * times)}


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


async def bulk(setting: Setting) -> list[Row]:
    """CPU per chunk of a stream of text; peers read a tenth of it."""
    chunks = setting.size(20_000, 60)
    sizes = {
        name: chunks if kind.quick_to_read else max(chunks // 10, 60) for name, kind in setting.contestants.items()
    }
    async with AsyncExitStack() as stack:
        runs = {}
        for name, kind in setting.contestants.items():
            reader = await stack.enter_async_context(kind(setting.server.bulk("text", sizes[name])))
            runs[name] = functools.partial(checked_stream, reader, make("text", sizes[name]))
        found = await compare(runs, rounds=setting.count(9), note=setting.note)
    return rows(found, case="bulk", variant="text, blocks of 50 chunks", loop=setting.loop, ratios=(CPU,))


async def inputs(setting: Setting) -> list[Row]:
    """CPU per chunk of every input, for this library and, where it can read them, the unit."""
    chunks = setting.size(10_000, 60)
    result = []
    for fixture_name in NAMES:
        fixture = make(fixture_name, chunks)
        async with AsyncExitStack() as stack:
            runs = {}
            for name in (UNIT, OURS):
                kind = setting.contestants.get(name)
                if kind is None or not (fixture.simple or kind.full_sse):
                    continue
                reader = await stack.enter_async_context(kind(setting.server.bulk(fixture_name, chunks)))
                runs[name] = functools.partial(checked_stream, reader, fixture)
            found = await compare(runs, rounds=setting.count(5), note=setting.note)
        result += rows(found, case="inputs", variant=fixture_name, loop=setting.loop, ratios=(CPU,))
    return result
