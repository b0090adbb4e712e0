"""Answers that are not streamed, a hundred at a time: CPU per request."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack

from ..contestants import Contestant
from ..fixtures import whole_answer
from ..measure import Row, Sample, WrongAnswer, compare, cpu_of, rows
from .setting import Setting

__all__ = ["whole"]

CONCURRENCY = 100
CPU = "CPU per request, µs"


async def _ask(reader: Contestant, requests: int) -> Sample:
    expected = whole_answer()[1]
    right = 0
    left = requests

    async def worker() -> None:
        nonlocal left, right
        while left > 0:
            left -= 1
            answer = await reader.whole()
            right += answer == expected

    async def work() -> None:
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))

    cpu = await cpu_of(work)
    if right != requests:
        raise WrongAnswer(f"{reader.name}: {right} right answers to {requests} requests")
    return {CPU: cpu * 1e6 / requests}


async def whole(setting: Setting) -> list[Row]:
    """CPU per request at concurrency 100, connections kept; peers ask for a fifth."""
    requests = setting.size(5_000, 120)
    async with AsyncExitStack() as stack:
        runs = {}
        for name, kind in setting.contestants.items():
            if kind.reads_whole:
                reader = await stack.enter_async_context(kind(setting.server.whole()))
                count = requests if kind.quick_to_read else max(requests // 5, 120)
                runs[name] = functools.partial(_ask, reader, count)
        found = await compare(runs, rounds=setting.count(7), note=setting.note)
    return rows(found, case="whole", variant=f"concurrency {CONCURRENCY}", loop=setting.loop, ratios=(CPU,))
