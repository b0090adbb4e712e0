"""Retries as a server sees them: few when it is down, spread out, and never once an answer has begun."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncSiliconFlow,
    EventTooLargeError,
    MalformedStreamError,
    RateLimitError,
    RetryPolicy,
    SiliconFlowError,
    StreamAPIError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, Rst, Stall

from ..asking import ASK, NO_WAIT, chunk, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


async def test_a_server_that_is_down_is_not_knocked_at_many_times_over() -> None:
    """1,000 calls where every connection is dropped at once make at most 1,200 connections, and nearly as many."""
    knocks = 0

    def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal knocks
        knocks += 1
        writer.transport.abort()

    server = await asyncio.start_server(drop, "127.0.0.1", 0, backlog=1024)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=base_url, retry=NO_WAIT) as client:
            calls = (client.chat.completions.create(stream=n % 2 == 0, **ASK) for n in range(1000))
            for batch in zip(*[calls] * 20, strict=True):
                ends = await asyncio.gather(*batch, return_exceptions=True)
                assert all(type(end) is APIConnectionError for end in ends)
    assert 1_100 < knocks <= 1_200


async def test_a_port_where_nobody_listens_is_not_tried_many_times_over() -> None:
    """1,000 calls to a closed port make at most 1,200 attempts; each error says how many were its own."""
    with socket.socket() as closed:
        # Bound and not listening: every connect is refused, and nobody else gets the port.
        closed.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        attempts = []
        async with AsyncSiliconFlow("k", base_url=base_url, retry=NO_WAIT) as client:
            for _ in range(1000):
                with pytest.raises(APIConnectionError) as caught:
                    await client.chat.completions.create(**ASK)
                attempts.append(caught.value.attempts)
    assert max(attempts) == 5
    assert 1_100 < sum(attempts) <= 1_200


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 1.0), (2, 2.0), (4, 8.0), (9, 20.0)])
def test_jitter_spreads_the_waits_evenly(attempt: int, ceiling: float) -> None:
    """Over many calls the waits fill the upper half of their range: every twentieth of it gets about a tenth."""
    policy = RetryPolicy(max_attempts=10, base=1.0, cap=20.0)
    waits = [policy.delay(attempt, APIConnectionError()) for _ in range(10_000)]
    tenths = [0] * 10
    for wait in waits:
        assert wait is not None
        tenths[int((wait / ceiling - 0.5) * 20)] += 1
    # Nine degrees of freedom: above 60 is less than one chance in a thousand million.
    assert sum((count - 1000) ** 2 / 1000 for count in tenths) < 60


async def test_calls_that_fail_together_come_back_apart(caplog: pytest.LogCaptureFixture) -> None:
    """Eight calls that two clients each see refused at once are repeated after sixteen different waits."""
    for _ in range(2):
        async with served(retry=RetryPolicy(base=0.05, max_attempts=2)) as (server, client):
            server.fail(503, times=8)
            await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(8)))
            assert len(server.requests) == 16
    waits = [record.args[-1] for record in caplog.records if record.name == "siliconflow_async" and record.args]
    assert len(waits) == len(set(waits)) == 16


def in_a_second() -> str:
    # A date has whole seconds: this one is one to two seconds away.
    return format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)


@pytest.mark.parametrize(
    ("name", "value", "least", "streaming"),
    [
        ("Retry-After", "0.3", 0.3, False),
        ("Retry-After", "0.3", 0.3, True),
        ("Retry-After-Ms", "300", 0.3, True),
        ("Retry-After", None, 0.9, True),
    ],
)
async def test_retry_after_is_waited_out(name: str, value: str | None, least: float, streaming: bool) -> None:
    """The second request comes when the service asked for it, whatever the policy would have drawn."""
    async with served() as (server, client):
        server.fail(503, headers={name: value or in_a_second()})
        started = time.monotonic()
        await client.chat.completions.create(stream=streaming, **ASK)
        assert time.monotonic() - started >= least
        assert len(server.requests) == 2


@pytest.mark.parametrize("hours", [-1, 1])
async def test_a_clock_that_is_wrong_changes_no_retry_after(hours: int) -> None:
    """A date is as far away as the answer's own `Date` says, where the machine is an hour fast or slow."""
    there = datetime.now(UTC) + timedelta(hours=hours)
    dates = {"Date": there, "Retry-After": there + timedelta(seconds=1)}
    async with served() as (server, client):
        server.fail(503, headers={name: format_datetime(date, usegmt=True) for name, date in dates.items()})
        started = time.monotonic()
        await client.chat.completions.create(**ASK)
        assert time.monotonic() - started >= 1
        assert len(server.requests) == 2


RUBBISH = [
    "nan",
    "inf",
    "-inf",
    "Infinity",
    "1" + "0" * 35,
    "1e35",
    "1e999",
    "-1",
    "-0.5",
    "0x10",
    "soon",
    "1 s",
    "",
    "٣",
]


