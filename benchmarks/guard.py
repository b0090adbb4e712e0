"""The guard: has a chunk become more work? Counts, not seconds, so that any machine gives the same answer.

Each way of reading a stream is counted beside the unit, in one process, over the same bytes, without sockets, warmed
up. Its ratio to the unit's must not be more than 10 % above the one in guard.json. There are two counts, each with
ratios of its own per Python version:

    instructions    of the machine, by valgrind --tool=callgrind; left out, with a word, where valgrind is missing
    bytecodes       of Python, by its own tracing

`--update` writes the ratios of this run to guard.json. Exit 0 if none grew too much.

What is counted is `python -m benchmarks.guard [--bytecodes]`: each way reads one stream from memory to warm up, then
`_STREAMS` more between two marks, and checks them. A mark is a call of libc's `getloadavg`, at which valgrind writes
down what it has counted since the last one. With `--bytecodes` the number of Python's bytecode instructions between the
marks is printed instead, a line for each way.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeAlias

import aiohttp
from aiohttp.client_proto import ResponseHandler

from siliconflow_async import AsyncSiliconFlow

from . import ROOT, UNIT
from .clients import Chunks, Completion, Events, Text
from .contestants import Contestant, Unit
from .fixtures import make
from .server import STREAM_END, STREAM_HEAD, framed

# count: way: ratio
Ratios: TypeAlias = dict[str, dict[str, float]]

GROWTH = 1.10
_RATIOS = Path(__file__).with_name("guard.json")
_TOTAL = re.compile(r"^totals: (\d+)$", re.MULTILINE)
_MARK = "getloadavg"
_STREAMS = 4
# Per stream: as many as a long answer has, four to a read.
_CHUNKS = 1_000
_PER_READ = 4
_URL = "http://127.0.0.1:9/v1"
# What calls whatever the loop has to call.
_HANDLE = asyncio.Handle._run.__code__
_WAYS: dict[str, type[Contestant]] = {
    UNIT: Unit,
    "chunks": Chunks,
    "text": Text,
    "events": Events,
    "completion": Completion,
}


def _run(prefix: list[str], *options: str) -> str:
    done = subprocess.run(
        [*prefix, sys.executable, "-m", __name__, *options],
        cwd=ROOT,
        # Whatever else is in the environment moves the stack and fills os.environ.
        env={"PATH": os.environ.get("PATH", ""), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise SystemExit(f"what was to be counted failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _bytecodes() -> list[int]:
    return [int(line) for line in _run([], "--bytecodes").split()]


def _instructions() -> list[int]:
    with tempfile.TemporaryDirectory() as directory:
        dumps = Path(directory, "dump")
        _run(["valgrind", "--tool=callgrind", f"--dump-before={_MARK}", f"--callgrind-out-file={dumps}"])
        # A dump for each mark, then one at exit; every second one stands for the reading between two marks.
        totals = [_TOTAL.search(Path(f"{dumps}.{number + 1}").read_text()) for number in range(2 * len(_WAYS))]
    found = [int(total[1]) for total in totals[1::2] if total is not None]
    if len(found) != len(_WAYS):
        raise SystemExit("valgrind did not dump at every mark")
    return found


def _measure() -> Ratios:
    counts = {"bytecodes": _bytecodes}
    if shutil.which("valgrind"):
        counts["instructions"] = _instructions
    else:
        print("instructions: left out, there is no valgrind")
    print(f"counting {' and '.join(counts)}: about half a minute", file=sys.stderr, flush=True)
    ratios: Ratios = {}
    with ThreadPoolExecutor() as pool:
        running = {name: pool.submit(count) for name, count in counts.items()}
    for name, future in running.items():
        found = dict(zip(_WAYS, future.result(), strict=True))
        ratios[name] = {way: round(total / found[UNIT], 4) for way, total in found.items() if way != UNIT}
        per_chunk = (f"{way} {total / _STREAMS / _CHUNKS:,.0f}" for way, total in found.items())
        print(f"{name} per chunk: {', '.join(per_chunk)}")
    return ratios


def _judge(ratios: Ratios, committed: Ratios) -> list[str]:
    """Say what became of each ratio; return the names of those that grew too much, or that nothing is known of."""
    bad = []
    for count, ways in ratios.items():
        for way, ratio in ways.items():
            known = committed.get(count, {}).get(way)
            verdict = "ok"
            if known is None:
                verdict = "not in guard.json: run with --update"
            elif ratio > known * GROWTH:
                verdict = f"GREW by more than {GROWTH - 1:.0%}"
            if verdict != "ok":
                bad.append(f"{count} {way}")
            before = "" if known is None else f", committed {known:.3f}"
            print(f"  {count:13}{way:11} {ratio:.3f} × the unit{before}: {verdict}")
    return bad


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks guard", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="write this run's ratios to guard.json")
    options = parser.parse_args(arguments)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    ratios = _measure()
    everything: dict[str, Ratios] = json.loads(_RATIOS.read_text()) if _RATIOS.exists() else {}
    if options.update:
        everything[version] = {**everything.get(version, {}), **ratios}
        _RATIOS.write_text(json.dumps(everything, indent=2, sort_keys=True) + "\n")
    return 1 if _judge(ratios, everything.get(version, {})) else 0


class _Transport(asyncio.Transport):
    def __init__(self, protocol: ResponseHandler, reads: tuple[bytes, ...]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._reads = reads
        self._left: Iterator[bytes] | None = None
        self._paused = False
        self._closing = False

    def write(self, data: Any) -> None:
        # The request may come in several writes: the answer begins in the turn after the first.
        if self._left is None:
            self._left = iter(self._reads)
            self._next = next(self._left)
            self._loop.call_soon(self._deliver)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"")

    def _deliver(self) -> None:
        if self._paused or self._closing or self._left is None:
            return
        data, self._next = self._next, next(self._left, None)
        if self._next is None:
            # Whoever reads the end may ask again at once.
            self._left = None
        else:
            self._loop.call_soon(self._deliver)
        self._protocol.data_received(data)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return 0


class _Connector(aiohttp.BaseConnector):
    def __init__(self, reads: tuple[bytes, ...]) -> None:
        super().__init__(limit=0)
        self._answer = reads

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(_Transport(protocol, self._answer))
        return protocol


def session(blocks: Iterable[bytes]) -> aiohttp.ClientSession:
    """Return a session in which every request is answered with these blocks, each of them one read."""
    return aiohttp.ClientSession(
        connector=_Connector((STREAM_HEAD, *map(framed, blocks), STREAM_END)), timeout=aiohttp.ClientTimeout(total=None)
    )


async def _read(way: str, mark: Callable[[], object]) -> None:
    fixture = make("text", _CHUNKS, _PER_READ)
    reader = _WAYS[way](_URL)
    async with session(fixture.blocks) as connections:
        if isinstance(reader, Unit):
            reader.use(connections)
        else:
            assert isinstance(reader, Chunks)
            reader.use(AsyncSiliconFlow("key", base_url=_URL, session=connections))
        taken: list[list[str | None]] = [[] for _ in range(1 + _STREAMS)]
        await reader.stream(taken[0].append)
        mark()
        for texts in taken[1:]:
            await reader.stream(texts.append)
        mark()
    if any("".join(text or "" for text in texts) != fixture.content for texts in taken):
        raise SystemExit(f"{way} did not read what was sent")


async def _all(mark: Callable[[], object]) -> None:
    for way in _WAYS:
        await _read(way, mark)


class Tracing:
    """Counts the bytecode instructions that Python runs, and how often the loop goes on with a task."""

    def __init__(self) -> None:
        self.bytecodes = self.steps = 0

    def __enter__(self) -> Self:
        # Python 3.12 traces opcodes only if a frame asked for it before.
        sys._getframe().f_trace_opcodes = True
        sys.settrace(self._trace)
        return self

    def __exit__(self, *error: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            back = frame.f_back
            if back is not None and back.f_code is _HANDLE and frame.f_code.co_flags & inspect.CO_COROUTINE:
                self.steps += 1
        elif event == "opcode":
            self.bytecodes += 1
        return self._trace


def _count_bytecodes() -> list[int]:
    """Return how many Python has run up to each mark."""
    marks: list[int] = []
    with Tracing() as tracing:
        asyncio.run(_all(lambda: marks.append(tracing.bytecodes)))
    return marks


def _count(*options: str) -> None:
    # When the collector runs depends on what else was allocated.
    gc.disable()
    if "--bytecodes" not in options:
        asyncio.run(_all(os.getloadavg))
        return
    marks = _count_bytecodes()
    for before, after in zip(marks[::2], marks[1::2], strict=True):
        print(after - before)


if __name__ == "__main__":
    _count(*sys.argv[1:])
