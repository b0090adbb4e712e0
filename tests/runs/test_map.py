"""Many requests at once: each has its result, however many there are and whatever becomes of the others."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    BadRequestError,
    BusyError,
    ClosedError,
    ConfigurationError,
    ContentDelta,
    InvalidRequestError,
    MapDone,
    MapFailed,
    MapItem,
    MapResult,
    TruncatedStreamError,
)
from siliconflow_async.testing import Stall, Until

from ..asking import ASK, DONE, chunk, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

pytestmark = pytest.mark.anyio

MODEL = ASK["model"]


def ask(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}], **more}


def asks(count: int) -> Iterator[dict[str, Any]]:
    return (ask(f"question {number}", custom_id=f"id-{number}") for number in range(count))


async def all_of(results: Any) -> list[Any]:
    async with results:
        return [result async for result in results]


def workers() -> list[asyncio.Task[Any]]:
    # The stand-in's tasks share the loop.
    return [task for task in asyncio.all_tasks() if "Workers" in repr(task.get_coro())]


def nothing_is_left() -> bool:
    return not workers()


async def test_every_request_has_its_result() -> None:
    """Index, custom_id and request are the request's own; the answer is its answer, streamed under the hood."""
    async with served() as (server, client):
        requests = list(asks(20))
        results = await all_of(client.chat.completions.map(requests, model=MODEL, max_tokens=30, max_concurrency=4))
        assert sorted(result.index for result in results) == list(range(20))
        for result in results:
            assert result.request is requests[result.index]
            assert result.custom_id == f"id-{result.index}"
            assert f"question {result.index}" in result.completion.content
            assert (result.error, result.attempts) == (None, 1)
            assert 0 <= result.times.waited <= result.times.total
            assert 0 < result.times.first_token <= result.times.total
        bodies = [request.json for request in server.requests]
        assert all(body["stream"] and body["max_tokens"] == 30 and "custom_id" not in body for body in bodies)
        assert nothing_is_left()


async def test_a_request_overrides_what_was_given_to_map() -> None:
    """Keywords of map are defaults; `stream` is no concern of a request's."""
    async with served() as (server, client):
        request = ask(model="org/other", temperature=0.5, stream=False)
        await all_of(client.chat.completions.map([request], model=MODEL, temperature=1.0, top_p=0.9))
        body = server.requests[0].json
        assert (body["model"], body["temperature"], body["top_p"]) == ("org/other", 0.5, 0.9)


async def test_results_come_as_they_complete() -> None:
    """A slow answer holds up none of those behind it."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.reply("slow", before=[Until(gate)])
        async with client.chat.completions.map(asks(5), model=MODEL, max_concurrency=2) as results:
            order = [(await anext(results)).index for _ in range(4)]
            gate.set()
            order.append((await anext(results)).index)
        assert order[-1] == 0


async def test_ordered_results_come_in_the_order_of_the_requests() -> None:
    """The first holds up all; no more than a bounded number of requests is taken meanwhile."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.reply("slow", before=[Until(gate)])
        taken = 0

        def requests() -> Iterator[dict[str, Any]]:
            nonlocal taken
            for request in asks(100):
                taken += 1
                yield request

        async with client.chat.completions.map(requests(), model=MODEL, max_concurrency=3, ordered=True) as results:
            first = asyncio.ensure_future(anext(results))
            await server.received(6)
            for _ in range(50):
                await asyncio.sleep(0)
            assert (taken, first.done()) == (6, False)
            gate.set()
            assert [(await first).index] + [result.index async for result in results] == list(range(100))


async def test_five_thousand_requests_are_taken_as_there_is_room() -> None:
    """Every one is answered, no more than twice the concurrency are held, and never more than that are sent at once."""
    async with served(max_connections=16) as (server, client):
        taken = given = most = 0

        def requests() -> Iterator[dict[str, Any]]:
            nonlocal taken, most
            for number in range(5000):
                taken += 1
                most = max(most, taken - given)
                yield ask(f"{number}", max_tokens=2)

        seen = bytearray(5000)
        async with client.chat.completions.map(requests(), model=MODEL, max_concurrency=16) as results:
            async for result in results:
                given += 1
                assert result.error is None
                seen[result.index] += 1
        assert seen == b"\1" * 5000
        assert most <= 33
        assert server.connections.accepted <= 16


