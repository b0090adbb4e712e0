"""A client on a stand-in, the shortest request, and what streams are made of."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

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


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[FakeSiliconFlow, AsyncSiliconFlow]]:
    """A stand-in and a client on it."""
    async with (
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("test-key", base_url=server.base_url, **{"retry": NO_WAIT, **options}) as client,
    ):
        yield server, client
