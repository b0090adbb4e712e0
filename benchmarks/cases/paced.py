"""Many streams at once, each at the pace of a model."""

from __future__ import annotations

import functools

from ..alone import alone
from ..flow import CPU, MARGIN
from ..measure import Row, Sample, compare, rows
from .setting import Setting

__all__ = ["paced"]

RATE = 50


async def _alone(setting: Setting, part: str, name: str, streams: int, seconds: float) -> Sample:
    chunks = int((seconds + 2 * MARGIN) * RATE) + 2
    url = setting.server.paced(chunks, RATE)
    return await alone(part, name, url, setting.loop, streams, chunks, seconds, when_ready=setting.server.go)


async def paced(setting: Setting) -> list[Row]:
    """200, 500 and 1,000 streams of 50 tokens per second, each contestant in a process of its own."""
    result = []
    seconds = setting.size(2.0, 0.1)
    names = [name for name, kind in setting.contestants.items() if kind.streams]
    for streams in setting.size((200, 500, 1000), (5,)):
        variant = f"{streams} streams of {RATE} tokens/s"
        note = setting.noting(variant)
        for part, rounds in (("flow.flow", setting.count(5)), ("flow.reads", 1)):
            runs = {name: functools.partial(_alone, setting, part, name, streams, seconds) for name in names}
            found = await compare(runs, rounds=rounds, note=note, warm_up=False)
            result += rows(found, case="paced", variant=variant, loop=setting.loop, ratios=(CPU,))
    return result
