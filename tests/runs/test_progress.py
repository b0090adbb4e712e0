"""`on_progress` sees how a run comes along, a few times a second and once at the end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from siliconflow_async import Limit, MapProgress
from siliconflow_async.testing import Stall, Until

from ..asking import ASK, chunk, served

pytestmark = pytest.mark.anyio


async def test_the_last_snapshot_says_how_it_went() -> None:
    """Done and failed, the answers' tokens, nothing in flight; the total where the requests have a length."""
    seen: list[MapProgress] = []
    requests = [ASK] * 7 + [{**ASK, "temperature": 9}]
    async with (
        served() as (_, client),
        client.chat.completions.map(requests, max_tokens=5, on_progress=seen.append) as results,
    ):
        answers = [result.completion async for result in results]
    last = seen[-1]
    assert (last.done, last.failed, last.in_flight, last.total) == (7, 1, 0, 8)
    assert last.tokens == sum(answer.usage.completion_tokens for answer in answers if answer is not None) == 35
    assert last.time_left == 0
    assert last.elapsed > 0
    assert last.paused_until is None


async def test_a_snapshot_in_the_middle_counts_what_is_under_way() -> None:
    """Tokens are counted as they come; without a length there is no total, and nothing to tell the time left by."""
    snapshots: asyncio.Queue[MapProgress] = asyncio.Queue()
    async with served() as (server, client):
        server.raw([*[chunk("a")] * 3, Stall()], times=2)
        requests = (ASK for _ in range(2))
        async with client.chat.completions.map(requests, on_progress=snapshots.put_nowait):
            while (look := await snapshots.get()).tokens < 6:
                pass
            assert (look.done, look.failed, look.in_flight, look.total, look.time_left) == (0, 0, 2, None, None)
            assert look.tokens_per_second > 0
            assert look.concurrency >= 8


async def test_a_pause_shows() -> None:
    """While a rate limit holds the run up, a snapshot says until when."""
    snapshots: asyncio.Queue[MapProgress] = asyncio.Queue()
    async with served(limits=Limit(rpm=100)) as (server, client):
        server.fail(429, headers={"Retry-After": "20"})
        async with client.chat.completions.map([ASK] * 3, max_concurrency=2, on_progress=snapshots.put_nowait):
            while (look := await snapshots.get()).paused_until is None:
                pass
            assert 0 < look.paused_until - time.time() <= 20
            assert look.concurrency == 1


async def test_time_left_goes_by_what_was_done() -> None:
    """Half done, half of the time is left."""
    gate = asyncio.Event()
    snapshots: asyncio.Queue[MapProgress] = asyncio.Queue()
    async with served() as (server, client):
        for before in ([], [], [Until(gate)], [Until(gate)]):
            server.reply("a", before=before)
        async with client.chat.completions.map([ASK] * 4, on_progress=snapshots.put_nowait) as results:
            for _ in range(2):
                await anext(results)
            while (look := await snapshots.get()).done < 2:
                pass
            assert look.time_left == pytest.approx(look.elapsed)
            gate.set()


@pytest.mark.parametrize("stalls", [True, False])
async def test_an_exception_of_the_callback_ends_the_run(stalls: bool) -> None:
    """In the middle of it, or in the last snapshot."""

    def fail(progress: MapProgress) -> None:
        raise ZeroDivisionError

    async def run() -> list[Any]:
        async with client.chat.completions.map([ASK], on_progress=fail) as results:
            return [result async for result in results]

    async with served() as (server, client):
        if stalls:
            server.raw([chunk("a"), Stall()])
        with pytest.raises(ZeroDivisionError):
            await run()
