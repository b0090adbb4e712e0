"""Calls cancelled and timed out at every stage, with the references gone or kept."""

import asyncio
import contextlib
import gc
import logging

from siliconflow_async import APITimeoutError, AsyncSiliconFlow, RetryPolicy, Timeouts
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import ASK, chunk


async def read(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream:
            pass


async def whole(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)


async def main() -> None:
    async with FakeSiliconFlow() as server:
        once = RetryPolicy(max_attempts=1)
        async with AsyncSiliconFlow("k", base_url=server.base_url, max_connections=2, retry=once) as client:
            server.raw([chunk("a"), Stall()], times=None)
            for call in (read, whole):
                for turns in range(40):
                    task = asyncio.ensure_future(call(client))
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await task
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(call(client), 0.05)
            hasty = client.with_options(timeouts=Timeouts(first_token=0.05, idle=0.05, total=0.1))
            for call in (read, whole):
                with contextlib.suppress(APITimeoutError):
                    await call(hasty)
            server.reset()
            server.raw([chunk("a"), Stall()], times=None)
            # Nobody waits for these: the end of the block does. Two have a connection, three wait for one.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(read(client)) for _ in range(5)]
                await server.received(2)
                for task in tasks:
                    task.cancel()
        await server.disconnected()
        gc.collect()


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
# The stand-in complains of clients that leave it.
asyncio.run(main())
