"""A long run of `map` in a process of its own: does its memory stay as it is, however many items there are?"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from siliconflow_async import AsyncSiliconFlow

from ..contestants.contestant import MESSAGES, MODEL
from ..fanouts import AT_ONCE, MAP
from ..fixtures import make
from ..measure import Row, Sample, WrongAnswer, compare, rows
from .fanning import CHUNKS, CPU
from .setting import ROOT, Setting

__all__ = ["items"]

_SHARES = (10, 50, 100)
# Only Linux tells.
_TELLS = sys.platform == "linux"
_STATM = Path("/proc/self/statm")


async def _run(url: str, count: int, loop: str) -> Sample:
    arguments = ("-m", f"{__package__}.items", url, str(count), loop)
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode != 0:
        raise WrongAnswer(f"a run of {count:,} items failed")
    sample: Sample = json.loads(output)
    return sample


async def items(setting: Setting) -> list[Row]:
    """100,000 items through one `map`: items per second, and resident memory as they pass."""
    if MAP not in setting.fanouts:
        return []
    count = setting.size(100_000, 500)
    url = setting.server.bulk("text", CHUNKS)
    found = await compare(
        {MAP: lambda: _run(url, count, setting.loop)}, rounds=setting.count(1), note=setting.note, warm_up=False
    )
    return rows(found, case="items", variant=f"{count:,} items, {AT_ONCE} at a time", loop=setting.loop)


async def _ask(url: str, count: int) -> Sample:
    expected = make("text", CHUNKS).said
    places = {max(1, count * share // 100): share for share in _SHARES}
    seen = bytearray(count)
    resident: Sample = {}
    number = 0
    began, cpu = time.monotonic(), time.process_time()
    async with AsyncSiliconFlow("key", base_url=url, max_connections=AT_ONCE) as client:
        requests = ({"model": MODEL, "messages": MESSAGES, "custom_id": str(place)} for place in range(count))
        async with client.chat.completions.map(requests, max_concurrency=AT_ONCE) as results:
            async for result in results:
                if result.completion is None or result.completion.content != expected:
                    raise WrongAnswer(f"item {result.index}: {result.error!r}")
                if seen[result.index] or result.custom_id != str(result.index):
                    raise WrongAnswer(f"item {result.index} came twice, or as {result.custom_id}")
                seen[result.index] = True
                number += 1
                if number in places and _TELLS:
                    resident[f"resident at {places[number]} %, MiB"] = _resident()
    if number != count:
        raise WrongAnswer(f"{number} results of {count} items")
    lasted, cpu = time.monotonic() - began, time.process_time() - cpu
    return {"items per second": count / lasted, CPU: cpu * 1e6 / count, **resident}


def _resident() -> float:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1024 / 1024


def _main(url: str, count: str, loop: str) -> None:
    from ..loops import run

    print(json.dumps(run(_ask(url, int(count)), loop)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
