"""Processes beside this one: `python -m benchmarks.children PART LOOP ARGUMENTS`.

A part is an async function of a module in this package, given as `module.function`; its arguments are a JSON array. It
hears its parent's words line by line (`heard`), and says its own as lines of JSON (`say`): what it returns is the last.
One that serves returns when its parent has closed its standard input.

Contestants are measured in such processes because what a receive costs depends on what malloc has learned from whatever
ran in the process before (see NOTES.md), and what is resident on whatever it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

from . import ROOT

T = TypeVar("T")

LINUX = sys.platform == "linux"


def loops() -> tuple[str, ...]:
    """The event loops that are installed, the quickest last."""
    return ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)


def run(main: Coroutine[Any, Any, T], loop: str) -> T:
    """Run `main` on a new loop of that kind."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def rss() -> tuple[int, int]:
    """Return the resident bytes of this process, now and at most. Only Linux tells."""
    sizes = dict(re.findall(r"(Vm\w+):\s*(\d+) kB", Path("/proc/self/status").read_text()))
    return int(sizes["VmRSS"]) * 1024, int(sizes["VmHWM"]) * 1024


class Child:
    """A part in a process of its own, for as long as an `async with` block; on the quickest loop if none is named."""

    def __init__(self, part: str, *arguments: str | float | None, loop: str | None = None) -> None:
        self._part = part
        self._command = [sys.executable, "-m", __name__, part, loop or loops()[-1], json.dumps(arguments)]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.end(None if error[0] is None else signal.SIGKILL)

    async def start(self) -> None:
        # Not asyncio's way, which on Python 3.11 waits in a thread: nothing else is to run where CPU is measured.
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, cwd=ROOT, stdin=pipe, stdout=pipe)  # noqa: ASYNC220  # see above
        self._words = await _lines(self._process.stdout)

    async def end(self, how: signal.Signals | None = None) -> None:
        """Wait until it is gone, by this signal, or because its standard input is closed."""
        assert self._process.stdin is not None
        if how is None:
            self._process.stdin.close()
        else:
            self._process.send_signal(how)
        # Its standard output ends with it.
        await self._words.read()
        self._process.wait()
        self._process.stdin.close()

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())
        self._process.stdin.flush()

    async def hear(self) -> Any:
        """Return its next word. Raises RuntimeError if there is none."""
        line = await self._words.readline()
        if not line:
            raise RuntimeError(f"{self._part} ended by itself")
        return json.loads(line)


async def alone(
    part: str, loop: str, *arguments: str | float, when_ready: Callable[[], object] | None = None
) -> dict[str, float]:
    """Measure a part in a child process; `when_ready` is called when the child is, if it waits for that."""
    async with Child(part, *arguments, loop=loop) as child:
        found = await child.hear()
        if when_ready is not None and found == "ready":
            when_ready()
            child.say("go")
            found = await child.hear()
        sample: dict[str, float] = found
        return sample


def say(word: Any) -> None:
    """Let the parent hear this."""
    print(json.dumps(word), flush=True)


async def heard() -> asyncio.StreamReader:
    """Return the parent's words, a line each."""
    return await _lines(sys.stdin)


async def ready() -> None:
    """Say so to the parent, and wait for its word."""
    say("ready")
    await (await heard()).readline()


async def _lines(pipe: Any) -> asyncio.StreamReader:
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), pipe)
    return lines


async def _serve(part: Callable[..., Coroutine[Any, Any, object]], arguments: str) -> None:
    if (found := await part(*json.loads(arguments))) is not None:
        say(found)
    # What peers leave behind is not the question, and a stream whose reader has gone unnoticed would keep it waiting.
    os._exit(0)


def _main(part: str, loop: str, arguments: str) -> None:
    module, _, function = part.partition(".")
    # An interrupt of the terminal reaches it before the parent can.
    with contextlib.suppress(KeyboardInterrupt):
        run(_serve(getattr(importlib.import_module(f"{__package__}.{module}"), function), arguments), loop)


if __name__ == "__main__":
    _main(*sys.argv[1:])
