"""Cases whose contestants have a process of their own each, as in a program: paced streams, whole answers, memory.

Below each case is what its contestant's process does.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from . import ROOT
from .children import LINUX, alone, ready, rss
from .entries import load
from .fixtures import whole_answer
from .measure import Sample, Setting, WrongAnswer, cpu_of, percentile

_CPU_PER_CHUNK = "CPU per chunk, µs"
_CPU_PER_REQUEST = "CPU per request, µs"
_KIB = "resident per open stream, KiB"
_RATE = 50
# Seconds of flow before and after the stretch that is measured.
_MARGIN = 0.3
_OPEN_SECONDS = 120
_CONCURRENCY = 100
# How many streams are opened at once.
_WAVE = 20


async def paced(setting: Setting) -> None:
    """200, 500 and 1,000 streams of 50 tokens per second, each contestant in a process of its own."""
    seconds = setting.size(2.0, 0.1)
    chunks = int((seconds + 2 * _MARGIN) * _RATE) + 2
    url = setting.server.url("paced", chunks, _RATE)
    for streams in setting.size((200, 500, 1000), (5,)):
        parts = {"alone.flow": (5, (streams, chunks, seconds)), "alone.reads": (1, (streams, chunks))}
        for part, (rounds, numbers) in parts.items():
            runs = {
                name: partial(alone, part, setting.loop, name, url, *numbers, when_ready=setting.server.go)
                for name, kind in setting.contestants.items()
                if kind.streams
            }
            await setting.measure(f"{streams} streams of {_RATE} tokens/s", runs, rounds, ratios=(_CPU_PER_CHUNK,))


class _Watch:
    """Notes how long each token was under way. It costs all contestants the same, half a microsecond per chunk."""

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


async def all_open(have_begun: Callable[[], bool], tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait until each stream has its first token, and wait for the word that the others may come."""
    async with asyncio.timeout(_OPEN_SECONDS):
        while not have_begun():
            if any(task.done() for task in tasks):
                await asyncio.gather(*tasks)
                raise WrongAnswer("a stream ended before it began")
            await asyncio.sleep(0.02)
    await ready()


async def flow(name: str, url: str, streams: int, chunks: int, seconds: float) -> Sample:
    """Measure a stretch of steady flow, after all streams have opened and before any ends.

    CPU per chunk, and how late each token, which is the time at which the server wrote it, is given out.
    """
    watch = _Watch()
    async with load(name)(url) as reader:
        tasks = [asyncio.create_task(reader.stream(watch)) for _ in range(streams)]
        await all_open(lambda: len(watch.delays) >= streams, tasks)
        await asyncio.sleep(_MARGIN)
        began, cpu, first = time.monotonic(), time.process_time(), len(watch.delays)
        await asyncio.sleep(seconds)
        cpu, last = time.process_time() - cpu, len(watch.delays)
        lasted = time.monotonic() - began
        await asyncio.gather(*tasks)
    if len(watch.delays) != streams * chunks:
        raise WrongAnswer(f"{name} gave out {len(watch.delays)} tokens of {streams * chunks}")
    delays = watch.delays[first:last]
    return {
        _CPU_PER_CHUNK: cpu * 1e6 / max(last - first, 1),
        "added delay, median, ms": percentile(delays, 0.5) / 1e6,
        "added delay, p99, ms": percentile(delays, 0.99) / 1e6,
        "chunks per second": (last - first) / lasted,
    }


async def reads(name: str, url: str, streams: int, chunks: int) -> Sample:
    """Measure how many chunks come with a read: a run apart, since counting costs."""
    watch = _Watch()
    wakes = [_Wakes(watch) for _ in range(streams)]
    async with load(name)(url) as reader:
        tasks = [asyncio.create_task(reader.stream(wake)) for wake in wakes]
        await all_open(lambda: len(watch.delays) >= streams, tasks)
        await asyncio.gather(*tasks)
    return {"chunks per read": streams * chunks / sum(wake.wakes for wake in wakes)}


