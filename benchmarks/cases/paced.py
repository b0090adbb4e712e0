"""Many streams at once, each at the pace of a model."""

from __future__ import annotations

import functools

from ..alone import alone
from ..flow import CPU, MARGIN
from ..measure import Row, compare, rows
from .setting import Setting

__all__ = ["paced"]

RATE = 50


async def paced(setting: Setting) -> list[Row]:
    """200, 500 and 1,000 streams of 50 tokens per second, each contestant in a process of its own."""
    result = []
    seconds = setting.size(2.0, 0.1)
    chunks = int((seconds + 2 * MARGIN) * RATE) + 2
    url = setting.server.paced(chunks, RATE)
    for streams in setting.size((200, 500, 1000), (5,)):
        variant = f"{streams} streams of {RATE} tokens/s"
        parts = {"flow.flow": (setting.count(5), (streams, chunks, seconds)), "flow.reads": (1, (streams, chunks))}
        for part, (rounds, numbers) in parts.items():
            runs = {
                name: functools.partial(alone, part, setting.loop, name, url, *numbers, when_ready=setting.server.go)
                for name, kind in setting.contestants.items()
                if kind.streams
            }
            found = await compare(runs, rounds=rounds, note=setting.noting(variant), warm_up=False)
            result += rows(found, case="paced", variant=variant, loop=setting.loop, ratios=(CPU,))
    return result
