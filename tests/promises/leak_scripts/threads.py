"""One client in sixteen threads, each with one loop after another, while the interpreter hardly lets any of them be.

Then the client is closed in one thread under the hands of the others: each of those gets a ClosedError, and leaves its
loop without a word.
"""

import asyncio
import gc
import logging
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from siliconflow_async import AsyncSiliconFlow, ClosedError, Limit
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import ASK, chunk

THREADS = 16
RUNS = 4


async def ask(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)
    async with client.chat.completions.stream(**ASK) as stream:
        await anext(stream)
    # Forgotten, and so left by its finalizer.
    await client.chat.completions.create(**ASK, stream=True)


def ask_in_many_loops(client: AsyncSiliconFlow) -> None:
    for _ in range(RUNS):
        asyncio.run(ask(client))


async def read_until_it_is_closed(client: AsyncSiliconFlow, opened: threading.Barrier) -> None:
    stream = await client.chat.completions.create(**ASK, stream=True)
    await anext(stream)
    opened.wait()
    try:
        await anext(stream)
    except ClosedError:
        return
    raise AssertionError("a stream outlived its client")


def use(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    server.reset()
    with ThreadPoolExecutor(THREADS) as pool:
        for run in [pool.submit(ask_in_many_loops, client) for _ in range(THREADS)]:
            run.result()
        server.wait_disconnected()
        server.raw([chunk("a"), Stall()], times=None)
        opened = threading.Barrier(THREADS + 1)
        runs = [pool.submit(asyncio.run, read_until_it_is_closed(client, opened)) for _ in range(THREADS)]
        opened.wait()
        asyncio.run(client.aclose())
        for run in runs:
            run.result()
    server.wait_disconnected()


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
sys.setswitchinterval(1e-5)
with FakeSiliconFlow().threaded() as server:
    for limits in (None, Limit(rpm=1_000_000)):
        client = AsyncSiliconFlow("k", base_url=server.base_url, limits=limits)
        use(server, client)
        state = client.limits.get(ASK["model"])
        assert state is None or (state.in_flight, state.waiting) == (0, 0), state
        del client
        gc.collect()
