"""Answers that are not streamed, a hundred at a time: CPU per request."""

from __future__ import annotations

import functools

from ..alone import alone
from ..asking import CONCURRENCY, CPU
from ..measure import Row, compare, rows
from .setting import Setting

__all__ = ["whole"]


async def whole(setting: Setting) -> list[Row]:
    """CPU per request at concurrency 100, connections kept, each alone in its process; peers ask for a fifth."""
    requests = setting.size(5_000, 120)
    runs = {
        name: functools.partial(
            alone,
            "asking.ask",
            setting.loop,
            name,
            setting.server.whole(),
            requests if kind.quick_to_read else max(requests // 5, 120),
        )
        for name, kind in setting.contestants.items()
        if kind.reads_whole
    }
    found = await compare(runs, rounds=setting.count(7), note=setting.note, warm_up=False)
    return rows(found, case="whole", variant=f"concurrency {CONCURRENCY}", loop=setting.loop, ratios=(CPU,))