async def test_a_hundred_requests_are_taken_within_a_few_turns_of_the_loop() -> None:
    """Those that begin together stay together: a run that starts one by one costs more to its end."""
    async with served() as (_, client):
        turns = 0
        taken_in: list[int] = []

        async def count_turns() -> None:
            nonlocal turns
            while len(taken_in) < 100:
                turns += 1
                await asyncio.sleep(0)

        def requests() -> Iterator[dict[str, Any]]:
            for request in asks(100):
                taken_in.append(turns)
                yield request

        counter = asyncio.create_task(count_turns())
        results = await all_of(client.chat.completions.map(requests(), model=MODEL, max_concurrency=100))
        await counter
        assert len(results) == 100
        assert taken_in[-1] - taken_in[0] < 10


async def test_a_few_requests_start_few_workers() -> None:
    """However many at a time they might be."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.reply("late", before=[Until(gate)])
        async with client.chat.completions.map(asks(1), model=MODEL, max_concurrency=10_000) as results:
            await server.received(1)
            started = len(workers())
            gate.set()
            assert [result.index async for result in results] == [0]
        assert started <= 3


async def test_a_consumer_that_takes_nothing_stops_the_run() -> None:
    """Of a million requests, as many are taken as there is room for, and no more."""
    async with served() as (server, client):
        taken = 0

        def requests() -> Iterator[dict[str, Any]]:
            nonlocal taken
            for taken in range(1, 1_000_001):  # noqa: B007  # counts for the test
                yield ask(max_tokens=1)

        async with client.chat.completions.map(requests(), model=MODEL, max_concurrency=5) as results:
            await server.received(10)
            for _ in range(200):
                await asyncio.sleep(0)
            assert taken == 10
            await anext(results)
            await server.received(11)
            assert taken == 11
        assert nothing_is_left()


async def test_requests_may_come_from_an_async_iterable() -> None:
    """Only one worker waits for it at a time."""
    async with served() as (_, client):
        asked = 0

        async def requests() -> AsyncIterator[dict[str, Any]]:
            nonlocal asked
            for request in asks(30):
                asked += 1
                await asyncio.sleep(0)
                yield request

        results = await all_of(client.chat.completions.map(requests(), model=MODEL, max_concurrency=7))
        assert (len(results), asked) == (30, 30)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (5, "must be a mapping of parameters, not a value of type int"),
        ({"messages": []}, "missing required keyword argument: 'model'"),
        ({**ASK, "temprature": 1}, "did you mean 'temperature'"),
        ({**ASK, 7: 1}, "the names of parameters are text, not 7"),
        ({**ASK, "custom_id": 7}, "custom_id must be text"),
        ({**ASK, "seed": float("nan")}, "seed: nan is not a JSON number"),
        ({**ASK, "timeout": -1}, "total"),
        ({**ASK, "extra_headers": {"a": "\n"}}, "header 'a'"),
        ({**ASK, "messages": (1 // 0 for _ in "x")}, "division"),
    ],
)
async def test_a_bad_request_is_that_requests_error(bad: Any, words: str) -> None:
    """What can't be sent is told in its result, and the others go on."""
    async with served() as (server, client):
        good, failed = sorted(
            await all_of(client.chat.completions.map([bad, ASK])), key=lambda result: result.error is not None
        )
        assert good.completion is not None
        assert failed.index == 0
        assert failed.completion is None
        assert failed.attempts == 0
        assert words in str(failed.error)
        assert isinstance(failed.error, InvalidRequestError | ConfigurationError)
        assert len(server.requests) == 1


async def test_what_the_service_refuses_is_that_requests_error() -> None:
    """A refusal, and an answer that breaks off, with what had arrived."""
    async with served() as (server, client):
        server.raw([chunk("half")])
        results = await all_of(
            client.chat.completions.map([ask(), ask(temperature=9), ask()], model=MODEL, max_concurrency=1)
        )
        broken, refused, good = results
        assert [type(result) for result in results] == [MapFailed, MapFailed, MapDone]
        assert isinstance(good, MapResult)
        assert isinstance(broken.error, TruncatedStreamError)
        assert broken.error.partial.content == "half"
        assert broken.error.attempts == broken.attempts == 1
        assert isinstance(refused.error, BadRequestError)
        assert good.completion is not None


async def test_a_failure_is_retried_as_a_call_would_be() -> None:
    """Attempts count."""
    async with served() as (server, client):
        server.fail(503, times=2)
        (result,) = await all_of(client.chat.completions.map([ASK]))
        assert (result.attempts, result.error) == (3, None)


