"""One client's limits in several loops at once, a thread each: nobody is forgotten, and the limit holds for all."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import AsyncSiliconFlow, Limit, OverloadedError
from siliconflow_async.limits.keeper import GateKeeper
from siliconflow_async.testing import FakeSiliconFlow

from ..asking import ASK

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = ASK["model"]


@pytest.fixture
def service() -> Iterator[FakeSiliconFlow]:
    with FakeSiliconFlow().threaded() as server:
        yield server


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


async def ask(client: AsyncSiliconFlow, times: int = 1) -> list[Any]:
    asked = [client.chat.completions.create(**ASK, max_tokens=2) for _ in range(times)]
    return await asyncio.gather(*asked)


def test_the_end_of_one_loop_takes_nobodys_timer_with_it(service: FakeSiliconFlow, complaints: list[str]) -> None:
    """The first to wait sets the timer; its loop ends, and whoever waits in the other is let through all the same."""
    client = AsyncSiliconFlow("k", base_url=service.base_url, limits=Limit(rpm=1, window=0.4))
    first_waits = threading.Event()
    second_waits = threading.Event()

    async def first() -> None:
        await ask(client)
        waiting = asyncio.ensure_future(ask(client))
        while not client.limits[MODEL].waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        first_waits.set()
        await asyncio.to_thread(second_waits.wait, 5)
        waiting.cancel()

    async def second() -> list[Any]:
        await asyncio.to_thread(first_waits.wait, 5)
        waiting = asyncio.ensure_future(ask(client))
        while client.limits[MODEL].waiting < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        second_waits.set()
        async with asyncio.timeout(5):
            return await waiting

    with ThreadPoolExecutor() as threads:
        ended = threads.submit(asyncio.run, first())
        answered = threads.submit(asyncio.run, second())
        ended.result(10)
        assert answered.result(10)[0].content
    # Whoever waits in the first loop goes with it.
    assert [told for told in complaints if "a task is left" not in told] == []
    complaints.clear()


def test_a_loop_that_is_closed_under_those_who_wait_keeps_no_place(service: FakeSiliconFlow) -> None:
    """`loop.close()` with a call in the queue: the call's place goes to the next."""
    client = AsyncSiliconFlow("k", base_url=service.base_url, limits=Limit(rpm=1, window=0.3))
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask(client))
    keeper = client._limits._keeper(MODEL)
    ticket = keeper.join({}, again=False)
    waiting = keeper.wait(ticket, None)

    async def begin() -> None:
        # As a task that is destroyed with its loop: it never comes to its end.
        waiting.send(None)

    loop.run_until_complete(begin())
    loop.run_until_complete(client._pool._by_loop[loop].closer.aclose())
    loop.close()
    assert asyncio.run(asyncio.wait_for(ask(client), 5))[0].content
    assert client.limits[MODEL].in_flight == 0
    waiting.close()
    assert client.limits[MODEL].in_flight == client.limits[MODEL].waiting == 0


def test_a_call_that_another_thread_gave_up_before_it_waits_does_not_wait() -> None:
    """Between `join` and `wait` another thread may look at the gate, and find the call's patience over."""
    keeper = GateKeeper(MODEL, Limit(rpm=1_000_000))
    for ticket in [keeper.join({}, again=False, patience=60.0) for _ in range(2)]:
        keeper.gate.ended(ticket, OverloadedError(status=503))
    impatient = keeper.join({}, again=False, patience=0.0)
    assert keeper.gate.poll() == [impatient]
    asyncio.run(asyncio.wait_for(keeper.wait(impatient, None), 5))
    assert (impatient.granted, impatient.over) == (False, True)


@pytest.mark.usefixtures("quick_switches")
def test_a_limit_holds_for_all_threads_together(service: FakeSiliconFlow) -> None:
    """16 threads, three loops each, one after another: every call is answered, and no window held more."""
    limit = Limit(rpm=60, tpm=100_000, window=0.5)
    client = AsyncSiliconFlow("k", base_url=service.base_url, limits=limit)

    def work(_: int) -> int:
        return sum(len(asyncio.run(asyncio.wait_for(ask(client, 4), 30))) for _ in range(3))

    with ThreadPoolExecutor(16) as threads:
        assert sum(threads.map(work, range(16))) == 16 * 3 * 4
    state = client.limits[MODEL]
    assert (state.in_flight, state.waiting, state.reserved) == (0, 0, 0)
    assert state.requests <= 60


def test_gates_that_hold_nothing_are_forgotten(service: FakeSiliconFlow) -> None:
    """300 names from users leave a few gates, not 300; one whose window holds something stays."""
    client = AsyncSiliconFlow("k", base_url=service.base_url, limits=Limit(rpm=1000, window=0.01))

    async def use(model: str) -> None:
        await client.chat.completions.create(**{**ASK, "model": model}, max_tokens=1)

    async def main() -> None:
        for number in range(300):
            await use(f"org/model-{number}")
        assert "org/model-299" in client.limits
        assert len(client.limits) < 150

    asyncio.run(main())
