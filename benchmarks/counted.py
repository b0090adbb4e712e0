"""What the guard counts: `python -m benchmarks.counted WAY… [--bytecodes]`, each WAY one of `WAYS`.

Each of them reads one stream from memory to warm up, then `STREAMS` more between two marks, and checks them. A mark is
a call of libc's `getloadavg`, at which valgrind writes down what it has counted since the last one. With `--bytecodes`
the number of Python's bytecode instructions between the marks is printed instead, a line for each way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
from collections.abc import Callable
from typing import Any

from siliconflow_async import AsyncSiliconFlow

from .contestants.contestant import Contestant
from .contestants.ours import Chunks, Completion, Events, Text
from .contestants.unit import Unit
from .fixtures import make
from .in_process import session

__all__ = ["CHUNKS", "MARK", "STREAMS", "WAYS"]

MARK = "getloadavg"
STREAMS = 4
# Per stream: as many as a long answer has, four to a read.
CHUNKS = 1_000
_PER_READ = 4
_URL = "http://127.0.0.1:9/v1"
WAYS: dict[str, type[Contestant]] = {
    "unit": Unit,
    "chunks": Chunks,
    "text": Text,
    "events": Events,
    "completion": Completion,
}


async def _read(way: str, mark: Callable[[], object]) -> None:
    fixture = make("text", CHUNKS, _PER_READ)
    reader = WAYS[way](_URL)
    async with session(fixture.blocks) as connections:
        if isinstance(reader, Unit):
            reader.use(connections)
        else:
            assert isinstance(reader, Chunks)
            reader.use(AsyncSiliconFlow("key", base_url=_URL, session=connections))
        taken: list[list[str | None]] = [[] for _ in range(1 + STREAMS)]
        await reader.stream(taken[0].append)
        mark()
        for texts in taken[1:]:
            await reader.stream(texts.append)
        mark()
    if any("".join(text or "" for text in texts) != fixture.content for texts in taken):
        raise SystemExit(f"{way} did not read what was sent")


class _Bytecodes:
    """Counts bytecode instructions of all Python code."""

    def __init__(self) -> None:
        self.count = 0
        self.marks: list[int] = []

    def __enter__(self) -> _Bytecodes:
        # Python 3.12 traces opcodes only if a frame asked for it before.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        return self

    def __exit__(self, *failure: object) -> None:
        sys.settrace(None)

    def mark(self) -> None:
        self.marks.append(self.count)

    def _trace(self, frame: Any, event: str, argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            self.count += 1
        return self._trace


async def _all(ways: list[str], mark: Callable[[], object]) -> None:
    for way in ways:
        await _read(way, mark)


def main(arguments: list[str]) -> None:
    # When the collector runs depends on what else was allocated.
    gc.disable()
    ways = [way for way in arguments if way in WAYS]
    if "--bytecodes" not in arguments:
        asyncio.run(_all(ways, os.getloadavg))
        return
    with _Bytecodes() as bytecodes:
        asyncio.run(_all(ways, bytecodes.mark))
    for before, after in zip(bytecodes.marks[::2], bytecodes.marks[1::2], strict=True):
        print(after - before)


if __name__ == "__main__":
    main(sys.argv[1:])
