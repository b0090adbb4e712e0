"""Limits against a service that keeps them: not one refusal where they are known, few where they are found out."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    ConfigurationError,
    InvalidRequestError,
    Limit,
    RateLimitError,
    RetryPolicy,
    StreamAPIError,
)
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, DONE, NO_WAIT, chunk, served
from ..steady import steady

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

MODEL = "org/plain"
WINDOW = 0.5


def asks(count: int, **more: Any) -> Iterator[dict[str, Any]]:
    return ({"messages": [{"role": "user", "content": f"q {n}"}], "model": MODEL, **more} for n in range(count))


@asynccontextmanager
async def limited(
    rpm: int | None, tpm: int | None, limits: Any, pace: float | None = None, **options: Any
) -> AsyncIterator[tuple[FakeSiliconFlow, AsyncSiliconFlow]]:
    async with (
        FakeSiliconFlow(limits={MODEL: (rpm, tpm)}, window=WINDOW, tokens_per_second=pace) as server,
        AsyncSiliconFlow("k", base_url=server.base_url, limits=limits, **options) as client,
    ):
        yield server, client


async def run(client: AsyncSiliconFlow, requests: Iterator[dict[str, Any]], **options: Any) -> list[Any]:
    async with client.chat.completions.map(requests, **options) as results:
        return [result async for result in results]


class TestGivenLimits:
    """Where limits are given, the service never has to refuse."""

    @pytest.mark.parametrize("pace", [None, 200])
    @pytest.mark.parametrize(("rpm", "tpm"), [(40, None), (None, 900), (50, 900)])
    @steady
    async def test_no_window_of_the_services_holds_more(
        self, rpm: int | None, tpm: int | None, pace: float | None
    ) -> None:
        """Fast and paced answers, requests and tokens: the stand-in's own meter is the judge."""
        async with limited(rpm, tpm, Limit(rpm=rpm, tpm=tpm, window=WINDOW), pace) as (server, client):
            results = await run(client, asks(100, max_tokens=12))
            assert [result.error for result in results] == [None] * 100
            assert {result.attempts for result in results} == {1}
            meter = server.meters[MODEL]
            assert meter.refused == 0
            assert meter.peak_requests <= (rpm or 100)
            assert meter.peak_tokens <= (tpm or 10**6)
            # How many at a time is found out only where no limits are given.
            assert client.limits[MODEL].concurrency is None

    @steady
    async def test_a_request_above_the_limit_gets_through(self) -> None:
        """It runs alone in an empty window, between others that it does not starve and that don't starve it."""
        limit = Limit(tpm=300, window=WINDOW)
        async with limited(None, 300, {MODEL: limit}) as (server, client):
            requests = [*asks(10, max_tokens=5), {**ASK, "model": MODEL, "max_tokens": 1000}, *asks(10, max_tokens=5)]
            results = await run(client, iter(requests))
            assert [result.error for result in results] == [None] * 21
            assert server.meters[MODEL].refused == 0

    @steady
    async def test_create_and_stream_pass_the_gate(self) -> None:
        """Whole answers, streams and copies of the client share one gate; another model has its own."""
        async with limited(5, None, Limit(rpm=5, window=WINDOW)) as (server, client):
            copy = client.with_options(timeout=30)
            calls = [
                (copy if number % 2 else client).chat.completions.create(
                    **(ASK | {"model": MODEL}), stream=number % 3 == 0
                )
                for number in range(15)
            ]
            for answer in await asyncio.gather(*calls):
                if not hasattr(answer, "choices"):
                    await answer.completion()
            assert server.meters[MODEL].refused == 0
            await client.chat.completions.create(**ASK)
            assert list(client.limits) == [MODEL, ASK["model"]]
            assert (client.limits[ASK["model"]].requests, client.limits[ASK["model"]].in_flight) == (1, 0)

    async def test_without_limits_a_call_passes_no_gate(self) -> None:
        """create is as it was, and there is nothing to look at; nor where the model has none of its own."""
        async with served() as (_, client):
            await client.chat.completions.create(**ASK)
            other = client.with_options(limits={"org/other": Limit(rpm=1)})
            for _ in range(3):
                await other.chat.completions.create(**ASK)
            assert (len(client.limits), len(other.limits)) == (0, 0)

    async def test_another_account_has_other_gates(self) -> None:
        """A copy with a key, a base URL or limits of its own."""
        async with served(limits=Limit(rpm=1)) as (_, client):
            await client.chat.completions.create(**ASK)
            for options in ({"api_key": "other"}, {"limits": Limit(rpm=2)}, {"base_url": client.base_url}):
                await client.with_options(**options).chat.completions.create(**ASK)  # type: ignore[arg-type]

    async def test_waiting_counts_in_total(self) -> None:
        """A call that does not get its turn in time is a timeout of the total clock, and leaves the queue."""
        async with served(limits=Limit(rpm=1)) as (server, client):
            await client.chat.completions.create(**ASK)
            with pytest.raises(APITimeoutError) as caught:
                await client.chat.completions.create(**ASK, timeout=0.05)
            assert (caught.value.clock, caught.value.seconds) == ("total", 0.05)
            assert client.limits[ASK["model"]].waiting == 0
            assert len(server.requests) == 1

    async def test_cancellation_gives_back_what_was_reserved(self) -> None:
        """At the gate, and in the middle of an answer."""
        async with served(limits=Limit(tpm=100)) as (server, client):
            server.raw([chunk("a"), Stall()])
            stream = await client.chat.completions.create(**ASK, max_tokens=5000, stream=True)
            waits = asyncio.ensure_future(client.chat.completions.create(**ASK, max_tokens=10))
            await asyncio.sleep(0)
            state = client.limits[ASK["model"]]
            assert (state.in_flight, state.waiting) == (1, 1)
            assert state.reserved > 5000
            await stream.aclose()
            assert (await waits).content
            last = asyncio.ensure_future(client.chat.completions.create(**ASK, max_tokens=10**6))
            await asyncio.sleep(0)
            last.cancel()
            await asyncio.wait([last])
            state = client.limits[ASK["model"]]
            assert (state.in_flight, state.waiting, state.reserved) == (0, 0, 0)

    async def test_a_forgotten_stream_gives_back_too(self) -> None:
        """Its ticket ends with it."""
        async with served(limits=Limit(rpm=10)) as (server, client):
            server.raw([chunk("a"), Stall()])
            stream = await client.chat.completions.create(**ASK, stream=True)
            assert client.limits[ASK["model"]].in_flight == 1
            del stream
            await asyncio.sleep(0)
            assert client.limits[ASK["model"]].in_flight == 0

    async def test_each_choice_may_use_max_tokens(self) -> None:
        """With `n`, so many times as much is set aside; a service that takes no such `n` says so itself."""
        async with served(limits=Limit(tpm=10**6)) as (server, client):
            for n, reserved in ((3, 3000), (1, 1000), (None, 1000), (True, 1000), (-2, 1000), ("3", 1000)):
                server.raw([chunk("a"), Stall()])
                stream = await client.chat.completions.create(
                    **(ASK | {"messages": []}), max_tokens=1000, n=n, stream=True
                )
                assert client.limits[ASK["model"]].reserved == reserved
                await stream.aclose()

    async def test_tokens_may_be_counted_by_the_user(self) -> None:
        """The hook gets the request's parameters; where it fails, that is an error that says so."""
        seen = []

        def count(params: Any) -> int:
            seen.append(params["messages"])
            return 7 if params["max_tokens"] < 5 else -1

        async with served(limits=Limit(tpm=1000, count_tokens=count)) as (server, client):
            await client.chat.completions.create(**ASK, max_tokens=4)
            assert seen == [ASK["messages"]]
            with pytest.raises(InvalidRequestError, match="count_tokens must return an integer"):
                await client.chat.completions.create(**ASK, max_tokens=5)
            failing = client.with_options(limits=Limit(tpm=1, count_tokens=lambda params: 1 // 0))
            (result,) = await run(failing, iter([ASK]))
            assert isinstance(result.error, InvalidRequestError)
            assert len(server.requests) == 1

    def test_a_gate_outlives_its_loop(self) -> None:
        """One client in two loops: the second waits for what the first has used."""
        with FakeSiliconFlow(limits={MODEL: (3, None)}, window=WINDOW).threaded() as server:
            client = AsyncSiliconFlow("k", base_url=server.base_url, limits=Limit(rpm=3, window=WINDOW))
            for _ in range(2):
                assert len(asyncio.run(run(client, asks(4, max_tokens=1)))) == 4
            assert server.meters[MODEL].refused == 0

    @pytest.mark.parametrize("limits", [5, {"m": 5}, {5: Limit()}, [Limit()]])
    def test_limits_that_are_none_are_refused(self, limits: Any) -> None:
        """At construction, by name."""
        with pytest.raises(ConfigurationError, match="limits must"):
            AsyncSiliconFlow("k", limits=limits)


class TestRefusals:
    """What a 429 does to the calls of a model."""

    async def test_map_waits_and_draws_nothing_from_the_budget(self) -> None:
        """More refusals than the budget has credit, and every request is answered."""
        async with served(limits=Limit(window=0.05)) as (server, client):
            for _ in range(30):
                server.fail(429)
                server.reply("a")
            results = await run(client, asks(30), max_concurrency=4)
            assert [result.error for result in results] == [None] * 30
            assert client._budget._credit == 10

    async def test_a_request_that_is_always_refused_fails_in_the_end(self) -> None:
        """After ten refusals that cost no attempt, the policy's attempts are used up."""
        async with served(limits=Limit(window=0.01)) as (server, client):
            server.fail(429, times=None)
            (result,) = await run(client, asks(1))
            assert isinstance(result.error, RateLimitError)
            assert result.attempts == result.error.attempts == 14

    async def test_without_retries_a_refusal_is_final(self) -> None:
        """max_retries=0 means what it says."""
        async with served(retry=RetryPolicy(max_attempts=1)) as (server, client):
            server.fail(429)
            (result,) = await run(client, asks(1))
            assert (type(result.error), result.attempts) == (RateLimitError, 1)

    async def test_a_meter_by_the_day_is_final(self) -> None:
        """It is not waited for, by nobody."""
        async with served() as (server, client):
            server.fail(429, {"code": 50608, "message": "RPD limit reached.", "data": None})
            failed, good = await run(client, asks(2), max_concurrency=1)
            assert isinstance(failed.error, RateLimitError)
            assert good.error is None
            assert client.limits[MODEL].paused_until is None

    async def test_a_refusal_in_the_midst_of_an_answer_is_one(self) -> None:
        """The calls that follow wait as after a 429; what had arrived is the reader's."""
        async with served(limits=Limit(rpm=100)) as (server, client):
            server.raw([chunk("a"), b'data: {"code": 50602, "message": "TPM limit reached"}\n\n'])
            stream = await client.chat.completions.create(**ASK, stream=True)
            with pytest.raises(StreamAPIError) as caught:
                await stream.completion()
            assert caught.value.partial is not None
            assert caught.value.partial.content == "a"
            assert client.limits[ASK["model"]].paused_until is not None

    async def test_all_callers_of_the_model_wait(self) -> None:
        """One refusal, and nobody asks before the pause is over; Retry-After says how long it is."""
        async with served(limits=Limit(rpm=100), retry=NO_WAIT) as (server, client):
            server.fail(429, headers={"Retry-After": "0.2"})
            await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(1)))
            first, second = server.requests
            assert second.received_at - first.received_at >= 0.2


