"""A long run of `map` in a process of its own: does its memory stay as it is, however many items there are?"""

from __future__ import annotations

import functools

from ..alone import alone
from ..fanouts import AT_ONCE, CHUNKS, MAP
from ..measure import Row, compare, rows
from .setting import Setting

__all__ = ["items"]


async def items(setting: Setting) -> list[Row]:
    """100,000 items through one `map`: items per second, and resident memory as they pass."""
    if MAP not in setting.fanouts:
        return []
    count = setting.size(100_000, 500)
    url = setting.server.bulk("text", CHUNKS)
    found = await compare(
        {MAP: functools.partial(alone, "long_run.long_run", setting.loop, url, count)},
        rounds=setting.count(1),
        note=setting.note,
        warm_up=False,
    )
    return rows(found, case="items", variant=f"{count:,} items, {AT_ONCE} at a time", loop=setting.loop)
