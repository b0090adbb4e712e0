"""Outages: `map` waits until the service is back, loses nothing, and hardly asks in vain; other calls fail soon."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from siliconflow_async import (
    APIConnectionError,
    AsyncSiliconFlow,
    BadRequestError,
    ConfigurationError,
    Limit,
    MapProgress,
    OverloadedError,
    RetryPolicy,
    ServerError,
    SiliconFlowError,
)
from siliconflow_async.testing import FakeSiliconFlow, Rst, Until

from ..asking import ASK, NO_WAIT, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

MODEL = ASK["model"]
# Pauses are a sixtieth of the window, then twice that, and so on.
QUICK = Limit(rpm=1_000_000, window=3.0)


def asks(count: int) -> list[dict[str, Any]]:
    return [{"messages": [{"role": "user", "content": f"q {number}"}]} for number in range(count)]


async def run(client: AsyncSiliconFlow, count: int, **options: Any) -> list[Any]:
    async with client.chat.completions.map(asks(count), model=MODEL, max_tokens=3, **options) as results:
        return [result async for result in results]


def lost(results: list[Any]) -> list[Any]:
    return [result for result in results if result.error is not None]


@asynccontextmanager
async def absent(limits: Limit | None = QUICK, **options: Any) -> AsyncIterator[tuple[AsyncSiliconFlow, int]]:
    """A client of a service that is not there, and the port where it would be."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        base_url = f"http://127.0.0.1:{port}/v1"
        async with AsyncSiliconFlow("k", base_url=base_url, limits=limits, **options) as client:
            yield client, port


@pytest.mark.parametrize("limits", [QUICK, None])
async def test_where_concurrency_is_found_out_an_outage_is_no_overload(limits: Limit | None) -> None:
    """A 503 cuts it at first; that does not hide the outage, after which it soon is what it was."""
    async with served(limits=limits, retry=NO_WAIT) as (server, client):
        await run(client, 200)
        before = client.limits[MODEL].concurrency
        away = server.fail(503, times=None)
        running = asyncio.ensure_future(run(client, 200, patience=0.05))
        assert all(result.error.waited == 0.05 for result in await running)
        assert away.used <= 80
        server.reset()
        assert not lost(await run(client, 200))
        after = client.limits[MODEL].concurrency
        # Nothing bounded it where limits were given: there it begins with one, and doubles.
        assert after is not None
        assert after >= (20 if before is None else before / 2)


@pytest.mark.parametrize("status", [502, 503, 500])
async def test_a_run_loses_nothing_over_an_outage_and_hardly_asks_in_vain(status: int) -> None:
    """In the midst of a run every request is refused for half a second: none of 600 is lost, under 5 % fail."""
    async with served(limits=QUICK, retry=RetryPolicy()) as (server, client):
        over = asyncio.Event()

        def begin() -> None:
            down = server.fail(status, times=None)

            def end() -> None:
                assert down.used
                server.reset()
                over.set()

            asyncio.get_running_loop().call_later(0.5, end)

        results = []
        requests = client.chat.completions.map(asks(600), model=MODEL, max_tokens=3, max_concurrency=16)
        async with requests as answers:
            async for result in answers:
                results.append(result)
                if len(results) == 100:
                    begin()
        assert over.is_set()
        assert not lost(results)
        assert len(results) == 600
        sent = sum(result.attempts for result in results)
        assert sent - 600 < 30


async def test_an_outage_that_breaks_all_connections_in_the_midst_of_a_run_loses_nothing() -> None:
    """64 requests wait for their first byte as the service goes; each is asked again, and few more in vain."""
    async with served(limits=QUICK, retry=RetryPolicy()) as (server, client):
        gone = asyncio.Event()
        server.raw([], before=[Until(gone), Rst()], times=64)
        server.fail(503, times=None)
        running = asyncio.ensure_future(run(client, 200))
        await server.received(64)
        gone.set()
        await server.received(66)
        assert client.limits[MODEL].waiting_for == "outage"
        server.reset()
        results = await running
        assert not lost(results)
        assert sum(result.attempts for result in results) - 200 <= 64 + 5


