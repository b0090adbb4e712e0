"""One contestant asks for answers that are not streamed, a hundred at a time: CPU per request."""

from __future__ import annotations

import asyncio

from .contestants import load
from .fixtures import whole_answer
from .measure import Sample, WrongAnswer, cpu_of

__all__ = ["CONCURRENCY", "CPU", "ask"]

CONCURRENCY = 100
CPU = "CPU per request, µs"


async def ask(name: str, url: str, requests: int) -> Sample:
    expected = whole_answer()[1]
    async with load(name)(url) as reader:

        async def work(count: int) -> int:
            left = count
            right = 0

            async def worker() -> None:
                nonlocal left, right
                while left > 0:
                    left -= 1
                    answer = await reader.whole()
                    right += answer == expected

            await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
            return right

        async def measured() -> None:
            right = await work(requests)
            if right != requests:
                raise WrongAnswer(f"{name}: {right} right answers to {requests} requests")

        # The connections are made and kept.
        await work(CONCURRENCY)
        return {CPU: await cpu_of(measured) * 1e6 / requests}
