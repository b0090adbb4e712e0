"""What comes before the first token: import, construction, and the way to the first piece of text."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import time
from contextlib import AsyncExitStack

from .. import ROOT
from ..contestants import RAW, UNIT, Contestant
from ..fixtures import make
from ..measure import Row, Sample, WrongAnswer, compare, percentile, rows
from .setting import Setting

__all__ = ["construction", "first_token", "imports"]

_BASE = "import aiohttp, msgspec, anyio"
_IMPORT = """
import time
{base}
wall, cpu = time.perf_counter(), time.process_time()
{modules}
print(time.process_time() - cpu, time.perf_counter() - wall)
"""


async def _import(modules: tuple[str, ...], base: str) -> Sample:
    script = _IMPORT.format(base=base, modules="\n".join(f"import {module}" for module in modules))
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    # What is installed has its bytecode: the warm-up writes that of a checkout.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    output, _ = await process.communicate()
    cpu, wall = map(float, output.split())
    return {"import, CPU ms": cpu * 1e3, "import, ms": wall * 1e3}


async def imports(setting: Setting) -> list[Row]:
    """Import in fresh interpreters, beyond `import aiohttp, msgspec, anyio`."""
    runs = {
        kind.modules[0]: functools.partial(_import, kind.modules, _BASE)
        for kind in setting.contestants.values()
        if kind.modules
    }
    runs[f"({_BASE})"] = functools.partial(_import, ("aiohttp", "msgspec", "anyio"), "")
    found = await compare(runs, rounds=setting.count(15), note=setting.note)
    return rows(found, case="import", variant=f"beyond `{_BASE}`", loop="")


async def _construct(kind: type[Contestant], url: str, times: int) -> Sample:
    cpu = 0.0
    for _ in range(times):
        began = time.process_time()
        reader = await kind(url).__aenter__()
        cpu += time.process_time() - began
        await reader.__aexit__(None, None, None)
    return {"client construction, µs": cpu * 1e6 / times}


async def construction(setting: Setting) -> list[Row]:
    """Make a client, as each call site would that has none yet."""
    url = setting.server.whole()
    times = setting.size(50, 2)
    kinds = {kind.modules[0]: kind for kind in reversed(setting.contestants.values()) if kind.modules}
    if UNIT in setting.contestants:
        kinds[UNIT] = setting.contestants[UNIT]
    runs = {name: functools.partial(_construct, kind, url, times) for name, kind in reversed(kinds.items())}
    found = await compare(runs, rounds=setting.count(5), note=setting.note)
    return rows(found, case="construction", variant="one client", loop="", ratios=())


async def _first(reader: Contestant) -> float:
    first: list[int] = []

    def take(text: str | None) -> None:
        if not first:
            first.append(time.perf_counter_ns())

    began = time.perf_counter_ns()
    await reader.stream(take)
    if not first:
        raise WrongAnswer(f"{reader.name} gave out no text")
    return (first[0] - began) / 1e3


async def first_token(setting: Setting) -> list[Row]:
    """From the call to the first piece of text, on a kept connection; in turns, what raw sockets need taken off."""
    times = setting.size(300, 3)
    fixture = make("text", 4)
    url = setting.server.bulk(fixture.name, fixture.chunks)
    seen: dict[str, list[float]] = {}
    async with AsyncExitStack() as stack:
        readers = {
            name: await stack.enter_async_context(kind(url))
            for name, kind in setting.contestants.items()
            if kind.streams
        }
        for turn in range(times + 5):
            if turn % 50 == 0:
                setting.note(f"turn {turn}/{times}")
            for name, reader in readers.items():
                micros = await _first(reader)
                if turn >= 5:
                    seen.setdefault(name, []).append(micros)
    floor = percentile([round(value) for value in seen[RAW]], 0.5) if RAW in seen else 0.0
    result = {}
    for name, values in seen.items():
        whole = [round(value) for value in values]
        median = percentile(whole, 0.5)
        result[name] = [{"first text, median, µs": median, "beyond raw sockets, µs": median - floor}]
    return rows(result, case="first-token", variant="kept connection, one at a time", loop=setting.loop)
