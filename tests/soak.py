"""Thousands of short streams, some of which break: `python tests/soak.py [--streams N] [--concurrency N] [--faults R]`.

A server in a process of its own answers as the request's text asks: with a whole stream, or with a fault. Each outcome
is checked. Ten or more times on the way, between two batches, the process counts its file descriptors, tasks, memory
and objects. Flat means, leaving out the first quarter:

- at most one file descriptor for each connection that may be kept, and none too many once the client is closed;
- no task but this one;
- memory and objects of the last third of the rest (their medians) at most 2 % and 2 MiB, or 1,000 objects, above those
  of its first third.

Prints a table; exits with 1 if an outcome was wrong or something was not flat.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import os
import random
import struct
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from socket import SO_LINGER, SOL_SOCKET
from statistics import median
from typing import Any, NamedTuple

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    MalformedStreamError,
    RetryPolicy,
    SiliconFlowError,
    StreamAPIError,
    Timeouts,
    TruncatedStreamError,
)

WORDS = ["Streams ", "that ", "tell ", "the ", "truth, ", "流 ", "and ", "no ", "other", "."]
BROKEN_AFTER = 4
WHOLE, PARTIAL = "".join(WORDS), "".join(WORDS[:BROKEN_AFTER])
IDLE = 0.25

# What breaks, and what the caller has to see: an exception with what had come, or (None) the whole text all the same.
OUTCOMES: dict[str, type[Exception] | None] = {
    "fin": TruncatedStreamError,
    "rst": TruncatedStreamError,
    "end": TruncatedStreamError,
    "stall": APITimeoutError,
    "error": StreamAPIError,
    "malformed": MalformedStreamError,
    "503": None,
    "429": None,
}
LEAVING = ["break", "drop", "cancel"]


def event(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    data = b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
REFUSAL = b"HTTP/1.1 %b Busy\r\nretry-after: 0.01\r\ncontent-length: 0\r\n\r\n"
LAST = b"0\r\n\r\n"
START = HEAD + b"".join(map(event, WORDS[:BROKEN_AFTER]))
ANSWER = START + b"".join(map(event, WORDS[BROKEN_AFTER:])) + event("", "stop") + framed(b"data: [DONE]\n\n") + LAST
FRAMES = {"error": b'data: {"code":50505,"message":"busy"}\n\n', "malformed": b"data: {]\n\n"}


class Server:
    """Answers each request as its text asks: `FAULT NUMBER`."""

    def __init__(self) -> None:
        self.refused: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self.answer(reader, writer):
                pass
        writer.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; False if the connection is to end."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        asked: str = json.loads(body)["messages"][0]["content"]
        match asked.split()[0]:
            case "503" | "429" as status if asked not in self.refused:
                self.refused.add(asked)
                writer.write(REFUSAL % status.encode())
            case "error" | "malformed" as kind:
                writer.write(START + framed(FRAMES[kind]) + LAST)
            case "end":
                writer.write(START + LAST)
            case "fin":
                writer.write(START)
                return False
            case "rst":
                writer.write(START)
                await writer.drain()
                writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                return False
            case "stall" | "break" | "drop" | "cancel":
                writer.write(START)
                await reader.read()
                return False
            case _:
                writer.write(ANSWER)
        return True


async def serve() -> None:
    """Serve until standard input ends, so that the server never outlives the soak."""
    server = await asyncio.start_server(Server().serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    os._exit(0)


class Sample(NamedTuple):
    streams: int
    files: int
    tasks: int
    memory: int
    objects: int


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def sample(streams: int) -> Sample:
    gc.collect()
    memory = int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0])
    return Sample(streams, open_files(), len(asyncio.all_tasks()), memory, len(gc.get_objects()))


async def check(client: AsyncSiliconFlow, kind: str, number: int) -> str | None:
    """Make one stream; return what is wrong with its outcome."""
    ask: dict[str, Any] = {"model": "m/m", "messages": [{"role": "user", "content": f"{kind} {number}"}]}
    if kind in LEAVING:
        return await leave(client, kind, ask)
    expected = OUTCOMES.get(kind)
    text, ended = "", "well"
    try:
        async with client.chat.completions.stream(**ask) as stream:
            async for chunk in stream:
                text += chunk.content or ""
    except SiliconFlowError as error:
        ended = type(error).__name__
        partial = getattr(error, "partial", None)
        if partial is None or partial.content != text:
            return f"{kind}: {ended} without what had come"
    wanted = ("well", WHOLE) if expected is None else (expected.__name__, PARTIAL)
    return None if (ended, text) == wanted else f"{kind}: ended {ended} with {text!r}"


async def leave(client: AsyncSiliconFlow, kind: str, ask: dict[str, Any]) -> str | None:
    if kind == "break":
        async with client.chat.completions.stream(**ask) as stream:
            async for _ in stream:
                break
        return None if stream.ended == "closed" else f"{kind}: ended {stream.ended}"
    stream = await client.chat.completions.create(**ask, stream=True)
    if kind == "drop":
        await anext(stream)
        return None
    reader = asyncio.ensure_future(stream.completion())
    await asyncio.sleep(0.01)  # some part of the answer has come: how much is left to chance
    reader.cancel()
    await asyncio.wait([reader])
    return None if reader.cancelled() else f"{kind}: not cancelled, {reader.exception()!r}"


async def soak(base_url: str, streams: int, concurrency: int, faults: float, rng: random.Random) -> list[str]:
    """Make the streams, print the table, return what is wrong."""
    broken = [*OUTCOMES, *LEAVING]
    kinds = [rng.choice(broken) if rng.random() < faults else "whole" for _ in range(streams)]
    wrong: list[str] = []
    samples: list[Sample] = []
    files_before = open_files()

    async def worker(client: AsyncSiliconFlow, numbers: range) -> None:
        for number in numbers:
            kind = kinds[number]
            try:
                async with asyncio.timeout(30):
                    outcome = await check(client, kind, number)
            except Exception as error:
                outcome = f"{kind}: {error!r}"
            if outcome is not None:
                wrong.append(outcome)

    batch = max(concurrency, min(1000, streams // 10))
    limits = Timeouts(idle=IDLE)
    async with AsyncSiliconFlow("k", base_url=base_url, timeouts=limits, retry=RetryPolicy(budget=1.0)) as client:
        print(f"{'streams':>8} {'files':>6} {'tasks':>6} {'KiB':>8} {'objects':>8}")
        for start in range(0, streams, batch):
            end = min(start + batch, streams)
            async with asyncio.TaskGroup() as group:
                for first in range(start, min(start + concurrency, end)):
                    group.create_task(worker(client, range(first, end, concurrency)))
            samples.append(sample(end))
            print(f"{end:8} {samples[-1].files:6} {samples[-1].tasks:6} {samples[-1].memory:8} {samples[-1].objects:8}")
    print(", ".join(f"{count} {kind}" for kind, count in Counter(kinds).most_common()))
    for _ in range(1000):  # turns of the loop: the sockets of the closed client go in one of them
        if open_files() <= files_before:
            break
        await asyncio.sleep(0)
    else:
        wrong.append(f"{open_files() - files_before} files are open after the end")
    return wrong + not_flat(samples[len(samples) // 4 :], files_before + concurrency + 1)


def not_flat(samples: list[Sample], most_files: int) -> list[str]:
    third = max(1, len(samples) // 3)
    early, late = samples[:third], samples[-third:]
    wrong = [f"{one.tasks} tasks after {one.streams} streams" for one in samples if one.tasks != 1]
    wrong += [f"{one.files} files after {one.streams} streams" for one in samples if one.files > most_files]
    for name, slack in (("memory", 2048), ("objects", 1000)):
        before, after = (median(getattr(one, name) for one in part) for part in (early, late))
        if after > before * 1.02 + slack:
            wrong.append(f"{name} grew from {before} to {after}")
    return wrong


async def main() -> int:
    parser = argparse.ArgumentParser(description="Thousands of short streams, some of which break.")
    parser.add_argument("--streams", type=int, default=20_000)
    parser.add_argument("--concurrency", type=int, default=50)
    parser.add_argument("--faults", type=float, default=0.01, help="the share of streams that break")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        await serve()
    logging.getLogger("siliconflow_async").setLevel(logging.ERROR)  # no word for each retry
    asyncio.get_running_loop().slow_callback_duration = 60  # nor, in debug mode, for each slow turn
    print(f"seed {options.seed}")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, "--serve", stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        base_url = f"http://127.0.0.1:{int(await process.stdout.readline())}/v1"
        rng = random.Random(options.seed)
        wrong = await soak(base_url, options.streams, options.concurrency, options.faults, rng)
    finally:
        process.stdin.close()
        await process.wait()
    print(*(wrong[:20] or ["flat, and every outcome as it should be"]), sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
