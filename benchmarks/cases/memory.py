"""Resident memory of an open stream whose server is silent, each contestant in a process of its own."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys

from ..measure import Row, Sample, compare, rows
from .setting import ROOT, Setting

__all__ = ["memory"]

KIB = "resident per open stream, KiB"


async def _open(name: str, url: str, streams: int, loop: str) -> Sample:
    arguments = ("-m", "benchmarks.resident", name, url, str(streams), loop)
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
