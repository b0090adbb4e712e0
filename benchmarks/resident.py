"""Resident memory, of this process, and of a contestant's open streams. Only Linux tells (`TOLD`)."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

from .contestants import load
from .measure import Sample

__all__ = ["KIB", "TOLD", "hold", "resident"]

KIB = "resident per open stream, KiB"
TOLD = sys.platform == "linux"
_WAVE = 20
_STATM = Path("/proc/self/statm")


def resident() -> int:
    """Return the bytes of this process."""
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def hold(name: str, url: str, streams: int) -> Sample:
    """Open so many streams, each of which gives out one token."""
    async with load(name)(url) as reader:
        tasks: set[asyncio.Task[None]] = set()

        async def more(count: int) -> int:
            opened = asyncio.Semaphore(0)
            tasks.update(asyncio.create_task(reader.stream(lambda text: opened.release())) for _ in range(count))
            async with asyncio.timeout(120):
                for _ in range(count):
                    await opened.acquire()
            gc.collect()
            return resident()

        # The first ones bring modules, pools and caches along.
        before = after = await more(min(_WAVE, streams))
        # In waves: what an open stream holds is the question, not what opening hundreds in one turn takes.
        for opened in range(0, streams, _WAVE):
            after = await more(min(_WAVE, streams - opened))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {KIB: (after - before) / streams / 1024}
