"""How many requests an answer took: told by every answer and every error, as the service counted them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import Struct

from siliconflow_async import (
    APITimeoutError,
    ClosedError,
    EventTooLargeError,
    Limit,
    MalformedStreamError,
    ParseError,
    RetryPolicy,
    SiliconFlowError,
    StreamAPIError,
    Timeouts,
    ToolRoundsError,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, Stall

from ..asking import ASK, NO_WAIT, chunk, served

if TYPE_CHECKING:
    from siliconflow_async.endpoints.chat import Completions
    from siliconflow_async.testing import FakeSiliconFlow

pytestmark = pytest.mark.anyio

# Retries and continuations without waits, and with credit for each call.
PLENTY = RetryPolicy(base=0.0, budget=3.0)
CALL = [{"name": "weather", "arguments": {"city": "Xi'an"}}]


class Number(Struct):
    n: int


def weather(city: str) -> str:
    return f"sunny in {city}"


def fail_twice(server: FakeSiliconFlow) -> None:
    server.fail(503, times=2)


class TestAnswers:
    """An answer's `timing` holds what the service saw."""

    @pytest.mark.parametrize("retries", [0, 2])
    async def test_of_a_whole_answer(self, retries: int) -> None:
        """The answer that came at once took one, that after two refusals three."""
        async with served() as (server, client):
            for _ in range(retries):
                server.fail(503)
            done = await client.chat.completions.create(**ASK)
            assert done.timing.attempts == len(server.requests) == 1 + retries

    async def test_of_a_stream_while_it_is_open_and_once_it_has_ended(self) -> None:
        """`stream.timing`, `partial` and `completion()` agree."""
        async with served() as (server, client):
            fail_twice(server)
            async with client.chat.completions.stream(**ASK) as stream:
                assert (stream.timing.attempts, stream.timing.total) == (3, None)
                assert stream.partial.timing.attempts == 3
                done = await stream.completion()
            assert done.timing.attempts == stream.timing.attempts == len(server.requests) == 3

    async def test_of_a_parsed_answer(self) -> None:
        """A type takes nothing away."""
        async with served() as (server, client):
            for stream in (False, True):
                server.fail(503)
                server.reply('{"n":1}')
                done = await client.chat.completions.create(**ASK, response_format=Number, stream=stream)
                assert (await done.completion() if stream else done).timing.attempts == 2

    async def test_of_the_results_of_a_run(self) -> None:
        """Each of `map`'s completions has its own, which is that of its result."""
        async with served() as (server, client):
            fail_twice(server)
            async with client.chat.completions.map([ASK, ASK], max_concurrency=1) as results:
                made = [(result.attempts, result.completion.timing.attempts) async for result in results]
            assert sum(attempts for attempts, _ in made) == len(server.requests) == 4
            assert all(attempts == told for attempts, told in made)

    async def test_of_each_round_of_a_conversation_with_tools(self) -> None:
        """The answers of `run_tools` are counted one by one."""
        async with served() as (server, client):
            server.fail(503)
            server.reply(tool_calls=CALL)
            fail_twice(server)
            server.reply("sunny")
            async with client.chat.completions.run_tools(**ASK, tools=[weather]) as run:
                await run.completion()
            assert [done.timing.attempts for done in run.completions] == [2, 3]


@pytest.mark.parametrize(
    ("steps", "error"),
    [
        ([Fin()], TruncatedStreamError),
        ([], TruncatedStreamError),
        ([b'data: {"error": {"message": "no", "code": 20015}}\n\n'], StreamAPIError),
        ([b"data: {nonsense\n\n"], MalformedStreamError),
        ([b"data: " + b"x" * 5000], EventTooLargeError),
        ([Stall()], APITimeoutError),
    ],
)
async def test_an_error_within_a_stream_tells_how_many_it_took(steps: list[Any], error: type[SiliconFlowError]) -> None:
    """As it is raised first, and as it is raised again; what had arrived says the same."""
    async with served(max_event_size=4096, timeouts=Timeouts(idle=0.2)) as (server, client):
        fail_twice(server)
        server.raw([chunk("half"), *steps])
        async with client.chat.completions.stream(**ASK) as stream:
            for _ in range(2):
                with pytest.raises(error) as caught:
                    await stream.completion()
                assert caught.value.attempts == len(server.requests) == 3
                partial: Any = getattr(caught.value, "partial", None)
                assert (partial.content, partial.timing.attempts) == ("half", 3)


