"""Limits that several clients share: each lets out what it was lent, and together they keep to one limit."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from siliconflow_async import AsyncSiliconFlow, ConfigurationError, Limit
from siliconflow_async.limits.shared import MemoryLimits, StoredLimits
from siliconflow_async.testing import FakeSiliconFlow

from ..steady import steady

pytestmark = pytest.mark.anyio
MODEL = "org/model"


def questions(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": "Hi"}], "seed": seed} for seed in range(count)]


async def ask(client: AsyncSiliconFlow, count: int) -> None:
    """Ask so many questions, and have them all answered."""
    async with client.chat.completions.map(questions(count), model=MODEL, max_tokens=5) as results:
        async for result in results:
            assert result.error is None, result.error


@steady
async def test_clients_that_share_a_limit_keep_to_it_together() -> None:
    """Three that want more than there is are refused nothing."""
    limits = MemoryLimits({MODEL: Limit(rpm=30, window=1.0)})
    async with FakeSiliconFlow(limits={MODEL: (30, None)}, window=1.0) as server:
        clients = [AsyncSiliconFlow("key", base_url=server.base_url, limits=limits) for _ in range(3)]
        await asyncio.gather(*(ask(client, 30) for client in clients))
        for client in clients:
            await client.aclose()
        meter = server.meters[MODEL]
    assert meter.refused == 0
    assert meter.peak_requests <= 30


@pytest.mark.parametrize("bad", [{"on_loss": "wait"}, {"processes": 0}, {"processes": True}])
async def test_options_that_cannot_be_are_named(bad: dict[str, Any]) -> None:
    """Before anything is asked."""
    (name,) = bad
    with pytest.raises(ConfigurationError, match=name):
        MemoryLimits(Limit(rpm=1), **bad)


async def test_limits_are_shared_once() -> None:
    """What is shared already is no limit to be shared."""
    with pytest.raises(ConfigurationError, match="shared already"):
        StoredLimits(MemoryLimits(Limit(rpm=1)))  # type: ignore[arg-type]  # as a user might
