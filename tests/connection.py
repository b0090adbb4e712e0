"""The one connection that a client has in use, of which the library itself tells nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from siliconflow_async import AsyncSiliconFlow


def protocol_of(client: AsyncSiliconFlow) -> Any:
    """Return aiohttp's protocol of it."""
    session = client._pool.get(asyncio.get_running_loop()).session
    (protocol,) = session.connector._acquired
    return protocol


async def reading_pauses(client: AsyncSiliconFlow) -> None:
    """Wait until a slow reader has made it stop reading."""
    transport = protocol_of(client).transport
    async with asyncio.timeout(5):
        while transport.is_reading():  # noqa: ASYNC110  # aiohttp has no event for it
            await asyncio.sleep(0)
