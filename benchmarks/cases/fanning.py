"""Many requests at once: what asking them costs beyond the requests themselves."""

from __future__ import annotations

import functools
from contextlib import AsyncExitStack

from ..fanouts import AT_ONCE, CHUNKS, CPU, SELF, FanOut
from ..fixtures import make
from ..measure import Row, Sample, WrongAnswer, compare, cpu_of, rows
from .setting import Setting

__all__ = ["BEYOND", "CPU", "asked", "fan_out"]

BEYOND = "beyond the requests, µs"


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


async def fan_out(setting: Setting) -> list[Row]:
    """CPU per item of `map`, short answers, 100 at a time, and what of it is not the requests' own."""
    fixture = make("text", CHUNKS)
    url = setting.server.bulk(fixture.name, CHUNKS)
    async with AsyncExitStack() as stack:
        runs = {}
        for name, kind in setting.fanouts.items():
            way = await stack.enter_async_context(kind(url))
            count = setting.size(1_000, 120) // (5 if kind.slow else 1)
            runs[name] = functools.partial(asked, way, count, fixture.said)
        # A difference of two times that scatter more than it is large: many short turns tell it best.
        found = await compare(runs, rounds=setting.count(41), note=setting.note)
    if SELF in found:
        for name, kind in setting.fanouts.items():
            if name != SELF and kind.asker == setting.fanouts[SELF].asker:
                for sample, requests in zip(found[name], found[SELF], strict=True):
                    sample[BEYOND] = sample[CPU] - requests[CPU]
    return rows(found, case="map", variant=f"{AT_ONCE} at a time", loop=setting.loop, ratios=(CPU,))
