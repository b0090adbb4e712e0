"""The other side where limits are kept: the stand-in in a process of its own.

    python -m benchmarks.limited RPM TPM WINDOW TOKENS_PER_SECOND

Each is a number, or 0 for none. It prints its base URL, and when its standard input ends, what its meter has seen.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from types import TracebackType
from typing import NamedTuple, Self

from siliconflow_async.testing import FakeSiliconFlow

from . import ROOT, loops

__all__ = ["MODEL", "Limited", "Seen"]

MODEL = "stand-in/Large-Instruct-2507"


class Seen(NamedTuple):
    """How many requests came, how many of them were refused, and the most that any window held."""

    requests: int
    refused: int
    peak_requests: int
    peak_tokens: int


class Limited:
    """Runs the stand-in's process for as long as a `with` block; `seen` is there after it."""

    def __init__(self, rpm: int | None, tpm: int | None, window: float, tokens_per_second: float | None) -> None:
        self._arguments = [str(value or 0) for value in (rpm, tpm, window, tokens_per_second)]
        self.seen = Seen(0, 0, 0, 0)

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, *self._arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().decode().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        output, _ = self._process.communicate()
        if kind is None:
            self.seen = Seen(*json.loads(output))


async def _serve(rpm: str, tpm: str, window: str, tokens_per_second: str) -> None:
    async with FakeSiliconFlow(
        limits={MODEL: (int(rpm) or None, int(tpm) or None)},
        window=float(window),
        tokens_per_second=float(tokens_per_second) or None,
    ) as server:
        print(server.base_url, flush=True)
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin, ended.set)
        await ended.wait()
        loop.remove_reader(sys.stdin)
        meter = server.meters[MODEL]
        print(json.dumps(Seen(len(server.requests), meter.refused, meter.peak_requests, meter.peak_tokens)))


if __name__ == "__main__":
    loops.serve(_serve(*sys.argv[1:]), "asyncio")
