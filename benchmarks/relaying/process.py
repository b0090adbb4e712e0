"""A relay under uvicorn: `python -m benchmarks.relaying.process MODULE MAKE UPSTREAM LOOP`.

It answers each line on standard input with a JSON object: CPU seconds of this process so far, and, where Linux tells,
resident bytes now and at most. The line "begin" makes "at most" begin anew. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import os
import re
import socket
import sys
import time
from pathlib import Path

import uvicorn

from ..loops import run

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")
_PEAK_ONLY = "5"


def _facts() -> dict[str, float]:
    facts = {"cpu": time.process_time()}
    if _STATUS.exists():
        sizes = dict(re.findall(r"(Vm\w+):\s*(\d+) kB", _STATUS.read_text()))
        facts |= {"resident": int(sizes["VmRSS"]) * 1024, "peak": int(sizes["VmHWM"]) * 1024}
    return facts


def _begin() -> None:
    gc.collect()
    if _CLEAR.exists():
        _CLEAR.write_text(_PEAK_ONLY)


async def _command() -> None:
    loop = asyncio.get_running_loop()
    commands = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        if line == b"begin\n":
            _begin()
        print(json.dumps(_facts()), flush=True)
    # Streams whose client has gone unnoticed would keep a graceful end waiting.
    os._exit(0)


async def _serve(module: str, make: str, upstream: str) -> None:
    app = getattr(importlib.import_module(f"{__package__}.{module}"), make)(upstream)
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(json.dumps({"port": sock.getsockname()[1]}), flush=True)
    commanded = asyncio.create_task(_command())
    # A slow client answers no ping until it has read what came before.
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws_ping_interval=None)
    # Plain relays go on writing to clients that have gone, of which asyncio warns.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    await uvicorn.Server(config).serve(sockets=[sock])
    commanded.cancel()


if __name__ == "__main__":
    run(_serve(*sys.argv[1:4]), sys.argv[4])
