"""A measurement in a process of its own, as in a program: `python -m benchmarks.alone PART LOOP ARGUMENTS`.

What a receive costs depends on what malloc has learned from whatever ran in the process before (see NOTES.md), and what
is resident on whatever it holds. A part is an async function of a module in this package, given as `module.function`;
its arguments are a JSON array, and its sample is printed as JSON. One that wants a word before it goes on calls
`ready()`.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import sys
from collections.abc import Callable

from . import ROOT
from .loops import run
from .measure import Sample, WrongAnswer

__all__ = ["alone", "ready"]


async def ready() -> None:
    """Say so to the parent, and wait for its word."""
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)


async def alone(
    part: str, loop: str, *arguments: str | float, when_ready: Callable[[], object] | None = None
) -> Sample:
    """Measure a part in a child process; `when_ready` is called when the child is, if it waits for that."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", __name__, part, loop, json.dumps(arguments)),
        cwd=ROOT,
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
        raise WrongAnswer(f"{part} failed with {arguments}")
    sample: Sample = json.loads(line)
    return sample


def _main(part: str, loop: str, arguments: str) -> None:
    module, _, function = part.partition(".")
    measure = getattr(importlib.import_module(f"{__package__}.{module}"), function)
    print(json.dumps(run(measure(*json.loads(arguments)), loop)), flush=True)
    # What peers leave behind at shutdown is not the question.
    os._exit(0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