async def test_with_fail_fast_the_first_failure_ends_the_run() -> None:
    """It is raised with a note that names the request, and the rest is cancelled."""
    async with served() as (server, client):
        server.reply("a", before=[Stall()])
        requests = [ask(), ask(temperature=9, custom_id="mine"), *asks(100)]
        async with client.chat.completions.map(requests, model=MODEL, max_concurrency=2, fail_fast=True) as results:
            with pytest.raises(BadRequestError) as caught:
                [result async for result in results]
            assert caught.value.__notes__ == ["request 1 (custom_id 'mine')"]
            await server.left_early()
        assert len(server.requests) == 2
        assert nothing_is_left()


class TestEndings:
    """Leaving a run, in any way, leaves nothing behind."""

    async def test_leaving_cancels_what_is_left(self) -> None:
        """Those under way are closed, those not taken never are."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()], times=None)
            async with client.chat.completions.map(asks(1000), model=MODEL, max_concurrency=8):
                await server.received(8)
            assert nothing_is_left()
            await server.left_early(8)
            assert len(server.requests) == 8

    @pytest.mark.parametrize("turns", range(0, 60, 3))
    async def test_a_cancellation_at_any_time_leaves_nothing(self, turns: int) -> None:
        """Whatever the consumer and the workers are doing."""
        async with served() as (server, client):

            async def consume() -> None:
                async with client.chat.completions.map(asks(500), model=MODEL, max_concurrency=4) as results:
                    async for _ in results:
                        pass

            task = asyncio.ensure_future(consume())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert nothing_is_left()
            assert client.limits.get(MODEL) is None or client.limits[MODEL].in_flight == 0
            await client.aclose()
            await server.disconnected()

    async def test_a_cancellation_while_leaving_passes(self) -> None:
        """It waits until nothing is left, and is not swallowed: what follows the block does not run."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()], times=None)
            went_on = False

            async def leave() -> None:
                nonlocal went_on
                async with client.chat.completions.map(asks(50), model=MODEL, max_concurrency=4):
                    await server.received(4)
                    asyncio.get_running_loop().call_soon(task.cancel)
                went_on = True

            task = asyncio.create_task(leave())
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not went_on
            assert nothing_is_left()
            await server.left_early(4)

    async def test_an_exception_in_the_block_passes(self) -> None:
        """It is the block's own."""
        async with served() as (_, client):

            async def fail() -> None:
                async with client.chat.completions.map(asks(50), model=MODEL) as results:
                    await anext(results)
                    raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError):
                await fail()
            assert nothing_is_left()

    async def test_a_client_that_is_closed_ends_the_run(self) -> None:
        """Not each of a million requests in turn."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()], times=None)
            async with client.chat.completions.map(asks(10**6), model=MODEL, max_concurrency=3) as results:
                await server.received(3)
                await client.aclose()
                with pytest.raises(ClosedError):
                    await anext(results)
            assert nothing_is_left()

    async def test_a_worker_that_is_cancelled_from_outside_ends_the_run(self) -> None:
        """Its request would be lost without a word."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()], times=None)
            async with client.chat.completions.map(asks(2), model=MODEL) as results:
                await server.received(2)
                workers()[0].cancel()
                with pytest.raises(ClosedError, match="cancelled from outside"):
                    await anext(results)

    async def test_results_are_given_out_inside_the_block_only(self) -> None:
        """Before and after, reading raises; a second block needs a second map."""
        async with served() as (_, client):
            results = client.chat.completions.map([ASK])
            with pytest.raises(ClosedError):
                await anext(results)
            async with results:
                pass
            with pytest.raises(ClosedError):
                await anext(results)
            with pytest.raises(BusyError):
                await results.__aenter__()

    async def test_two_tasks_can_not_wait_for_results(self) -> None:
        """The second is told so."""
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()])
            async with client.chat.completions.map([ASK]) as results:
                waits = asyncio.ensure_future(anext(results))
                await server.received()
                with pytest.raises(BusyError):
                    await anext(results)
            with pytest.raises(ClosedError):
                await waits


