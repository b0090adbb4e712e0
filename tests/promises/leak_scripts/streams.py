"""Streams read to their end, left in the middle, closed, and dropped; whole answers; a client closed twice."""

import asyncio
import gc
import logging

from siliconflow_async import AsyncSiliconFlow, ClosedError
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import ASK, DONE, chunk

WHOLE = [chunk("a"), chunk("b", finish="stop"), DONE]
OPEN = [chunk("a"), chunk("b"), Stall()]


async def use(client: AsyncSiliconFlow, server: FakeSiliconFlow) -> None:
    server.raw(WHOLE, times=4)
    async with client.chat.completions.stream(**ASK) as stream:
        assert [piece.content async for piece in stream] == ["a", "b"]
    async with client.chat.completions.stream(**ASK) as stream:
        assert [text async for text in stream.text()] == ["a", "b"]
    async with client.chat.completions.stream(**ASK) as stream:
        assert len([event async for event in stream.events()]) == 4
    stream = await client.chat.completions.create(**ASK, stream=True)
    assert (await stream.completion()).content == "ab"

    server.raw(OPEN, times=6)
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream:
            break
    async with client.chat.completions.stream(**ASK) as stream:
        async for _ in stream.text():
            break
    async with client.chat.completions.stream(**ASK) as stream:
        pass
    stream = await client.chat.completions.create(**ASK, stream=True)
    await stream.aclose()
    stream = await client.chat.completions.create(**ASK, stream=True)
    await anext(stream.events())
    del stream
    async for _ in await client.chat.completions.create(**ASK, stream=True):
        break
    client.chat.completions.stream(**ASK)  # never entered: nothing was sent
    await server.left_early(6)

    await client.chat.completions.create(**ASK)


async def main() -> None:
    async with FakeSiliconFlow() as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url) as client:
            await use(client, server)
            server.raw(OPEN)
            left_open = await client.chat.completions.create(**ASK, stream=True)
        await client.aclose()
        try:
            await anext(left_open)
            await anext(left_open)
        except ClosedError:
            pass
        else:
            raise AssertionError("a stream outlived its client")
        await server.disconnected()
        gc.collect()


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
asyncio.run(main())