async def test_an_error_under_200_tells_how_many_it_took() -> None:
    """As a stream's first word, after another that is tried again."""
    async with served() as (server, client):
        server.fail(503)
        server.raw([b'{"code":20015,"message":"no"}'])
        with pytest.raises(SiliconFlowError) as caught:
            await client.chat.completions.create(stream=True, **ASK)
        assert caught.value.attempts == len(server.requests) == 2


async def test_a_stream_that_was_closed_tells_how_many_it_took() -> None:
    """Closed before, and while it is being read."""
    async with served() as (server, client):
        for _ in range(2):
            server.fail(503)
            server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        stream.abort()
        with pytest.raises(ClosedError) as caught:
            await anext(stream)
        assert caught.value.attempts == 2
        stream = await client.chat.completions.create(stream=True, **ASK)
        await anext(stream)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        stream.abort()
        with pytest.raises(ClosedError) as caught:
            await asyncio.wait_for(reading, 5)
        assert caught.value.attempts == 2


async def whole(completions: Completions, ask: dict[str, Any]) -> None:
    await completions.create(**ask)


async def folded(completions: Completions, ask: dict[str, Any]) -> None:
    async with completions.stream(**ask) as stream:
        await stream.completion()


async def so_far(completions: Completions, ask: dict[str, Any]) -> None:
    async with completions.stream(**ask) as stream:
        async for _ in stream:
            _ = stream.parsed_partial


async def in_a_run(completions: Completions, ask: dict[str, Any]) -> None:
    async with completions.map([ask], fail_fast=True) as results:
        async for _ in results:
            pass


@pytest.mark.parametrize("how", ["whole", "stream", "partial", "map"])
async def test_an_answer_that_does_not_fit_tells_how_many_it_took(how: str) -> None:
    """A ParseError counts as its answer does."""
    async with served() as (server, client):
        fail_twice(server)
        server.reply("no list")
        ask: dict[str, Any] = {**ASK, "response_format": Number}
        completions = client.chat.completions
        with pytest.raises(ParseError) as caught:
            await {"whole": whole, "stream": folded, "partial": so_far, "map": in_a_run}[how](completions, ask)
        assert caught.value.attempts == len(server.requests) == 3


async def test_a_call_that_never_left_its_gate_was_not_sent() -> None:
    """Where the total clock runs out before one's turn comes, no request was made."""
    async with served(limits=Limit(rpm=1)) as (server, client):
        await client.chat.completions.create(**ASK)
        with pytest.raises(APITimeoutError) as caught:
            await client.chat.completions.create(**ASK, timeout=0.1)
        assert caught.value.attempts == 0
        assert len(server.requests) == 1


