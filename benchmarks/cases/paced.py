"""Many streams at once, each at the pace of a model: CPU per chunk, and how late each token is given out.

A stretch of steady flow is measured, after all streams have opened and before any ends. The content of each chunk is
the time at which the server wrote it. `take` costs all contestants the same, about half a microsecond per chunk.
"""

from __future__ import annotations

import asyncio
import functools
import time

from ..contestants import Contestant
from ..measure import Row, Sample, WrongAnswer, compare, percentile, rows
from .setting import Setting

__all__ = ["paced"]

RATE = 50
CPU = "CPU per chunk, µs"
_OPEN_SECONDS = 120


class _Watch:
    """Notes how long each token was under way."""

    def __init__(self) -> None:
        self.delays: list[int] = []

    def __call__(self, text: str | None) -> None:
        if text:
            self.delays.append(time.monotonic_ns() - int(text))


class _Wakes:
    """Counts the turns of the loop in which one stream gave out chunks: one for each read."""

    def __init__(self, watch: _Watch) -> None:
        self._watch = watch
        self._awake = False
        self._call_soon = asyncio.get_running_loop().call_soon
        self.wakes = 0

    def __call__(self, text: str | None) -> None:
        if text:
            self._watch.delays.append(0)
            if not self._awake:
                self._awake = True
                self.wakes += 1
                self._call_soon(self._sleep)

    def _sleep(self) -> None:
        self._awake = False


async def _all_open(watch: _Watch, streams: int, tasks: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(_OPEN_SECONDS):
        while len(watch.delays) < streams:
            if any(task.done() for task in tasks):
                await asyncio.gather(*tasks)
                raise WrongAnswer("a stream ended before it began")
            await asyncio.sleep(0.02)


async def _flow(setting: Setting, kind: type[Contestant], streams: int, seconds: float) -> Sample:
    margin = 0.3
    chunks = int((seconds + 2 * margin) * RATE) + 2
    watch = _Watch()
    async with kind(setting.server.paced(chunks, RATE)) as reader:
        tasks = [asyncio.create_task(reader.stream(watch)) for _ in range(streams)]
        await _all_open(watch, streams, tasks)
        setting.server.go()
        await asyncio.sleep(margin)
        began, cpu, first = time.monotonic(), time.process_time(), len(watch.delays)
        await asyncio.sleep(seconds)
        cpu, last = time.process_time() - cpu, len(watch.delays)
        lasted = time.monotonic() - began
        await asyncio.gather(*tasks)
    if len(watch.delays) != streams * chunks:
        raise WrongAnswer(f"{reader.name} gave out {len(watch.delays)} tokens of {streams * chunks}")
    delays = watch.delays[first:last]
    return {
        CPU: cpu * 1e6 / max(last - first, 1),
        "added delay, median, ms": percentile(delays, 0.5) / 1e6,
        "added delay, p99, ms": percentile(delays, 0.99) / 1e6,
        f"chunks per second, of {streams * RATE}": (last - first) / lasted,
    }


async def _reads(setting: Setting, kind: type[Contestant], streams: int, seconds: float) -> Sample:
    """A run apart, since counting costs."""
    chunks = int(seconds * RATE) + 2
    watch = _Watch()
    async with kind(setting.server.paced(chunks, RATE)) as reader:
        wakes = [_Wakes(watch) for _ in range(streams)]
        tasks = [asyncio.create_task(reader.stream(wake)) for wake in wakes]
        await _all_open(watch, streams, tasks)
        setting.server.go()
        await asyncio.gather(*tasks)
    return {"chunks per read": streams * chunks / sum(wake.wakes for wake in wakes)}


async def paced(setting: Setting) -> list[Row]:
    """200, 500 and 1,000 streams of 50 tokens per second."""
    result = []
    seconds = setting.size(2.0, 0.1)
    kinds = {name: kind for name, kind in setting.contestants.items() if kind.streams}
    for streams in setting.size((200, 500, 1000), (5,)):
        variant = f"{streams} streams of {RATE} tokens/s"
        runs = {name: functools.partial(_flow, setting, kind, streams, seconds) for name, kind in kinds.items()}
        found = await compare(runs, rounds=setting.count(3), note=setting.noting(variant), warm_up=False)
        counted = {name: functools.partial(_reads, setting, kind, streams, seconds) for name, kind in kinds.items()}
        reads = await compare(counted, rounds=1, note=setting.note, warm_up=False)
        for part in (found, reads):
            result += rows(part, case="paced", variant=variant, loop=setting.loop, ratios=(CPU,))
    return result
