"""Cancel every kind of call after every turn of the loop: nothing but CancelledError comes out, and nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from siliconflow_async import AsyncSiliconFlow, RetryPolicy
from siliconflow_async.testing import FakeSiliconFlow, Pause, Stall

from ..asking import ASK, DONE, chunk, served

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio

Scenario = tuple["Callable[[FakeSiliconFlow], None]", "Callable[[AsyncSiliconFlow], Awaitable[Any]]", dict[str, Any]]


async def whole(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)


async def stream(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK) as opened:
        async for _ in opened:
            pass


async def events(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK) as opened:
        async for _ in opened.events():
            pass
        await opened.completion()


def answers(server: FakeSiliconFlow) -> None:
    server.raw([chunk("a"), chunk("b"), Pause(0.0), chunk("c", finish="stop"), DONE], times=None)


def fails(server: FakeSiliconFlow) -> None:
    server.fail(503, times=None)


def stalls(server: FakeSiliconFlow) -> None:
    server.raw([chunk("a"), Stall()], times=None)


def is_silent(server: FakeSiliconFlow) -> None:
    server.raw([], before=[Stall()], times=None)


def plain(server: FakeSiliconFlow) -> None:
    server.reply("hello", times=None)


SCENARIOS: dict[str, Scenario] = {
    "whole answer": (plain, whole, {}),
    "stream": (answers, stream, {}),
    "events": (answers, events, {}),
    "stalled stream": (stalls, stream, {}),
    "silence before headers": (is_silent, stream, {}),
    "retry sleep": (fails, whole, {"retry": RetryPolicy(max_attempts=50, base=60.0, budget=10.0)}),
}


async def cancel_raw(task: asyncio.Task[Any], turns: int, again: bool) -> None:
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    if again:
        await asyncio.sleep(0)
        task.cancel()


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_raw_cancellation_after_every_turn(name: str, again: bool) -> None:
    """`task.cancel()` at any turn gives CancelledError or the answer; afterwards 20 calls work on two connections."""
    script, act, options = SCENARIOS[name]
    # In a thread: the turns counted here are the client's alone.
    with FakeSiliconFlow().threaded() as server:
        client = AsyncSiliconFlow("k", base_url=server.base_url, max_connections=2, **options)
        async with client:
            script(server)
            tasks = asyncio.all_tasks()
            for turns in range(60):
                task = asyncio.ensure_future(act(client))
                await cancel_raw(task, turns, again)
                with contextlib.suppress(asyncio.CancelledError):
                    await task
                del task
                assert asyncio.all_tasks() == tasks
            server.reset()
            healthy = client.with_options(retry=RetryPolicy(max_attempts=1))
            for _ in range(20):
                await whole(healthy)
                await stream(healthy)
        server.wait_disconnected()


@pytest.mark.parametrize("kind", ["asyncio", "anyio"])
@pytest.mark.parametrize("name", SCENARIOS)
async def test_scopes_cancel_and_go_on(name: str, kind: str) -> None:
    """`asyncio.timeout` and anyio's scopes end a call at once and leave the task usable."""
    script, act, options = SCENARIOS[name]
    with FakeSiliconFlow().threaded() as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, max_connections=2, **options) as client:
            script(server)
            for milliseconds in (0, 1, 2, 5, 10, 20):
                if kind == "asyncio":
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(milliseconds / 1000):
                            await act(client)
                else:
                    with anyio.move_on_after(milliseconds / 1000):
                        await act(client)
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0
            server.reset()
            healthy = client.with_options(retry=RetryPolicy(max_attempts=1))
            for _ in range(20):
                await whole(healthy)
        server.wait_disconnected()


async def test_cancelling_a_wait_for_a_connection_gives_up_the_place() -> None:
    """With all connections taken, a cancelled waiter leaves the queue to the others."""
    async with served(max_connections=1) as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as held:
            await anext(held)
            waiters = [asyncio.ensure_future(whole(client)) for _ in range(5)]
            for turns, waiter in enumerate(waiters[:4]):
                await cancel_raw(waiter, turns, again=False)
            results = await asyncio.gather(*waiters[:4], return_exceptions=True)
            assert all(isinstance(result, asyncio.CancelledError) for result in results)
        await waiters[4]


async def test_cancelling_a_connect_leaves_nothing() -> None:
    """A connect that hangs is cancelled at any turn without a stray task or socket."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    try:
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=base_url, max_connections=2) as client:
            tasks = asyncio.all_tasks()
            for turns in range(20):
                task = asyncio.ensure_future(whole(client))
                await cancel_raw(task, turns, again=turns % 2 == 0)
                with pytest.raises(asyncio.CancelledError):
                    await task
                del task
                assert asyncio.all_tasks() == tasks
    finally:
        for filler in fillers:
            filler.close()
        listener.close()
