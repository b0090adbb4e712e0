"""Resident memory of an open stream whose server is silent, each contestant in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import subprocess
import sys
from pathlib import Path

from ..contestants import load
from ..measure import Row, Sample, compare, rows
from .setting import ROOT, Setting

__all__ = ["memory"]

KIB = "resident per open stream, KiB"
WAVE = 20
_STATM = Path("/proc/self/statm")


async def _open(name: str, url: str, streams: int, loop: str) -> Sample:
    module = f"{__package__}.memory"
    arguments = ("-m", module, name, url, str(streams), loop)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    return {KIB: float(output)}


async def memory(setting: Setting) -> list[Row]:
    """Open streams that have given out one chunk, and wait for more."""
    if sys.platform != "linux":
        setting.note("skipped: only Linux tells")
        return []
    streams = setting.size(500, 5)
    # Never told to go on.
    url = setting.server.paced(2, 1)
    runs = {
        name: functools.partial(_open, name, url, streams, setting.loop)
        for name, kind in setting.contestants.items()
        if kind.streams
    }
    found = await compare(runs, rounds=setting.count(3), note=setting.note, warm_up=False)
    return rows(found, case="memory", variant=f"{streams} idle streams", loop=setting.loop, ratios=(KIB,))


def _resident() -> int:
    gc.collect()
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def _hold(name: str, url: str, streams: int) -> float:
    async with load(name)(url) as reader:
        tasks: set[asyncio.Task[None]] = set()

        async def more(count: int) -> int:
            opened = asyncio.Semaphore(0)
            tasks.update(asyncio.create_task(reader.stream(lambda text: opened.release())) for _ in range(count))
            async with asyncio.timeout(120):
                for _ in range(count):
                    await opened.acquire()
            return _resident()

        # The first ones bring modules, pools and caches along.
        before = after = await more(min(WAVE, streams))
        # In waves: what an open stream holds is the question, not what opening hundreds in one turn takes.
        for opened in range(0, streams, WAVE):
            after = await more(min(WAVE, streams - opened))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / streams / 1024


def _main(name: str, url: str, streams: str, loop: str) -> None:
    from ..loops import run

    print(run(_hold(name, url, int(streams)), loop))
    sys.stdout.flush()
    # What peers leave behind at shutdown is not the question.
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
