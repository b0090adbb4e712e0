"""One contestant reads paced streams: CPU per chunk, how late each token is given out, how many come with a read.

A stretch of steady flow is measured, after all streams have opened and before any ends. The content of each chunk is
the time at which the server wrote it. `take` costs all contestants the same, about half a microsecond per chunk.
"""

from __future__ import annotations

import asyncio
import time

from .alone import ready
from .contestants import load
from .measure import Sample, WrongAnswer, percentile

__all__ = ["CPU", "MARGIN", "flow", "reads"]

CPU = "CPU per chunk, µs"
# Seconds of flow before and after the stretch that is measured.
MARGIN = 0.3
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
    """Wait until each stream has its first token, and wait for the word that the others may come."""
    async with asyncio.timeout(_OPEN_SECONDS):
        while len(watch.delays) < streams:
            if any(task.done() for task in tasks):
                await asyncio.gather(*tasks)
                raise WrongAnswer("a stream ended before it began")
            await asyncio.sleep(0.02)
    await ready()


async def flow(name: str, url: str, streams: int, chunks: int, seconds: float) -> Sample:
    watch = _Watch()
    async with load(name)(url) as reader:
        tasks = [asyncio.create_task(reader.stream(watch)) for _ in range(streams)]
        await _all_open(watch, streams, tasks)
        await asyncio.sleep(MARGIN)
        began, cpu, first = time.monotonic(), time.process_time(), len(watch.delays)
        await asyncio.sleep(seconds)
        cpu, last = time.process_time() - cpu, len(watch.delays)
        lasted = time.monotonic() - began
        await asyncio.gather(*tasks)
    if len(watch.delays) != streams * chunks:
        raise WrongAnswer(f"{name} gave out {len(watch.delays)} tokens of {streams * chunks}")
    delays = watch.delays[first:last]
    return {
        CPU: cpu * 1e6 / max(last - first, 1),
        "added delay, median, ms": percentile(delays, 0.5) / 1e6,
        "added delay, p99, ms": percentile(delays, 0.99) / 1e6,
        "chunks per second": (last - first) / lasted,
    }


async def reads(name: str, url: str, streams: int, chunks: int) -> Sample:
    """A run apart, since counting costs."""
    watch = _Watch()
    wakes = [_Wakes(watch) for _ in range(streams)]
    async with load(name)(url) as reader:
        tasks = [asyncio.create_task(reader.stream(wake)) for wake in wakes]
        await _all_open(watch, streams, tasks)
        await asyncio.gather(*tasks)
    return {"chunks per read": streams * chunks / sum(wake.wakes for wake in wakes)}
