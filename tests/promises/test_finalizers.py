"""What is forgotten is left by its own loop: no finalizer acts in another thread, or in the midst of something else."""

from __future__ import annotations

import asyncio
import gc
import sys
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import pytest

from siliconflow_async import AsyncSiliconFlow, Limit, ToolResult
from siliconflow_async.relay import Broadcast, sse_response
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, chunk, served

pytestmark = pytest.mark.anyio

# Something to forget, and what tells whether its finalizer has had its way.
Forgettable: TypeAlias = tuple[Any, Callable[[], bool]]


async def a_stream(client: AsyncSiliconFlow) -> Forgettable:
    stream = await client.chat.completions.create(stream=True, **ASK)
    clock = stream._reading.clock
    return stream, lambda: clock._timer is None and client.limits[ASK["model"]].in_flight == 0


async def a_response(client: AsyncSiliconFlow) -> Forgettable:
    response = sse_response(client.chat.completions.stream(**ASK))
    await anext(response)
    pump = response._pump
    return response, lambda: pump.stopped


async def a_reader(client: AsyncSiliconFlow) -> Forgettable:
    broadcast = Broadcast(client.chat.completions.stream(**ASK), grace=0)
    reader = broadcast.reader()
    await anext(reader)
    return reader, lambda: broadcast.readers == 0


async def a_tool_run(client: AsyncSiliconFlow) -> Forgettable:
    begun = asyncio.Event()

    async def ask_another() -> str | None:
        async with client.chat.completions.stream(**ASK) as stream:
            begun.set()
            return (await stream.completion()).content

    async def be_quick() -> None:
        pass

    run = client.chat.completions.run_tools(**ASK, tools=[ask_another, be_quick])
    # The quick one's result comes while the other waits for its stream.
    async for event in run:
        if isinstance(event, ToolResult):
            break
    await begun.wait()
    (task,) = run._round.tasks
    return run, lambda: bool(task.cancelling())


KINDS = [a_stream, a_response, a_reader, a_tool_run]


@contextmanager
def collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def in_a_circle(thing: Any) -> None:
    """Leave it to the collector."""
    circle = [thing]
    circle.append(circle)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_another_thread_collects_is_left_by_its_own_loop(
    kind: Callable[[AsyncSiliconFlow], Awaitable[Forgettable]],
) -> None:
    """The loop, which looks after its threads, has nothing to say, and upstream is aborted."""
    asyncio.get_running_loop().set_debug(True)
    async with served(limits=Limit(rpm=1000)) as (server, client):
        if kind is a_tool_run:
            server.reply(tool_calls=[{"name": name, "arguments": {}} for name in ("ask_another", "be_quick")])
        server.raw([chunk("a"), Stall()])
        with collector_off():
            thing, left = await kind(client)
            in_a_circle(thing)
            del thing
            await asyncio.to_thread(gc.collect)
            async with asyncio.timeout(5):
                await server.left_early()
        assert left()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_finalizer_changes_nothing_before_the_next_turn(
    kind: Callable[[AsyncSiliconFlow], Awaitable[Forgettable]],
) -> None:
    """The collector may run in the midst of any change to the same heap, queue or gate."""
    async with served(limits=Limit(rpm=1000)) as (server, client):
        if kind is a_tool_run:
            server.reply(tool_calls=[{"name": name, "arguments": {}} for name in ("ask_another", "be_quick")])
        server.raw([chunk("a"), Stall()])
        with collector_off():
            thing, left = await kind(client)
            in_a_circle(thing)
            del thing
            gc.collect()
            assert not left()
            await asyncio.sleep(0)
            assert left()
        async with asyncio.timeout(5):
            await server.left_early()


def test_a_stream_whose_loop_has_closed_gives_back_its_place(
    monkeypatch: pytest.MonkeyPatch, complaints: list[str]
) -> None:
    """Other loops share the gate, and none of them will hear of it otherwise."""
    with FakeSiliconFlow().threaded() as server, warnings.catch_warnings():
        # A loop that is closed over open connections leaves them to the collector, and aiohttp has a word for each.
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
        warnings.simplefilter("ignore", ResourceWarning)
        server.raw([chunk("a"), Stall()])
        client = AsyncSiliconFlow("k", base_url=server.base_url, limits=Limit(rpm=1000))
        loop = asyncio.new_event_loop()
        stream = loop.run_until_complete(client.chat.completions.create(stream=True, **ASK))
        loop.close()
        limits = client.limits
        assert limits[ASK["model"]].in_flight == 1

        async def forget() -> None:
            nonlocal stream
            stream = None  # type: ignore[assignment]  # the last reference
            assert limits[ASK["model"]].in_flight == 1
            await asyncio.sleep(0)

        asyncio.run(forget())
        assert limits[ASK["model"]].in_flight == 0
        del client
        gc.collect()
        assert all("Unclosed client session" in told for told in complaints)
        complaints.clear()
