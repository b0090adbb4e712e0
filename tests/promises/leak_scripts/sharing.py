"""A borrowed session, which stays open and with its owner; copies that share a pool; TLS."""

import asyncio
import gc
import logging
import ssl

import aiohttp
import trustme

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import ASK, chunk


async def use(client: AsyncSiliconFlow, server: FakeSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)
    async with client.chat.completions.stream(**ASK) as stream:
        await stream.completion()
    before = len(server.requests)
    server.raw([chunk("a"), Stall()], times=2)
    async with client.chat.completions.stream(**ASK) as stream:
        await anext(stream)
    stream = await client.chat.completions.create(**ASK, stream=True)
    del stream
    assert len(server.requests) == before + 2


async def borrow() -> None:
    async with FakeSiliconFlow() as server, aiohttp.ClientSession() as session:
        async with AsyncSiliconFlow("k", base_url=server.base_url, session=session) as client:
            await use(client, server)
        forgotten = AsyncSiliconFlow("k", base_url=server.base_url, session=session)
        await use(forgotten, server)
        del forgotten
        gc.collect()
        assert not session.closed
        async with session.get(server.base_url + "/models") as response:
            await response.read()


async def copies() -> None:
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("k", base_url=server.base_url) as client:
        for seconds in range(1, 4):
            await use(client.with_options(timeout=seconds), server)
        gc.collect()
        await use(client, server)


async def tls() -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.configure_trust(ours)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    async with FakeSiliconFlow(ssl=theirs) as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, ssl=ours) as client:
            await use(client, server)
        await server.disconnected()


# How slow this machine is, which the development mode would tell.
logging.getLogger("asyncio").setLevel(logging.ERROR)
for part in (borrow, copies, tls):
    asyncio.run(part())
    gc.collect()
