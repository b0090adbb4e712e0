"""Many alarms on one timer of the loop: each rings in its time, none that was taken back does."""

from __future__ import annotations

import asyncio

import pytest

from siliconflow_async.transport.alarms import _MOST_VOID, Alarms

pytestmark = pytest.mark.anyio


async def test_alarms_ring_in_the_order_of_their_times() -> None:
    """Whatever the order they are set in, and also when one is set for a time before all others."""
    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    rung: list[int] = []
    done = loop.create_future()
    now = loop.time()
    alarms.set(now + 0.04, lambda: done.set_result(None))
    for number in (3, 1, 2):
        alarms.set(now + number / 100, lambda number=number: rung.append(number))  # type: ignore[misc]  # a default
    await asyncio.wait_for(done, 5)
    assert rung == [1, 2, 3]
    assert loop.time() >= now + 0.04 - 0.002


async def test_an_alarm_that_was_taken_back_stays_silent() -> None:
    """Also the one on which the timer is set, and however many they are; the others ring."""
    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    rung: list[int] = []
    done = loop.create_future()
    now = loop.time()
    alarms.set(now + 0.03, lambda: done.set_result(None))
    taken = [alarms.set(now + 0.01, lambda: rung.append(0)) for _ in range(1000)]
    kept = alarms.set(now + 0.01, lambda: rung.append(1))
    for alarm in taken:
        alarms.take_back(alarm)
    await asyncio.wait_for(done, 5)
    assert rung == [1]
    # One that has rung may be taken back, too.
    alarms.take_back(kept)
    alarms.take_back(taken[0])


async def test_what_was_taken_back_is_forgotten() -> None:
    """A hundred thousand alarms that never rang leave a short heap, and none of those they would have called."""
    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    later = loop.time() + 600
    stands = alarms.set(later, list)
    for _ in range(100_000):
        alarms.take_back(alarms.set(later, list))
    assert len(alarms._heap) < 200
    assert all(alarm[2] is None or alarm is stands for alarm in alarms._heap)


async def test_an_alarm_may_set_another() -> None:
    """One set while another rings rings in its turn, late ones at once."""
    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    done = loop.create_future()
    now = loop.time()
    alarms.set(now + 0.01, lambda: alarms.set(now, lambda: alarms.set(now + 0.02, lambda: done.set_result(None))))
    await asyncio.wait_for(done, 5)


async def test_alarms_that_went_by_unheard_are_forgotten_once() -> None:
    """What was taken back and then passed counts no more: the heap is made anew only where half of it is void."""
    loop = asyncio.get_running_loop()
    alarms = Alarms(loop)
    done = loop.create_future()
    soon = loop.time()
    # One more of them, and the heap would be made anew.
    for _ in range(_MOST_VOID):
        alarms.take_back(alarms.set(soon, list))
    alarms.set(soon, lambda: done.set_result(None))
    await asyncio.wait_for(done, 5)
    standing = [alarms.set(loop.time() + 600, list) for _ in range(_MOST_VOID + 10)]
    heap = alarms._heap
    alarms.take_back(standing[0])
    assert alarms._heap is heap
