"""One long run of `map`: items per second, and resident memory as they pass."""

from __future__ import annotations

import time

from siliconflow_async import AsyncSiliconFlow

from .contestants.contestant import MESSAGES, MODEL
from .fanouts import AT_ONCE, CHUNKS, CPU
from .fixtures import make
from .measure import Sample, WrongAnswer
from .resident import TOLD, resident

__all__ = ["long_run"]

_SHARES = (10, 50, 100)


async def long_run(url: str, count: int) -> Sample:
    expected = make("text", CHUNKS).said
    places = {max(1, count * share // 100): share for share in _SHARES}
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
                if number in places and TOLD:
                    memory[f"resident at {places[number]} %, MiB"] = resident() / 1024 / 1024
    if number != count:
        raise WrongAnswer(f"{number} results of {count} items")
    lasted, cpu = time.monotonic() - began, time.process_time() - cpu
    return {"items per second": count / lasted, CPU: cpu * 1e6 / count, **memory}
