"""One client in several `asyncio.run()`s, closed in none; and clients that end with their loops, streams left open."""

import asyncio
import gc
import logging

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import ASK, chunk


async def ask(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)
    async with client.chat.completions.stream(**ASK) as stream:
        await stream.completion()


async def make_one_and_leave(base_url: str) -> AsyncSiliconFlow:
    client = AsyncSiliconFlow("k", base_url=base_url)
    await ask(client)
    return client


async def leave_a_stream_open(client: AsyncSiliconFlow) -> object:
    stream = await client.chat.completions.create(**ASK, stream=True)
    await anext(stream)
    return stream


async def leave_a_reader_behind(client: AsyncSiliconFlow) -> asyncio.Task[object]:
    stream = await client.chat.completions.create(**ASK, stream=True)
    await anext(stream)
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    return reader  # the end of the loop cancels it


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
with FakeSiliconFlow().threaded() as server:
    shared = AsyncSiliconFlow("k", base_url=server.base_url)
    for _ in range(3):
        asyncio.run(ask(shared))
        server.wait_disconnected()
    asyncio.run(make_one_and_leave(server.base_url))
    server.wait_disconnected()
    server.raw([chunk("a"), Stall()], times=2)
    kept = asyncio.run(leave_a_stream_open(shared))
    server.wait_disconnected()
    task = asyncio.run(leave_a_reader_behind(shared))
    assert task.cancelled()
    server.wait_disconnected()
    del kept, task
    gc.collect()
    asyncio.run(ask(shared))
    asyncio.run(shared.aclose())
    del shared
    gc.collect()
