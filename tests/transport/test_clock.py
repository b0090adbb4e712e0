"""The five clocks, against servers that fall silent in every place: each fires its own, never early, hardly late."""

from __future__ import annotations

import asyncio
import gc
import socket
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import APITimeoutError, AsyncSiliconFlow, OverloadedError, RetryPolicy, Timeouts
from siliconflow_async.testing import FakeSiliconFlow, Gate, Pause, Stall, Trickle, Until
from siliconflow_async.transport.clock import StreamClock

from ..asking import ASK, DONE, chunk, served

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio
ONCE = RetryPolicy(max_attempts=1)
LIMIT = 0.3


@contextmanager
def expires(clock: str, seconds: float = LIMIT) -> Iterator[pytest.ExceptionInfo[APITimeoutError]]:
    """The block ends with this clock's error after its limit, at most 10 % and 50 ms late.

    Late is measured from when a timer of the same loop fired: that the machine held up the loop is not the clock's.
    """
    started = time.monotonic()
    fired: list[float] = []
    timer = asyncio.get_running_loop().call_later(seconds, lambda: fired.append(time.monotonic() - started))
    with pytest.raises(APITimeoutError) as caught:
        yield caught
    took = time.monotonic() - started
    timer.cancel()
    assert caught.value.clock == clock
    assert caught.value.seconds == seconds
    assert isinstance(caught.value, TimeoutError)
    assert seconds * 0.999 <= took <= max([seconds, *fired]) * 1.1 + 0.05


async def read_all(client: AsyncSiliconFlow, **options: Any) -> str:
    async with client.chat.completions.stream(**ASK, **options) as stream:
        return "".join([text async for text in stream.text()])


async def test_silence_before_the_headers_is_first_token() -> None:
    """A server that takes the request and says nothing trips first_token."""
    async with served(retry=ONCE, timeouts=Timeouts(first_token=LIMIT)) as (server, client):
        server.raw([], before=[Stall()])
        with expires("first_token"):
            await read_all(client)
        await server.left_early()


@pytest.mark.parametrize(
    "steps",
    [
        [Stall()],
        [b": ping\n\n", Stall()],
        [Trickle(b": ping\n\n" * 1000, size=8, seconds=0.01)],
        [chunk(""), Stall()],
        [chunk("", role="assistant"), Trickle(chunk("") * 1000, size=len(chunk("")), seconds=0.01)],
    ],
)
async def test_headers_comments_and_empty_deltas_are_no_token(steps: list[Any]) -> None:
    """first_token runs on until something is said."""
    async with served(retry=ONCE, timeouts=Timeouts(first_token=LIMIT)) as (server, client):
        server.raw(steps)
        with expires("first_token"):
            await read_all(client)


@pytest.mark.parametrize(
    "steps",
    [
        [Stall()],
        [Trickle(b": ping\n\n" * 1000, size=8, seconds=0.01)],
        [Trickle(chunk("") * 1000, size=len(chunk("")), seconds=0.01)],
        [Trickle(chunk("never whole") * 10, size=1, seconds=0.05)],
    ],
)
async def test_silence_in_mid_stream_is_idle(steps: list[Any]) -> None:
    """Comments, empty deltas and half an event do not stop idle; what had come is in `partial`."""
    async with served(timeouts=Timeouts(first_token=5, idle=LIMIT)) as (server, client):
        server.raw([chunk("a"), *steps])
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await anext(stream)).content == "a"
            with expires("idle"):
                async for _ in stream:
                    pass
            assert stream.partial.content == "a"
            assert stream.ended == "timeout"


async def test_total_bounds_a_lively_stream() -> None:
    """total ends a stream that never falls silent."""
    async with served(timeouts=Timeouts(idle=LIMIT / 2)) as (server, client):
        server.raw([Trickle(chunk("x") * 1000, size=len(chunk("x")), seconds=0.01)])
        with expires("total"):
            await read_all(client, timeout=LIMIT)


async def test_total_covers_attempts_and_waits() -> None:
    """total runs over a hanging second attempt too."""
    async with served(timeouts=Timeouts(total=LIMIT)) as (server, client):
        server.fail(503)
        server.raw([], before=[Stall()])
        with expires("total"):
            await read_all(client)
        assert len(server.requests) == 2


async def test_total_bounds_a_whole_answer() -> None:
    """A whole answer that stalls in its body trips total."""
    async with served() as (server, client):
        server.raw([b"{", Stall()])
        with expires("total"):
            await client.chat.completions.create(**ASK, timeout=LIMIT)