async def test_an_outage_of_one_model_holds_up_no_other() -> None:
    """Each has a gate of its own: a run of the other is over while the first still waits out its pause."""
    async with served(limits=Limit(rpm=1_000_000, window=60.0), retry=NO_WAIT) as (server, client):
        server.fail(503, times=None)
        away = asyncio.ensure_future(run(client, 3))
        async with asyncio.timeout(5):
            while MODEL not in client.limits or client.limits[MODEL].waiting < 3:  # noqa: ASYNC110
                await asyncio.sleep(0)
        server.reset()
        async with client.chat.completions.map(asks(3), model="another/model") as results:
            others = [result async for result in results]
        assert not lost(others)
        assert client.limits["another/model"].waiting_for is None
        assert client.limits[MODEL].waiting_for == "outage"
        assert not lost(await away)


async def test_a_service_that_is_not_there_is_waited_for() -> None:
    """Nobody listens: every request waits, one at a time looks, and with the first answer all go on."""
    async with absent() as (client, port):
        running = asyncio.ensure_future(run(client, 50, max_concurrency=20))
        async with asyncio.timeout(5):
            while MODEL not in client.limits or client.limits[MODEL].waiting_for != "outage":  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert client.limits[MODEL].waiting_left is not None
        async with FakeSiliconFlow(port=port):
            results = await running
        assert not lost(results)
        assert sum(result.attempts for result in results) - 50 <= 20 + 5


async def test_patience_has_an_end() -> None:
    """Requests wait no longer than they may, say so, and are asked far less often than a plain call would be."""

    async def wait(concurrency: int) -> None:
        async with absent() as (client, _):
            results = await run(client, 6, max_concurrency=concurrency, patience=0.3)
        assert len(lost(results)) == 6, concurrency
        for result in results:
            assert isinstance(result.error, APIConnectionError)
            assert result.error.waited == 0.3
            assert "gave up after waiting 0.3 s for the service" in str(result.error)
            assert result.error.attempts == result.attempts
            # None gives up early, also one whose turn came long after the outage began.
            assert result.times.total >= 0.3, concurrency
        # Each was asked once at the most before it was known, and those of one at a time a few times after that.
        assert sum(result.attempts for result in results) <= 6 + 6 * 4, concurrency

    # At once, since each only waits.
    async with anyio.create_task_group() as waiting:
        for concurrency in (1, 2, 40):
            waiting.start_soon(wait, concurrency)


async def test_what_the_service_said_last_is_the_error_of_who_gave_up() -> None:
    """Its class, status and trace id are those of a refusal that was met meanwhile."""
    async with served(limits=QUICK) as (server, client):
        server.fail(503, times=None)
        for result in await run(client, 4, max_concurrency=4, patience=0.2):
            assert isinstance(result.error, OverloadedError)
            assert (result.error.status, result.error.waited) == (503, 0.2)
            assert result.error.trace_id
            # Status and trace id are told once.
            assert str(result.error).startswith("HTTP 503, code 50505: gave up after waiting 0.2 s for the service: ")
            assert str(result.error).count("HTTP 503") == str(result.error).count("[trace id") == 1


async def test_an_outage_draws_on_no_retry_budget() -> None:
    """After any number of failed probes a plain call has its retries still."""
    async with served(limits=QUICK, retry=NO_WAIT) as (server, client):
        server.fail(503, times=40)
        assert not lost(await run(client, 40, max_concurrency=40))
        server.fail(503, times=3)
        done = await client.chat.completions.create(**ASK)
        assert done.timing.total is not None


async def test_plain_calls_keep_their_attempts() -> None:
    """`create` fails after four attempts, however patient a run beside it is."""
    async with served(limits=QUICK, retry=NO_WAIT) as (server, client):
        server.fail(503, times=None)
        with pytest.raises(OverloadedError) as caught:
            await client.chat.completions.create(**ASK)
        assert (caught.value.attempts, caught.value.waited) == (4, None)
        assert client.limits[MODEL].waiting_for is None


async def test_one_request_that_the_service_breaks_down_over_holds_up_no_other() -> None:
    """A request that is answered 500 again and again fails after three attempts; the run does not wait for it."""
    async with served(limits=QUICK, retry=NO_WAIT) as (server, client):
        await run(client, 3)
        server.fail(500, times=3)
        (result,) = await run(client, 1)
        assert isinstance(result.error, ServerError)
        assert (result.attempts, result.error.waited) == (3, None)
        assert not lost(await run(client, 20))


