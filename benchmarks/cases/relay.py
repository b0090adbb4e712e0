"""A relay under load; `..relaying.load` says how."""

from __future__ import annotations

import functools

from ..measure import Row, compare, rows
from ..relaying.children import missing, relays
from .setting import Setting

__all__ = ["relay"]

# Clients, slow ones, leaving ones, tokens per second, seconds. A plain relay serves the lesser pace in one process.
LOADS = ((500, 20, 50, 3, 20.0), (500, 20, 50, 10, 20.0))
QUICK = ((8, 1, 2, 20, 0.8),)


async def relay(setting: Setting) -> list[Row]:
    """A relay of 500 streams to 500 websockets, of which 20 are slow and 50 leave: lateness, CPU, memory."""
    if lacking := missing():
        setting.note(f"skipped: needs {', '.join(lacking)}")
        return []
    # Here, since its clients need `websockets`.
    from ..relaying.load import Load, run

    result = []
    for load in map(Load._make, setting.size(LOADS, QUICK)):
        variant = f"{load.clients} streams of {load.rate} tokens/s, {load.slow} slow clients, {load.leaving} leave"
        found = await compare(
            {name: functools.partial(run, load, name, setting.loop) for name in relays(setting.contestants)},
            rounds=setting.count(3),
            note=setting.noting(variant),
            warm_up=False,
        )
        result += rows(found, case="relay", variant=variant, loop=setting.loop)
    return result
