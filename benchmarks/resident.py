"""One contestant holds open streams, alone in its process: `python -m benchmarks.resident NAME URL STREAMS LOOP`.

It prints the resident memory of each, in KiB.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from pathlib import Path

from .contestants import load
from .loops import run

_WAVE = 20
_STATM = Path("/proc/self/statm")


def _resident() -> int:
    gc.collect()
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def _hold(name: str, url: str, streams: int) -> float:
    async with load(name)(url) as reader:
        tasks: set[asyncio.Task[None]] = set()

        async def more(count: int) -> int:
            opened = asyncio.Semaphore(0)
            tasks.update(asyncio.create_task(reader.stream(lambda text: opened.release())) for _ in range(count))
            async with asyncio.timeout(120):
                for _ in range(count):
                    await opened.acquire()
            return _resident()

        # The first ones bring modules, pools and caches along.
        before = after = await more(min(_WAVE, streams))
        # In waves: what an open stream holds is the question, not what opening hundreds in one turn takes.
        for opened in range(0, streams, _WAVE):
            after = await more(min(_WAVE, streams - opened))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return (after - before) / streams / 1024


def _main(name: str, url: str, streams: str, loop: str) -> None:
    print(run(_hold(name, url, int(streams)), loop))
    sys.stdout.flush()
    # What peers leave behind at shutdown is not the question.
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
