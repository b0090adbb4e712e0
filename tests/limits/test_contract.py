"""What every store of shared limits does, whether they lie in this process, in Redis or in an actor of Ray.

Redis is a real one, where the machine has it, and fakeredis; Ray is the cluster at SILICONFLOW_RAY, which only the
tests on a cluster start.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from siliconflow_async import AsyncSiliconFlow, Limit
from siliconflow_async.limits.given import SharedLimits
from siliconflow_async.limits.shared import MemoryLimits
from siliconflow_async.testing import FakeSiliconFlow, Gate, Until

from ..asking import ASK
from ..steady import steady

pytestmark = pytest.mark.anyio

MODEL = ASK["model"]
WINDOW = 1.0
Store = Callable[[Limit], SharedLimits]


@pytest.fixture(params=["memory", "redis", "fakeredis", "ray"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Make the limits of another process of one account, each time it is called."""
    account = uuid.uuid4().hex
    match request.param:
        case "memory":
            made: list[MemoryLimits] = []

            def in_memory(limit: Limit) -> SharedLimits:
                made[:] = made or [MemoryLimits(limit)]
                return made[0]

            yield in_memory
        case "redis":
            pytest.importorskip("redis")
            if shutil.which("redis-server") is None:
                pytest.skip("no redis-server on this machine")
            from siliconflow_async.integrations.redis import RedisLimits

            from ..integrations.redis.server import RedisServer

            with RedisServer(tmp_path / "redis") as server:
                yield lambda limit: RedisLimits(server.url, limit, account=account)
        case "fakeredis":
            fakeredis = pytest.importorskip("fakeredis")
            pytest.importorskip("lupa")
            from siliconflow_async.integrations.redis import RedisLimits

            with fakeredis.FakeRedis() as client:
                yield lambda limit: RedisLimits(client, limit, account=account)
        case "ray":
            address = os.environ.get("SILICONFLOW_RAY")
            if address is None:
                pytest.skip("no Ray cluster")
            import ray

            from siliconflow_async.integrations.ray import RayLimits

            ray.init(address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
            yield lambda limit: RayLimits(limit, account=account)


@asynccontextmanager
async def two(store: Store, server: FakeSiliconFlow, limit: Limit) -> AsyncIterator[list[AsyncSiliconFlow]]:
    """Two clients, each with limits as another process would have them."""
    async with AsyncExitStack() as stack:
        made = [AsyncSiliconFlow("key", base_url=server.base_url, limits=store(limit)) for _ in range(2)]
        yield [await stack.enter_async_context(client) for client in made]


async def ask(client: AsyncSiliconFlow, times: int) -> None:
    questions: list[Any] = [ASK] * times
    async with client.chat.completions.map(questions, max_tokens=2) as results:
        assert [result.error async for result in results] == [None] * times


async def until_waiting(client: AsyncSiliconFlow) -> None:
    """Let the loop turn until a call waits."""
    while not client.limits[MODEL].waiting:  # noqa: ASYNC110  # nothing tells of it
        await asyncio.sleep(0)


@steady
async def test_two_keep_to_one_limit_together(store: Store) -> None:
    """Each wants all of it, three times: nothing is refused."""
    limit = Limit(rpm=20, window=WINDOW)
    async with FakeSiliconFlow(limits={MODEL: (20, None)}, window=WINDOW) as server:
        async with two(store, server, limit) as clients:
            await asyncio.gather(*(ask(client, 30) for client in clients))
        assert server.meters[MODEL].refused == 0


async def test_each_sees_what_both_have_used(store: Store) -> None:
    """As of the last time it heard of the store, which is no later than its own last call."""
    async with FakeSiliconFlow() as server, two(store, server, Limit(rpm=1000)) as (one, other):
        await ask(one, 5)
        await ask(other, 1)
        await ask(other, 1)
        state = other.limits[MODEL]
        # With what lies free for calls to come: a fiftieth, and for a moment that of one who knew of no other.
        assert 6 <= state.requests <= 7 + 0.04 * 1000
        assert (state.rpm, state.learned) == (1000, False)


async def test_calls_that_were_cancelled_leave_the_limit_to_others(store: Store) -> None:
    """Before they were sent: they have used nothing."""
    gate = Gate()
    limit = Limit(rpm=10)
    async with FakeSiliconFlow() as server, two(store, server, limit) as (one, other):
        server.raw([Until(gate)], times=4)
        begun = [asyncio.ensure_future(one.chat.completions.create(**ASK, max_tokens=2)) for _ in range(4)]
        await server.received(4)
        waiting = [asyncio.ensure_future(one.chat.completions.create(**ASK, max_tokens=2)) for _ in range(100)]
        await until_waiting(one)
        for call in [*waiting, *begun]:
            call.cancel()
        await asyncio.gather(*waiting, *begun, return_exceptions=True)
        sent = len(server.requests)
        async with asyncio.timeout(20):
            await ask(other, 10 - sent)


async def test_all_learn_of_one_refusal(store: Store) -> None:
    """Without limits given: what one found out, the other keeps to from its first call on."""
    limit = Limit(window=WINDOW)
    kept = {MODEL: (20, None)}
    async with FakeSiliconFlow(limits=kept, window=WINDOW) as server, two(store, server, limit) as (one, other):
        await ask(one, 40)
        assert one.limits[MODEL].learned
        await ask(other, 1)
        state = other.limits[MODEL]
        assert state.learned
        # How near it comes depends on how a burst fell into the window.
        assert state.rpm is not None
        assert 4 <= state.rpm <= 30
