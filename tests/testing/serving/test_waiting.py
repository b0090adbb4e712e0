from __future__ import annotations

import asyncio
import threading

import pytest

from siliconflow_async.testing import Gate
from siliconflow_async.testing.serving.waiting import Watch

pytestmark = pytest.mark.anyio


def test_a_wait_for_what_holds_already_is_done_at_once() -> None:
    assert Watch().until(lambda: True).done()


def test_a_wait_ends_with_the_change_that_makes_it_hold() -> None:
    watch, seen = Watch(), [0]
    wait = watch.until(lambda: seen[0] >= 2)
    seen[0] = 1
    watch.changed()
    assert not wait.done()
    seen[0] = 2
    watch.changed()
    assert wait.result(0) is None


def test_closing_fails_the_waits_that_do_not_hold() -> None:
    watch = Watch()
    wait = watch.until(lambda: False)
    watch.close("over")
    for future in (wait, watch.until(lambda: False)):
        with pytest.raises(RuntimeError, match="over"):
            future.result(0)
    assert watch.until(lambda: True).result(0) is None


async def test_a_cancelled_wait_harms_nobody() -> None:
    watch, seen = Watch(), [False]
    given_up = asyncio.wrap_future(watch.until(lambda: seen[0]))
    kept = asyncio.wrap_future(watch.until(lambda: seen[0]))
    given_up.cancel()
    seen[0] = True
    watch.changed()
    await kept
    assert given_up.cancelled()


async def test_a_gate_set_in_a_thread_wakes_every_waiter_in_a_loop() -> None:
    gate = Gate()
    waiters = [asyncio.create_task(gate.wait()) for _ in range(2)]
    thread = threading.Thread(target=gate.set)
    thread.start()
    await asyncio.gather(*waiters)
    thread.join()
    assert gate.is_set()
    await gate.wait()