@pytest.mark.parametrize("name", ["Retry-After", "Retry-After-Ms"])
async def test_a_retry_after_that_makes_no_sense_is_ignored(name: str) -> None:
    """The call is repeated after the policy's own wait, for streams as for whole answers."""
    async with served(retry=RetryPolicy(base=0, max_attempts=2)) as (server, client):
        for count, value in enumerate(RUBBISH, 1):
            server.fail(429, headers={name: value})
            stream = await client.chat.completions.create(stream=True, **ASK)
            await stream.aclose()
            assert len(server.requests) == 2 * count, value
            # Keeps the budget of retries in credit.
            client = client.with_options(retry=RetryPolicy(base=0, max_attempts=2, budget=10))


@pytest.mark.parametrize("value", ["Fri, 31 Dec 9999 23:59:59 GMT", "61", "61.5"])
async def test_a_wait_beyond_the_cap_is_not_begun(value: str) -> None:
    """The error comes at once, and says how long the service asked to wait."""
    async with served() as (server, client):
        server.fail(429, headers={"Retry-After": value})
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(stream=True, **ASK)
        assert caught.value.retry_after is not None
        assert caught.value.retry_after > 60
        assert len(server.requests) == 1


AFTER = {
    "reset": ([Rst()], TruncatedStreamError),
    "half an event": ([chunk("lo")[:20], Fin()], TruncatedStreamError),
    "error frame": ([b'data: {"code":50505,"message":"Model is busy"}\n\n', Stall()], StreamAPIError),
    "error event": ([b'event: error\ndata: {"error":{"code":503,"message":"x"}}\n\n', Stall()], StreamAPIError),
    "rate limit": ([b'data: {"code":50602,"message":"TPM limit"}\n\n', Stall()], StreamAPIError),
    "HTML": ([b"data: <html>\n\n", Stall()], MalformedStreamError),
    "too large": ([chunk("x" * 5000), Stall()], EventTooLargeError),
    "idle": ([Stall()], APITimeoutError),
    "total": ([Stall()], APITimeoutError),
}


@pytest.mark.parametrize("first", [chunk("Hel"), chunk(None, role="assistant")], ids=["content", "role alone"])
@pytest.mark.parametrize("way", AFTER)
async def test_after_a_chunk_nothing_is_repeated(way: str, first: bytes) -> None:
    """A failure that would be retried before the first chunk, even one without content, is raised after it."""
    steps, error_class = AFTER[way]
    limits = Timeouts(total=0.2) if way == "total" else Timeouts(first_token=0.2, idle=0.2)
    async with served(timeouts=limits, max_event_size=4096) as (server, client):
        server.raw([first, *steps], times=None)
        stream = await client.chat.completions.create(stream=True, **ASK)
        with pytest.raises(error_class):
            await stream.completion()
        assert stream.partial.content == ("Hel" if b"Hel" in first else None)
        with pytest.raises(SiliconFlowError):
            await anext(stream)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "body", [b'{"code":50606,"message":"x"}', b'{"code":50607}', b'{"message":"TPD limit reached"}']
)
async def test_no_call_waits_for_an_hour_or_a_day(body: bytes) -> None:
    """A meter of the hour or day is no reason to wait, even where the service says for how long."""
    async with served() as (server, client):
        server.fail(429, body, headers={"Retry-After": "0"}, times=None)
        for streaming in (False, True):
            with pytest.raises(RateLimitError) as caught:
                await client.chat.completions.create(stream=streaming, **ASK)
            assert caught.value.attempts == 1
        assert len(server.requests) == 2


@pytest.mark.parametrize("retries", [0, 1])
async def test_a_stale_connection_is_replayed_once(retries: int) -> None:
    """A server that drops the replay too has been asked twice for the first attempt, and once for each retry."""
    heads: list[bytes] = []

    async def answer_the_first(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for head in requests_of(reader):
            heads.append(head)
            if len(heads) > 1:
                break
            body = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        writer.close()

    server = await asyncio.start_server(answer_the_first, "127.0.0.1", 0)
    async with server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=base_url, retry=NO_WAIT, max_retries=retries) as client:
            await client.chat.completions.create(**ASK)
            with pytest.raises(APIConnectionError) as caught:
                await client.chat.completions.create(**ASK)
    assert caught.value.attempts == 1 + retries
    assert len(heads) == 1 + 2 + retries


async def requests_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while not reader.at_eof():
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readuntil(b"}]}")
        yield head


async def test_the_first_chunk_after_retries_is_the_only_answer() -> None:
    """An error frame, silence and an empty body come before it; none of them shows in what is folded."""
    async with served(timeouts=Timeouts(first_token=0.1)) as (server, client):
        server.raw([b'data: {"code":50505,"message":"Model is busy"}\n\n'])
        server.raw([b": ping\n\n", Stall()])
        server.raw([])
        server.reply("At last.")
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await stream.completion()).content == "At last."
        assert len(server.requests) == 4
