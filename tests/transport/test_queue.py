"""Waiting for one of the client's connections: its clock, its warning, and the counts of those in use and waiting."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import pytest

from siliconflow_async import APITimeoutError, AsyncSiliconFlow, Connections, Timeouts
from siliconflow_async.testing import FakeSiliconFlow, Gate, Stall, Until
from siliconflow_async.transport.queue import Queue

from ..asking import ASK, DONE, chunk, served
from .test_clock import LIMIT, expires

if TYPE_CHECKING:
    from siliconflow_async import ChatStream

pytestmark = pytest.mark.anyio


async def held(
    stack: AsyncExitStack, server: FakeSiliconFlow, client: AsyncSiliconFlow, count: int
) -> list[ChatStream]:
    """Open streams that say one thing, and keep them."""
    server.raw([chunk("a"), Stall()], times=count)
    return [await stack.enter_async_context(client.chat.completions.stream(**ASK)) for _ in range(count)]


async def waits(client: AsyncSiliconFlow, count: int) -> None:
    """Return once so many calls wait for a connection."""
    async with asyncio.timeout(5):
        while counts(client)[1] != count:  # noqa: ASYNC110  # who waits tells nobody, by design
            await asyncio.sleep(0)


def counts(client: AsyncSiliconFlow) -> tuple[int, int, int]:
    fared = client.connections
    assert fared is not None
    return fared.in_use, fared.waiting, fared.max


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_call_for_which_no_connection_comes_free_ends(streaming: bool) -> None:
    """Ten streams that are held, and an eleventh call: it ends by its own clock, once, and harms none of them."""
    async with served(max_connections=10, timeouts=Timeouts(pool=LIMIT)) as (server, client), AsyncExitStack() as stack:
        streams = await held(stack, server, client, 10)
        with expires("pool") as caught:
            await client.chat.completions.create(stream=streaming, **ASK)
        error = caught.value
        assert (error.attempts, error.stage, error.budget_spent) == (1, "local", False)
        assert str(error) == f"the pool limit of {LIMIT:g} s ran out: all connections of the client were in use"
        assert len(server.requests) == 10
        assert counts(client) == (10, 0, 10)
        await streams[0].aclose()
        assert (await client.chat.completions.create(**ASK)).content


async def test_what_comes_after_the_wait_has_its_own_clocks() -> None:
    """Once there is a connection, connect and first_token begin; the pool clock is done, and switched off never ran."""
    for pool in (LIMIT, None):
        timeouts = Timeouts(pool=pool, first_token=5, idle=5)
        async with served(max_connections=1, timeouts=timeouts) as (server, client), AsyncExitStack() as stack:
            (stream,) = await held(stack, server, client, 1)
            gate = Gate()
            server.raw([chunk("b"), Until(gate), chunk("c", finish="stop"), DONE])
            call = asyncio.ensure_future(client.chat.completions.create(stream=True, **ASK))
            await waits(client, 1)
            await stream.aclose()
            second = await call
            # Longer than the wait was allowed to be.
            asyncio.get_running_loop().call_later(LIMIT * 1.5, gate.set)
            assert (await second.completion()).content == "bc"


async def test_a_pool_clock_that_is_off_lets_a_call_wait_up_to_total() -> None:
    """None switches it off."""
    timeouts = Timeouts(pool=None, total=LIMIT)
    async with served(max_connections=1) as (server, client), AsyncExitStack() as stack:
        await held(stack, server, client, 1)
        with expires("total"):
            await client.chat.completions.create(**ASK, timeout=timeouts)


async def test_those_who_use_and_those_who_wait_are_counted() -> None:
    """The counts follow calls as they wait, are cancelled, get a connection and give it back; any thread may ask."""
    async with served(max_connections=2) as (server, client), AsyncExitStack() as stack:
        assert counts(client) == (0, 0, 2)
        streams = await held(stack, server, client, 2)
        assert counts(client) == (2, 0, 2)
        calls = [asyncio.ensure_future(client.chat.completions.create(**ASK)) for _ in range(1000)]
        await waits(client, 1000)
        assert counts(client.with_options()) == (2, 1000, 2)
        seen: list[Connections | None] = []
        thread = threading.Thread(target=lambda: seen.append(client.connections))
        thread.start()
        thread.join()
        assert seen == [client.connections] == [Connections(in_use=2, waiting=1000, max=2)]
        for call in calls[5:]:
            call.cancel()
        await waits(client, 5)
        await streams[0].aclose()
        await asyncio.gather(*calls[:5])
        assert counts(client) == (1, 0, 2)
        await streams[1].aclose()
        assert counts(client) == (0, 0, 2)
    assert counts(client) == (0, 0, 2)


async def test_a_borrowed_session_tells_nothing() -> None:
    """There the wait is bounded by total alone, and there are no counts."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session,
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("k", base_url=server.base_url, session=session, timeouts=Timeouts(pool=0.01)) as client,
        AsyncExitStack() as stack,
    ):
        await held(stack, server, client, 1)
        assert client.connections is None
        with expires("total"):
            await client.chat.completions.create(**ASK, timeout=Timeouts(pool=0.01, total=LIMIT))


