"""A facade on a stand-in."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from siliconflow_async.integrations.openai import OpenAIClient
from siliconflow_async.testing import FakeSiliconFlow

from ...asking import NO_WAIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[FakeSiliconFlow, Any]]:
    """A stand-in and an OpenAIClient on it; `Any`, since openai's own types know none of what is asked here."""
    async with (
        FakeSiliconFlow() as server,
        OpenAIClient("test-key", base_url=server.base_url, **{"retry": NO_WAIT, **options}) as client,
    ):
        yield server, client