async def whole(setting: Setting) -> None:
    """CPU per request at concurrency 100, connections kept, each alone in its process; peers ask for a fifth."""
    requests = setting.size(5_000, 120)
    runs = {}
    for name, kind in setting.contestants.items():
        if kind.reads_whole:
            count = requests if kind.quick_to_read else max(requests // 5, 120)
            runs[name] = partial(alone, "alone.ask", setting.loop, name, setting.server.url("whole"), count)
    await setting.measure(f"concurrency {_CONCURRENCY}", runs, 7, ratios=(_CPU_PER_REQUEST,))


async def ask(name: str, url: str, requests: int) -> Sample:
    """Ask for answers that are not streamed, a hundred at a time."""
    expected = whole_answer()[1]
    async with load(name)(url) as reader:

        async def work(count: int) -> int:
            turns = iter(range(count))

            async def worker() -> int:
                return sum([await reader.whole() == expected for _ in turns])

            return sum(await asyncio.gather(*(worker() for _ in range(_CONCURRENCY))))

        async def measured() -> None:
            right = await work(requests)
            if right != requests:
                raise WrongAnswer(f"{name}: {right} right answers to {requests} requests")

        # The connections are made and kept.
        await work(_CONCURRENCY)
        return {_CPU_PER_REQUEST: await cpu_of(measured) * 1e6 / requests}


async def memory(setting: Setting) -> None:
    """Open streams that have given out one chunk, and wait for more."""
    if not LINUX:
        setting.note("skipped: only Linux tells")
        return
    streams = setting.size(500, 5)
    # Never told to go on.
    url = setting.server.url("paced", 2, 1)
    runs = {
        name: partial(alone, "alone.hold", setting.loop, name, url, streams)
        for name, kind in setting.contestants.items()
        if kind.streams
    }
    await setting.measure(f"{streams} idle streams", runs, 3, ratios=(_KIB,))


async def hold(name: str, url: str, streams: int) -> Sample:
    """Open so many streams, each of which gives out one token."""
    async with load(name)(url) as reader:
        tasks: set[asyncio.Task[None]] = set()

        async def more(count: int) -> int:
            opened = asyncio.Semaphore(0)
            tasks.update(asyncio.create_task(reader.stream(lambda text: opened.release())) for _ in range(count))
            async with asyncio.timeout(_OPEN_SECONDS):
                for _ in range(count):
                    await opened.acquire()
            gc.collect()
            return rss()[0]

        # The first ones bring modules, pools and caches along.
        before = after = await more(min(_WAVE, streams))
        # In waves: what an open stream holds is the question, not what opening hundreds in one turn takes.
        for opened in range(0, streams, _WAVE):
            after = await more(min(_WAVE, streams - opened))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {_KIB: (after - before) / streams / 1024}


_BASE = "import aiohttp, msgspec, anyio"
_IMPORT = """
import time
{base}
wall, cpu = time.perf_counter(), time.process_time()
{modules}
print(time.process_time() - cpu, time.perf_counter() - wall)
"""


async def imports(setting: Setting) -> None:
    """Import in fresh interpreters, beyond `import aiohttp, msgspec, anyio`."""
    runs = {
        kind.modules[0]: partial(_import, "\n".join(f"import {module}" for module in kind.modules), _BASE)
        for kind in setting.contestants.values()
        if kind.modules
    }
    runs[f"({_BASE})"] = partial(_import, _BASE, "")
    await setting.measure(f"beyond `{_BASE}`", runs, 15, warm_up=True, loop="")


async def _import(modules: str, base: str) -> Sample:
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    # What is installed has its bytecode: the warm-up writes that of a checkout.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    script = _IMPORT.format(base=base, modules=modules)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    cpu, wall = map(float, output.split())
    return {"import, CPU ms": cpu * 1e3, "import, ms": wall * 1e3}