class TestUnknownLimits:
    """Where no limits are given, they are found out."""

    @pytest.mark.parametrize(("rpm", "tpm"), [(60, None), (None, 1500)])
    async def test_a_run_finds_its_limit(self, rpm: int | None, tpm: int | None) -> None:
        """Every request is answered, and after the first window hardly one is refused.

        Where the machine is too slow to meet the limit, there is none to find.
        """
        async with limited(rpm, tpm, Limit(window=WINDOW)) as (server, client):
            results = await run(client, asks(200, max_tokens=12), max_concurrency=32)
            assert [result.error for result in results] == [None] * 200
            meter = server.meters[MODEL]
            assert meter.refused < 80
            met = meter.peak_requests > (rpm or math.inf) or meter.peak_tokens > 0.9 * (tpm or math.inf)
            assert meter.refused or not met
            state = client.limits[MODEL]
            assert state.learned == bool(meter.refused)
            assert state.concurrency is not None

    async def test_concurrency_begins_small_and_grows(self) -> None:
        """A run of 200 at a time begins with eight."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()], times=None)
            async with client.chat.completions.map(asks(500), max_concurrency=200):
                await server.received(8)
                state = client.limits[MODEL]
                assert state.concurrency is not None
                assert 8 <= state.concurrency <= 16
            assert client.limits[MODEL].in_flight == client.limits[MODEL].waiting == 0


@pytest.mark.parametrize("whole", [False, True], ids=["stream", "whole"])
async def test_an_absurd_usage_holds_nobody_up(whole: bool) -> None:
    """A service that claims a million million tokens for one answer: the next calls don't wait for them to pass."""
    absurd = b'"usage":{"prompt_tokens":1000000000000,"completion_tokens":1000000000000,"total_tokens":2000000000000}'
    async with limited(None, None, Limit(tpm=20_000)) as (server, client):
        completions = client.chat.completions
        if whole:
            server.raw([b'{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}],%s}' % absurd])
        else:
            server.raw([b'data: {"choices":[{"delta":{"content":"a"}}],%s}\n\n' % absurd, DONE])
        for _ in range(5):
            async with asyncio.timeout(10):
                request = next(asks(1))
                if whole:
                    await completions.create(**request)
                else:
                    async with completions.stream(**request) as stream:
                        await stream.completion()
        state = client.limits[MODEL]
        assert state.tokens < 1000
        assert state.reserved == 0