async def test_a_run_asks_no_more_at_a_time_than_there_are_connections() -> None:
    """`map` with more concurrency than connections lets no request wait for one, so that none runs out of time."""
    gate = Gate()
    async with served(max_connections=2, timeouts=Timeouts(pool=0.01)) as (server, client):
        server.raw([Until(gate), chunk("a", finish="stop"), DONE], times=None)
        asks: list[dict[str, Any]] = [{"messages": ASK["messages"]} for _ in range(6)]
        async with client.chat.completions.map(asks, model=ASK["model"], max_concurrency=6) as results:
            first = asyncio.ensure_future(anext(results))
            await server.received(2)
            asyncio.get_running_loop().call_later(LIMIT, gate.set)
            assert (await first).error is None
            assert [result.error async for result in results] == [None] * 5


async def test_many_that_wait_for_long_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Two hundred calls that have waited for 5 s make one line, which says for what."""
    timeouts = Timeouts(pool=5.5)
    async with served(max_connections=3, timeouts=timeouts) as (server, client), AsyncExitStack() as stack:
        await held(stack, server, client, 3)
        calls = [client.chat.completions.create(**ASK) for _ in range(200)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(end) for end in ends} == {APITimeoutError}
        (record,) = [record for record in caplog.records if record.name == "siliconflow_async"]
        assert record.levelno == logging.WARNING
        assert "waiting for one of max_connections=3 (calls: 200, the first for 5 s)" in record.getMessage()
        assert counts(client) == (3, 0, 3)


class ByHand:
    """As much of an event loop as a queue uses, with a clock that stands."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback: Callable[[], object]) -> Any:
        timer = (at, callback)
        self.timers.append(timer)

        class Handle:
            cancel = staticmethod(lambda: self.timers.remove(timer))

        return Handle

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.timers and min(self.timers)[0] <= end:
            timer = min(self.timers, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = end


def test_a_warning_needs_a_long_wait_of_one_call_and_comes_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """A queue through which calls pass quickly is none to warn of, and one that stands is told of once a minute."""
    loop = ByHand()
    queue = Queue(cast("asyncio.AbstractEventLoop", loop), 10)

    def lines() -> list[str]:
        return [record.getMessage().partition(";")[0] for record in caplog.records]

    # Never empty for a minute, but nobody waits for more than four seconds.
    passing = [queue.wait() for _ in range(30)]
    for number, wait in enumerate(passing):
        wait.__enter__()
        if number:
            passing[number - 1].__exit__(None, None, None)
        loop.run(2)
    assert lines() == []
    with queue.wait():
        passing[-1].__exit__(None, None, None)
        loop.run(130)
        words = "waiting for one of max_connections=10 (calls: 1, the first for"
        assert lines() == [f"{words} {seconds} s)" for seconds in (5, 65, 125)]
    assert loop.timers == []
    with queue.wait(), queue.wait():
        loop.run(54)
        assert len(lines()) == 3
        loop.run(2)
        assert lines()[3:] == ["waiting for one of max_connections=10 (calls: 2, the first for 55 s)"]
    assert (len(queue), loop.timers) == (0, [])