class TestResumed:
    """A stream that goes on counts every request that was made for it."""

    async def test_continuations_count_and_so_do_their_retries(self) -> None:
        """Two tries to begin, a break, three to go on."""
        async with served(retry=PLENTY) as (server, client):
            server.fail(503)
            server.raw([chunk("one "), Fin()])
            fail_twice(server)
            server.reply("two")
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                done = await stream.completion()
            assert done.content == "one two"
            assert done.timing.attempts == stream.timing.attempts == len(server.requests) == 5

    async def test_the_break_that_stands_counts_continuations_that_failed(self) -> None:
        """Raised at once and again, the first break says how many requests were made in all."""
        async with served(retry=RetryPolicy(base=0.0, budget=3.0, max_attempts=2)) as (server, client):
            server.raw([chunk("one "), Fin()])
            server.fail(400)
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                for _ in range(2):
                    with pytest.raises(TruncatedStreamError) as caught:
                        await stream.completion()
                    assert caught.value.attempts == len(server.requests) == 2
                    assert caught.value.__cause__ is None or caught.value.__cause__.attempts == 2
            assert stream.timing.attempts == stream.partial.timing.attempts == 2

    async def test_a_break_after_the_last_continuation_counts_them_all(self) -> None:
        """Three requests, the second refused once."""
        async with served(retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            server.fail(503)
            server.raw([chunk("two"), Fin()])
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                with pytest.raises(TruncatedStreamError) as caught:
                    await stream.completion()
            assert caught.value.attempts == stream.timing.attempts == len(server.requests) == 3

    async def test_the_total_clock_within_a_continuation(self) -> None:
        """It ends the answer, with both requests counted."""
        async with served(retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            server.raw([], before=[Stall()])
            async with client.chat.completions.stream(**ASK, resume=1, timeout=0.3) as stream:
                for _ in range(2):
                    with pytest.raises(APITimeoutError) as caught:
                        await stream.completion()
                    assert (caught.value.clock, caught.value.attempts) == ("total", 2)
            assert stream.timing.attempts == len(server.requests) == 2

    async def test_leaving_within_a_continuation(self) -> None:
        """The request that was under way was made."""
        async with served(retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            server.raw([], before=[Stall()])
            stream = await client.chat.completions.create(stream=True, **ASK, resume=1)
            reading = asyncio.ensure_future(stream.completion())
            await asyncio.wait_for(server.received(2), 5)
            stream.abort()
            with pytest.raises(ClosedError) as caught:
                await asyncio.wait_for(reading, 5)
            assert caught.value.attempts == stream.timing.attempts == 2


class TestConversations:
    """Errors of `run_tools` count what the run, or the answer that they speak of, took."""

    async def test_too_many_rounds(self) -> None:
        """ToolRoundsError counts the requests of all rounds."""
        async with served() as (server, client):
            fail_twice(server)
            server.reply(tool_calls=CALL)
            server.fail(503)
            server.reply(tool_calls=CALL)
            async with client.chat.completions.run_tools(**ASK, tools=[weather], max_rounds=2) as run:
                with pytest.raises(ToolRoundsError) as caught:
                    await run.completion()
            assert caught.value.attempts == len(server.requests) == 5

    async def test_a_tool_that_takes_too_long(self) -> None:
        """So does that of a call without an end."""

        async def endless() -> None:
            await asyncio.Event().wait()

        async with served() as (server, client):
            server.fail(503)
            server.reply(tool_calls=[{"name": "endless", "arguments": {}}])
            run = client.chat.completions.run_tools(**ASK, tools=[endless], tool_timeout=0.05, on_tool_error="raise")
            async with run:
                with pytest.raises(ToolRoundsError) as caught:
                    await run.completion()
            assert caught.value.attempts == len(server.requests) == 2

    async def test_arguments_that_do_not_fit(self) -> None:
        """A ParseError counts the requests for its answer, the second of the run."""
        async with served() as (server, client):
            server.reply(tool_calls=CALL)
            server.fail(503)
            server.reply(tool_calls=[{"name": "weather", "arguments": {"town": 1}}])
            async with client.chat.completions.run_tools(**ASK, tools=[weather], on_tool_error="raise") as run:
                with pytest.raises(ParseError) as caught:
                    await run.completion()
            assert caught.value.attempts == 2
            assert len(server.requests) == 3


async def test_an_error_that_nobody_counted_says_none() -> None:
    """What was never sent took no request, and an answer that no call made has no count."""
    async with served(retry=NO_WAIT) as (_, client):
        with pytest.raises(SiliconFlowError) as caught:
            await client.chat.completions.create(**ASK, resume=True)
        assert caught.value.attempts == 0
