"""What tests of the client share: a stand-in, a client on it, and short requests."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import siliconflow_async
from siliconflow_async import AsyncSiliconFlow, RetryPolicy
from siliconflow_async.testing import FakeSiliconFlow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ASK: dict[str, Any] = {"model": "stand-in/model", "messages": [{"role": "user", "content": "hi"}]}
NO_WAIT = RetryPolicy(base=0.0)


def chunk(content: str | None = None, *, finish: str | None = None, index: int = 0, **delta: Any) -> bytes:
    """One event of a stream."""
    choice = {"index": index, "delta": {"content": content, **delta}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def environment(*paths: Path) -> dict[str, str]:
    """The environment of a program that imports this tree and `paths`, and makes its loops as the tests do."""
    here = [os.environ.get("PYTHONPATH"), Path(siliconflow_async.__file__).parents[1], *paths]
    return os.environ | {"PYTHONPATH": os.pathsep.join(str(path) for path in here if path)}


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[FakeSiliconFlow, AsyncSiliconFlow]]:
    """A stand-in and a client on it."""
    async with (
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("test-key", base_url=server.base_url, **{"retry": NO_WAIT, **options}) as client,
    ):
        yield server, client


def protocol_of(client: AsyncSiliconFlow) -> Any:
    """Return aiohttp's protocol of the one connection in use, of which the library itself tells nothing."""
    session = client._pool.get(asyncio.get_running_loop()).session
    (protocol,) = session.connector._acquired
    return protocol


async def reading_pauses(client: AsyncSiliconFlow) -> None:
    """Wait until a slow reader has made the one connection in use stop reading."""
    transport = protocol_of(client).transport
    async with asyncio.timeout(5):
        while transport.is_reading():  # noqa: ASYNC110  # aiohttp has no event for it
            await asyncio.sleep(0)