class TestIterableErrors:
    """What the iterable raises ends the run, once the results that there are have been given out."""

    async def test_it_is_raised_at_the_end(self) -> None:
        """Requests that were taken before are answered first."""

        def requests() -> Iterator[dict[str, Any]]:
            yield from asks(5)
            raise ZeroDivisionError

        await self.five_then(requests(), ZeroDivisionError)

    async def test_of_an_async_one_too(self) -> None:
        """The same."""

        async def requests() -> AsyncIterator[dict[str, Any]]:
            for request in asks(5):
                yield request
            raise ZeroDivisionError

        await self.five_then(requests(), ZeroDivisionError)

    async def five_then(self, requests: Any, error: type[Exception]) -> None:
        async with served() as (_, client):
            async with client.chat.completions.map(requests, model=MODEL, max_concurrency=2) as results:
                given = [await anext(results) for _ in range(5)]
                with pytest.raises(error):
                    await anext(results)
            assert [result.error for result in given] == [None] * 5

    @pytest.mark.parametrize("requests", [ASK, "text", 5, None])
    async def test_what_is_no_iterable_of_mappings_is_refused(self, requests: Any) -> None:
        """A single mapping is the likeliest slip."""
        async with AsyncSiliconFlow("k") as client:
            with pytest.raises(TypeError, match="requests must be an iterable of mappings"):
                client.chat.completions.map(requests)

    @pytest.mark.parametrize("number", [0, True, 1.5])
    async def test_a_concurrency_that_is_none_is_refused(self, number: Any) -> None:
        """It is named."""
        async with AsyncSiliconFlow("k") as client:
            with pytest.raises(ConfigurationError, match="max_concurrency"):
                client.chat.completions.map([], max_concurrency=number)

    async def test_an_unknown_default_names_the_nearest(self) -> None:
        """As for create."""
        async with AsyncSiliconFlow("k") as client:
            with pytest.raises(TypeError, match="did you mean 'temperature'"):
                client.chat.completions.map([], temprature=1)  # type: ignore[call-arg]

    async def test_no_requests_give_no_results(self) -> None:
        """An empty iterable ends at once."""
        async with AsyncSiliconFlow("k") as client:
            assert await all_of(client.chat.completions.map([])) == []


class TestEvents:
    """`on_event` hears each event as it comes."""

    @pytest.mark.parametrize("waits", [False, True])
    async def test_events_come_with_their_item(self, waits: bool) -> None:
        """A function or a coroutine function; the text of its deltas is the answer's."""
        texts: dict[int, str] = {}

        def hear(item: MapItem, event: Any) -> None:
            if isinstance(event, ContentDelta):
                texts[item.index] = texts.get(item.index, "") + event.text

        async def hear_later(item: MapItem, event: Any) -> None:
            await asyncio.sleep(0)
            hear(item, event)

        async with served() as (_, client):
            results = await all_of(
                client.chat.completions.map(asks(5), model=MODEL, on_event=hear_later if waits else hear)
            )
        assert texts == {result.index: result.completion.content for result in results}

    @pytest.mark.parametrize("error", [ZeroDivisionError, BadRequestError, StopAsyncIteration])
    async def test_an_exception_of_the_callback_ends_the_run(self, error: type[Exception]) -> None:
        """It is no failure of the request; its connection is closed."""

        def hear(item: MapItem, event: Any) -> None:
            raise error

        async with served() as (server, client):
            server.raw([chunk("a"), Stall()])
            async with client.chat.completions.map(asks(5), model=MODEL, max_concurrency=1, on_event=hear) as results:
                with pytest.raises(RuntimeError if error is StopAsyncIteration else error):
                    await anext(results)
            await server.left_early()


async def test_a_run_shows_no_key() -> None:
    """Neither results nor items show what a request held."""
    async with served() as (server, client):
        server.raw([chunk("a"), DONE])
        request = {**ASK, "extra_headers": {"X-Api-Key": "sk-hidden"}}
        results = client.chat.completions.map([request])
        (result,) = await all_of(results)
        assert "sk-hidden" not in repr(result) + repr(results) + repr(result.error)
        assert server.requests[0].headers["X-Api-Key"] == "sk-hidden"


async def test_a_run_is_freed_without_the_collector() -> None:
    """Once left and forgotten, nothing of a run is left for the collector."""
    async with served() as (_, client):
        await all_of(client.chat.completions.map(asks(5), model=MODEL))
        gc.collect()
        gc.disable()
        try:
            before = len([thing for thing in gc.get_objects() if type(thing).__name__ == "MapResults"])
            await all_of(client.chat.completions.map(asks(5), model=MODEL))
            await asyncio.sleep(0)
            after = len([thing for thing in gc.get_objects() if type(thing).__name__ == "MapResults"])
        finally:
            gc.enable()
        assert (before, after) == (0, 0)
