"""Requests side by side: in order, so many at once, all or none."""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref

import pytest
from anyio.lowlevel import checkpoint

from siliconflow_async.runs.side import side_by_side

pytestmark = pytest.mark.anyio


async def test_results_come_in_order_and_so_many_are_under_way() -> None:
    under_way = peak = 0

    async def ask(number: int) -> int:
        nonlocal under_way, peak
        under_way += 1
        peak = max(peak, under_way)
        for _ in range(10 - number):
            await checkpoint()
        under_way -= 1
        return number

    assert await side_by_side([functools.partial(ask, number) for number in range(10)], 3) == list(range(10))
    assert peak == 3


async def test_the_first_failure_is_raised_and_the_others_are_cancelled() -> None:
    """Without a group around it; nothing holds it afterwards but who caught it."""
    cancelled = 0

    async def wait() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled += 1
            raise

    class Trouble(Exception):
        pass

    async def fail() -> None:
        await checkpoint()
        raise Trouble

    gc.disable()
    try:
        with pytest.raises(Trouble) as caught:
            await side_by_side([wait, wait, fail, wait], 3)
        assert cancelled == 2
        assert caught.value.__context__ is None
        gone = weakref.ref(caught.value)
        del caught
        assert gone() is None
    finally:
        gc.enable()


async def test_a_cancellation_comes_through_also_where_one_has_failed() -> None:
    began = asyncio.Event()

    async def slow_to_leave() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    async def fail() -> None:
        await began.wait()
        raise OSError

    task = asyncio.create_task(side_by_side([slow_to_leave, fail], 2))
    await began.wait()
    await checkpoint()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
