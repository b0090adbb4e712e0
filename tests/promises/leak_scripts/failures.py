"""Every kind of error, raised, caught and forgotten, and raised again by a second reading."""

import asyncio
import contextlib
import gc
import logging

from siliconflow_async import AsyncSiliconFlow, RetryPolicy, SiliconFlowError, Timeouts
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst, Stall

from ...asking import ASK, chunk

BEFORE = [[Fin()], [Rst()], [Stall()]]
ENDS = [
    [Fin()],
    [Rst()],
    [Stall()],
    [b"data: {\n\n"],
    [b'data: {"error":{"message":"no"}}\n\n'],
    [b"data: " + b"x" * 9999],
]


async def fail(client: AsyncSiliconFlow, *, streaming: bool) -> None:
    try:
        if streaming:
            async with client.chat.completions.stream(**ASK) as stream:
                with contextlib.suppress(SiliconFlowError):
                    async for _ in stream:
                        pass
                await stream.completion()
        else:
            await client.chat.completions.create(**ASK)
    except SiliconFlowError:
        return
    raise AssertionError("it did not fail")


async def main() -> None:
    limits = Timeouts(first_token=0.1, idle=0.1, total=0.2)
    once = RetryPolicy(max_attempts=1)
    async with FakeSiliconFlow() as server:
        options = {"timeouts": limits, "retry": once, "max_event_size": 5000, "max_body_size": 5000}
        async with AsyncSiliconFlow("k", base_url=server.base_url, **options) as client:
            for streaming in (True, False):
                for status in (307, 400, 401, 404, 429, 451, 500, 503, 504):
                    server.fail(status)
                    await fail(client, streaming=streaming)
                for steps in BEFORE:
                    # Twice: a kept-alive connection that proves to be stale is replaced without a word.
                    server.raw([], before=steps, times=2)
                    await fail(client, streaming=streaming)
                    server.reset()
                for steps in ENDS:
                    server.raw([chunk("a"), *steps])
                    await fail(client, streaming=streaming)
                for body in ([b"<html>"], [b'{"code":50505,"message":"busy"}'], [b"what?"], []):
                    server.raw(body)
                    await fail(client, streaming=streaming)
                server.raw([b"HTTP/9 what\r\n\r\n"], framing="verbatim")
                await fail(client, streaming=streaming)
        await server.disconnected()
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:9", retry=once) as nobody:
        await fail(nobody, streaming=True)
    gc.collect()


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
asyncio.run(main())
