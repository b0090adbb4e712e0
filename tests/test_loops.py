"""What is left to a loop is done by it, once; and the tests run on the loop that was asked for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading

import pytest
from client_kit import environment

from siliconflow_async.loops import on_any_loop, on_loop

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
