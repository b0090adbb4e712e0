"""One contestant, measured alone in its process, as in a program: `python -m benchmarks.alone PART NAME URL LOOP …`.

What a receive costs depends on what malloc has learned from whatever ran in the process before (see NOTES.md). A part
is an async function of a module in this package, given as `module.function`, from a contestant and numbers to a sample,
which is printed as JSON. A part that wants a word before it goes on calls `ready()`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from .contestants import load
from .loops import run
from .measure import Sample, WrongAnswer

__all__ = ["alone", "ready"]

_ROOT = Path(__file__).parents[1]


async def ready() -> None:
    """Say so to the parent, and wait for its word."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def alone(
    part: str, name: str, url: str, loop: str, *numbers: float, when_ready: Callable[[], object] | None = None
) -> Sample:
    """Measure a part in a child process; `when_ready` is called when the child is, if it waits for that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", __name__, part, name, url, loop, *map(str, numbers)),
        cwd=_ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = await process.stdout.readline()
    if when_ready is not None and line == b"ready\n":
        when_ready()
        process.stdin.write(b"go\n")
        line = await process.stdout.readline()
    if await process.wait():
        raise WrongAnswer(f"{name} failed: {part} {numbers}")
    sample: Sample = json.loads(line)
    return sample


def _main(part: str, name: str, url: str, loop: str, *numbers: str) -> None:
    module, _, function = part.partition(".")
    measure = getattr(importlib.import_module(f"{__package__}.{module}"), function)

    async def measured() -> Sample:
        async with load(name)(url) as reader:
            sample: Sample = await measure(reader, *map(json.loads, numbers))
            return sample

    print(json.dumps(run(measured(), loop)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