async def test_two_such_requests_at_the_end_of_a_run_are_given_up_soon() -> None:
    """Alone with each other they look like an outage: each is spared twice, and then fails as it would alone."""
    async with served(limits=QUICK, retry=NO_WAIT) as (server, client):
        server.fail(500, times=None)
        async with asyncio.timeout(10):
            results = await run(client, 2)
        assert all(isinstance(result.error, ServerError) for result in results)
        assert all(3 <= result.attempts <= 6 and result.error.waited is None for result in results)


async def test_a_refusal_is_an_answer() -> None:
    """400 says that the service is there: an outage ends with it, and errors before and after are not in a row."""
    async with served(limits=QUICK, retry=NO_WAIT) as (server, client):
        server.fail(503, times=2)
        server.fail(400, times=2)
        results = await run(client, 2, max_concurrency=2)
        assert all(isinstance(result.error, BadRequestError) for result in results)
        assert client.limits[MODEL].waiting_for is None


async def test_without_retries_a_failure_is_final_but_the_rest_waits() -> None:
    """`max_attempts=1`: those that met the outage fail, those that had not been sent are asked once it is over."""
    async with absent(retry=RetryPolicy(max_attempts=1)) as (client, port):
        running = asyncio.ensure_future(run(client, 60, max_concurrency=10))
        async with asyncio.timeout(5):
            while MODEL not in client.limits or client.limits[MODEL].waiting_for != "outage":  # noqa: ASYNC110
                await asyncio.sleep(0)
        async with FakeSiliconFlow(port=port):
            results = await running
        assert 0 < len(lost(results)) <= 15


async def test_without_retries_those_that_share_an_outage_fail_with_it() -> None:
    """All ten that were under way; the others are asked after it."""
    async with served(limits=QUICK, retry=RetryPolicy(max_attempts=1)) as (server, client):
        gone = asyncio.Event()
        server.raw([], before=[Until(gone), Rst()], times=10)
        running = asyncio.ensure_future(run(client, 30, max_concurrency=10))
        await server.received(10)
        gone.set()
        results = await running
        assert len(lost(results)) == 10
        assert {result.attempts for result in results} == {1}


async def test_cancelled_in_an_outage_it_is_over_at_once() -> None:
    """Leaving the block, and a total timeout, end the wait."""
    async with absent() as (client, _):
        async with client.chat.completions.map(asks(9), model=MODEL) as results:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(results)
        async with asyncio.timeout(5):
            failures = lost(await run(client, 3, timeout=0.1))
        assert [type(result.error).__name__ for result in failures] == ["APITimeoutError"] * 3
        assert client.limits[MODEL].in_flight == client.limits[MODEL].waiting == 0


async def test_progress_says_that_the_service_is_waited_for() -> None:
    """`waiting_for` and `waiting_left` are there while it is away, and gone in the end."""
    seen: list[MapProgress] = []
    async with absent(limits=None) as (client, port):
        running = asyncio.ensure_future(run(client, 5, on_progress=seen.append))
        async with asyncio.timeout(10):
            while not seen or seen[-1].waiting_for != "outage":  # noqa: ASYNC110
                await asyncio.sleep(0)
        assert seen[-1].waiting_left is not None
        assert seen[-1].paused_until is not None
        async with FakeSiliconFlow(port=port):
            await running
        assert (seen[-1].waiting_for, seen[-1].waiting_left) == (None, None)


@pytest.mark.parametrize("patience", [-1, float("nan"), "600", True])
async def test_patience_that_is_none_is_named(patience: Any) -> None:
    """It is refused before anything is sent."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="patience"):
            client.chat.completions.map([], patience=patience)
        assert not server.requests


async def test_a_rate_limit_is_waited_for_as_long_as_the_service_asks() -> None:
    """Where each refusal asks for 0.05 s the pauses are that long, not twice as long each time."""
    async with served(retry=NO_WAIT) as (server, client):
        server.fail(429, headers={"Retry-After-Ms": "50"}, times=8)
        async with asyncio.timeout(5):
            results = await run(client, 1)
        assert results[0].attempts == 9


async def test_a_run_that_nobody_holds_any_more_ends_and_closes_its_connections() -> None:
    """The last reference goes in the midst of the block: the answers under way are left."""
    async with served() as (server, client):
        server.reply(["never"] * 1000, pause=0.5, times=None)
        results = client.chat.completions.map(asks(5), model=MODEL)
        await results.__aenter__()
        await server.received(5)
        del results
        async with asyncio.timeout(5):
            await server.left_early(5)


def test_errors_say_whether_they_waited() -> None:
    """None unless a run gave up."""
    assert SiliconFlowError("x").waited is None
