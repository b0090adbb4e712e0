"""The clocks where an answer is neither silent nor complete: each fires its own, never early, hardly late."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from siliconflow_async import APITimeoutError, AsyncSiliconFlow, OverloadedError, RetryPolicy, Timeouts
from siliconflow_async.testing import FakeSiliconFlow, Pause, Stall, Trickle

from ..asking import ASK, chunk, served
from ..transport.test_clock import LIMIT, ONCE, expires, read_all

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

NEVER_WHOLE = Trickle(chunk("never whole") * 10, size=1, seconds=0.02)


async def test_a_first_event_that_never_ends_is_first_token() -> None:
    """Bytes that keep coming are no token as long as they make no event."""
    async with served(retry=ONCE, timeouts=Timeouts(first_token=LIMIT)) as (server, client):
        server.raw([NEVER_WHOLE])
        with expires("first_token"):
            await read_all(client)
        await server.left_early()


@pytest.mark.parametrize("steps", [[Stall()], [b" ", Stall()], [Trickle(b" " * 1000, size=1, seconds=0.02)]])
async def test_a_whole_answer_that_never_ends_is_total(steps: list[Any]) -> None:
    """first_token and idle are for streams: a whole answer has only the total."""
    async with served(retry=ONCE, timeouts=Timeouts(first_token=0.05, idle=0.05, total=LIMIT)) as (server, client):
        server.raw(steps, headers={"Content-Type": "application/json"})
        with expires("total"):
            await client.chat.completions.create(**ASK)
        await server.left_early()


async def test_a_handshake_that_hangs_is_connect() -> None:
    """A server that accepts and then says nothing to the TLS greeting trips connect."""
    greeted = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            greeted.set()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        base_url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=base_url, timeouts=Timeouts(connect=LIMIT), retry=ONCE) as client:
            with expires("connect"):
                await read_all(client)
    assert greeted.is_set()


async def test_first_token_is_per_attempt() -> None:
    """Three silent attempts take three limits, and the error is the last one's."""
    policy = RetryPolicy(max_attempts=3, base=0.0)
    async with served(retry=policy, timeouts=Timeouts(first_token=LIMIT / 2)) as (server, client):
        server.raw([], before=[Stall()], times=None)
        started = time.monotonic()
        with pytest.raises(APITimeoutError) as caught:
            await read_all(client)
        assert time.monotonic() - started >= 3 * LIMIT / 2 * 0.999
        assert (caught.value.clock, caught.value.attempts) == ("first_token", 3)
        assert len(server.requests) == 3


async def test_a_clock_that_ran_before_leaves_the_next_its_time() -> None:
    """Connecting has little of it; the first token, and then silence, all of theirs."""
    limits = Timeouts(connect=LIMIT / 4, first_token=LIMIT, idle=LIMIT)
    async with asyncio.timeout(10), served(retry=ONCE, timeouts=limits) as (server, client):
        server.raw([], before=[Stall()])
        with expires("first_token"):
            await read_all(client)
        server.raw([chunk("a"), Stall()], before=[Pause(LIMIT / 2)])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            with expires("idle"):
                await anext(stream)


ALIVE: dict[str, Callable[[], bytes]] = {
    "content": lambda: chunk("a"),
    "reasoning": lambda: chunk(None, reasoning_content="a"),
    "tool call": lambda: chunk(None, tool_calls=[{"index": 0, "function": {"arguments": "1"}}]),
    "other choices": lambda: chunk("a", index=3),
}


@pytest.mark.parametrize("kind", ALIVE)
async def test_whatever_is_said_stops_idle(kind: str) -> None:
    """Content, reasoning and tool calls each begin the wait anew; then silence of the limit's length trips idle."""
    async with served(timeouts=Timeouts(first_token=5, idle=LIMIT)) as (server, client):
        server.raw([*[step for _ in range(3) for step in (ALIVE[kind](), Pause(LIMIT * 0.6))], ALIVE[kind](), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            for _ in range(4):
                await anext(stream)
            with expires("idle"):
                await anext(stream)


@pytest.mark.parametrize("rest", [[Stall()], [Trickle(b": ping\n\n" * 1000, size=8, seconds=0.02)]])
async def test_silence_after_the_finish_is_a_whole_answer(rest: list[Any]) -> None:
    """Without `[DONE]` the stream ends well once idle has run out, not sooner and hardly later."""
    async with served(timeouts=Timeouts(idle=LIMIT)) as (server, client):
        server.raw([chunk("a", finish="stop"), *rest])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            loop = asyncio.get_running_loop()
            started = time.monotonic()
            fired: list[float] = []
            timer = loop.call_later(LIMIT, lambda: fired.append(time.monotonic() - started))
            assert (await stream.completion()).content == "a"
            took = time.monotonic() - started
            timer.cancel()
            assert stream.ended == "finish"
            # Late is measured from a timer of the same loop: a held-up machine is not the clock's.
            assert LIMIT * 0.999 <= took <= max([LIMIT, *fired]) * 1.1 + 0.05


async def test_a_slow_reader_of_a_full_socket_trips_nothing() -> None:
    """A server that is held back by the reader is not blamed for the time, before or after the pause."""
    many = [chunk("x" * 1000) for _ in range(3000)]
    async with served(timeouts=Timeouts(first_token=LIMIT, idle=LIMIT)) as (server, client):
        server.raw([*many, chunk("", finish="stop")])
        seen = 0
        async with client.chat.completions.stream(**ASK) as stream:
            async for item in stream:
                seen += len(item.content or "")
                if seen in (1000, 1_000_000, 2_999_000):
                    # The reader's slowness is what is tested.
                    await asyncio.sleep(LIMIT * 1.5)
        assert seen == 3_000_000


async def test_clocks_run_over_tls_too() -> None:
    """A silent stream inside TLS trips idle, and its connection is left at once."""
    authority = trustme.CA()
    inside, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(inside)
    authority.configure_trust(trusting)
    async with (
        FakeSiliconFlow(ssl=inside) as server,
        AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting, timeouts=Timeouts(idle=LIMIT)) as client,
    ):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            with expires("idle"):
                await anext(stream)
            await server.left_early()


async def test_a_refusal_whose_words_never_come_is_still_the_refusal() -> None:
    """The status is known: a body that stalls is not waited for until a clock runs out."""
    async with served(max_retries=0) as (server, client):
        server.raw([b'{"code":', Stall()], status=503, headers={"content-type": "application/json"})
        with pytest.raises(OverloadedError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.body == '{"code":'
        await server.left_early()
