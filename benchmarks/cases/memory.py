"""Resident memory of an open stream whose server is silent, each contestant in a process of its own."""

from __future__ import annotations

import functools

from ..alone import alone
from ..measure import Row, compare, rows
from ..resident import KIB, TOLD
from .setting import Setting

__all__ = ["memory"]


async def memory(setting: Setting) -> list[Row]:
    """Open streams that have given out one chunk, and wait for more."""
    if not TOLD:
        setting.note("skipped: only Linux tells")
        return []
    streams = setting.size(500, 5)
    # Never told to go on.
    url = setting.server.paced(2, 1)
    runs = {
        name: functools.partial(alone, "resident.hold", setting.loop, name, url, streams)
        for name, kind in setting.contestants.items()
        if kind.streams
    }
    found = await compare(runs, rounds=setting.count(3), note=setting.note, warm_up=False)
    return rows(found, case="memory", variant=f"{streams} idle streams", loop=setting.loop, ratios=(KIB,))
