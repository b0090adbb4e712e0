"""What is left to a loop is done by it, once; and the tests run on the loop that was asked for."""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from siliconflow_async import AsyncSiliconFlow, ConfigurationError
from siliconflow_async.loops import on_any_loop, on_loop
from siliconflow_async.relay import Broadcast, relay, sse_response
from siliconflow_async.testing import FakeSiliconFlow

from .asking import ASK
from .programs import environment

KIND = os.environ.get("SILICONFLOW_TEST_LOOP", "asyncio")
TELL = "import asyncio; loop = asyncio.new_event_loop(); print(type(loop).__module__); loop.close()"


@pytest.mark.anyio
async def test_a_loop_calls_back_in_its_own_thread_at_its_next_turn() -> None:
    """Whoever asks, and never at once."""
    loop = asyncio.get_running_loop()
    called: list[threading.Thread] = []
    assert on_loop(loop, lambda: called.append(threading.current_thread()))
    on_any_loop(lambda: called.append(threading.current_thread()))
    assert called == []
    await asyncio.sleep(0)
    assert called == [threading.current_thread()] * 2
    assert await asyncio.to_thread(on_loop, loop, lambda: called.append(threading.current_thread()))
    await asyncio.sleep(0)
    assert called == [threading.current_thread()] * 3


def test_a_closed_loop_calls_nobody_back() -> None:
    """It is told, and nothing is raised; a thread without a loop does at once what belongs to none."""
    loop = asyncio.new_event_loop()
    loop.close()
    called: list[int] = []
    assert not on_loop(loop, lambda: called.append(1))
    on_any_loop(lambda: called.append(2))
    assert called == [2]


async def _map(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.map([ASK]) as results:
        async for _ in results:
            pass


async def _stream(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK):
        pass


async def _run_tools(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.run_tools(**ASK, tools=[]).completion()


async def _relay(client: AsyncSiliconFlow) -> None:
    await relay(client.chat.completions.stream(**ASK), anyio.sleep, left=anyio.lowlevel.checkpoint())  # type: ignore[arg-type]


async def _sse_response(client: AsyncSiliconFlow) -> None:
    sse_response(client.chat.completions.stream(**ASK))


async def _broadcast(client: AsyncSiliconFlow) -> None:
    Broadcast(client.chat.completions.stream(**ASK))


async def _within(use: Any) -> None:
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:9") as client:
        await use(client)


USES: list[Any] = [
    lambda client: client.chat.completions.create(**ASK),
    lambda client: client.chat.completions.create(**ASK, stream=True),
    lambda client: client.models.list(),
    _stream,
    _map,
    _run_tools,
    _relay,
    _sse_response,
    _broadcast,
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("host", ["trio", "nothing"])
def test_without_a_loop_of_asyncio_it_says_that_it_needs_one(use: Any, host: str) -> None:
    """Under trio, and where a coroutine is driven by hand; leaving the client goes well there too."""
    run: Any = functools.partial(anyio.run, backend="trio") if host == "trio" else lambda of, use: of(use).send(None)
    with pytest.raises(ConfigurationError, match="needs asyncio, and no event loop of asyncio is running"):
        run(_within, use)


OLD_WAY = """
import asyncio, sys
from siliconflow_async import AsyncSiliconFlow

client = AsyncSiliconFlow("k", base_url=sys.argv[1])
for _ in range(3):
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.models.list())
    loop.close()
"""


@pytest.mark.parametrize("end", ["", "del client", "asyncio.run(client.aclose())", "client.abort()"])
def test_a_loop_that_is_just_closed_is_nothing_to_complain_of(end: str) -> None:
    """Nobody ran its end, in which its connections would have been closed; they go with it, and nothing is printed."""
    with FakeSiliconFlow().threaded() as server:
        told = subprocess.run(
            [sys.executable, "-c", OLD_WAY + end, server.base_url],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        assert (told.returncode, told.stderr) == (0, "")
        assert len(server.requests) == 3
        server.wait_disconnected()


@pytest.mark.anyio
async def test_tests_run_on_the_loop_that_was_asked_for() -> None:
    """Those of anyio, and those that run loops of their own."""
    loops = [type(asyncio.get_running_loop())]

    async def note() -> None:
        loops.append(type(asyncio.get_running_loop()))

    await asyncio.to_thread(lambda: asyncio.run(note()))
    assert {loop.__module__.partition(".")[0] for loop in loops} == {KIND}


def test_programs_of_tests_run_on_the_loop_that_was_asked_for() -> None:
    """Not only the tests themselves."""
    told = subprocess.run([sys.executable, "-c", TELL], env=environment(), capture_output=True, text=True, check=True)
    assert told.stdout.partition(".")[0].strip() == KIND