async def test_a_long_retry_after_is_not_waited_for_beyond_the_deadline() -> None:
    """If the wait would outlast total, the error comes at once."""
    async with served(timeouts=Timeouts(total=20)) as (server, client):
        server.fail(503, headers={"retry-after": "30"})
        started = time.monotonic()
        with pytest.raises(OverloadedError):
            await read_all(client)
        assert time.monotonic() - started < 20
        assert len(server.requests) == 1


async def test_a_server_that_never_accepts_is_connect() -> None:
    """A connection that isn't made trips connect."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = []
    try:
        # Fill the queue of connections that nobody accepts, so that the next one hangs.
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        timeouts = Timeouts(connect=LIMIT)
        async with AsyncSiliconFlow("k", base_url=base_url, timeouts=timeouts, retry=ONCE) as client:
            with expires("connect"):
                await client.chat.completions.create(**ASK)
    finally:
        for filler in fillers:
            filler.close()
        listener.close()


async def test_waiting_for_a_free_connection_is_not_connecting() -> None:
    """With every connection in use, a call waits beyond connect and first_token; only total bounds it."""
    timeouts = Timeouts(connect=0.05, first_token=0.05)
    async with served(max_connections=1, timeouts=timeouts, retry=ONCE) as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            with expires("total"):
                await client.chat.completions.create(**ASK, timeout=LIMIT)


async def test_a_slow_reader_trips_nothing() -> None:
    """idle measures the server: time that the reader spends elsewhere does not count."""
    async with served(timeouts=Timeouts(first_token=0.2, idle=0.2)) as (server, client):
        server.raw([chunk("a"), chunk("b"), Pause(0.1), chunk("c", finish="stop"), DONE])
        seen = ""
        async with client.chat.completions.stream(**ASK) as stream:
            async for c in stream:
                seen += c.content or ""
                # The reader's slowness is what is tested.
                await asyncio.sleep(0.3)
        assert seen == "abc"


async def test_what_arrived_before_total_ran_out_is_delivered() -> None:
    """A reader that comes back after total gets all that had arrived, then the error."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk("b"), chunk("c"), Stall()])
        async with client.chat.completions.stream(**ASK, timeout=LIMIT) as stream:
            assert (await anext(stream)).content == "a"
            gate.set()
            # The reader stays away until total has run out.
            await asyncio.sleep(LIMIT * 1.5)
            assert [(await anext(stream)).content for _ in range(2)] == ["b", "c"]
            with pytest.raises(APITimeoutError) as caught:
                await anext(stream)
            assert caught.value.partial is not None
            assert caught.value.partial.content == "abc"


async def test_a_limit_of_none_is_no_limit() -> None:
    """Clocks that are switched off stay off."""
    off = Timeouts(connect=None, first_token=None, idle=None, total=None)
    async with served(timeouts=off) as (server, client):
        server.raw([chunk("a"), Pause(0.1), chunk("b", finish="stop"), DONE])
        assert await read_all(client) == "ab"


async def test_a_loop_that_was_held_up_does_not_blame_the_server() -> None:
    """Bytes that came in time, but met a busy loop, stop the clock."""
    gate, second = Gate(), Gate()
    with FakeSiliconFlow().threaded() as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, timeouts=Timeouts(idle=0.2)) as client:
            server.raw([chunk("a"), Until(gate), chunk("b"), Until(second), chunk("c", finish="stop"), DONE])
            async with client.chat.completions.stream(**ASK) as stream:
                assert (await anext(stream)).content == "a"
                reader = asyncio.ensure_future(anext(stream))
                await asyncio.sleep(0)
                gate.set()
                # A loop held up beyond the limit, while the answer arrives, is what is tested.
                time.sleep(0.5)  # noqa: ASYNC251 - on purpose
                assert (await reader).content == "b"
                second.set()
                assert (await stream.completion()).content == "abc"


@pytest.mark.parametrize("waits", [False, True])
async def test_a_forgotten_stream_leaves_no_clock_behind(waits: bool) -> None:
    """The timer, and the bytes that it would look at, go with the stream and not when the limit has passed."""

    def clocks() -> list[StreamClock]:
        return [clock for clock in gc.get_objects() if isinstance(clock, StreamClock)]

    others = clocks()
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(**ASK, stream=True)
        await anext(stream)
        if waits:
            reader = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            reader.cancel()
            await asyncio.wait([reader])
            del reader
        del stream
        await server.left_early()
        assert [clock for clock in clocks() if clock not in others] == []
