"""Connections that break in every way and place: a typed error or the answer, and never less than what had arrived."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncSiliconFlow,
    SiliconFlowError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.testing import FakeSiliconFlow, Fin

from ..asking import ASK, DONE, chunk
from .fault_proxy import BreakChunk, Cut, DropLast, FaultProxy, Flip, Hang, Pass, Pieces, Refuse, StallAfter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .fault_proxy import Fault

pytestmark = pytest.mark.anyio

EVENTS = [chunk("Hel"), chunk("lo, "), chunk("wörld"), chunk("", finish="stop"), DONE]
TEXTS = ["Hel", "lo, ", "wörld", ""]
TEXT = "".join(TEXTS)
WHOLE = json.dumps(
    {"id": "1", "model": "m", "choices": [{"index": 0, "message": {"content": TEXT}, "finish_reason": "stop"}]}
).encode()
STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(WHOLE)
CHUNKS = [b"%x\r\n%b\r\n" % (len(event), event) for event in EVENTS]
STREAM = STREAM_HEAD + b"".join(CHUNKS) + b"0\r\n\r\n"
# Where each event's last byte stands in the answer, its chunk's line end not counted.
EVENT_ENDS = [len(STREAM_HEAD) + len(b"".join(CHUNKS[: n + 1])) - 2 for n in range(len(CHUNKS))]


@asynccontextmanager
async def proxied(
    *faults: Fault, **options: Any
) -> AsyncIterator[tuple[FakeSiliconFlow, FaultProxy, AsyncSiliconFlow]]:
    """A stand-in, a proxy before it, and a client on the proxy that never tries again."""
    async with (
        FakeSiliconFlow() as server,
        FaultProxy(server, *faults) as proxy,
        AsyncSiliconFlow("k", base_url=proxy.base_url, max_retries=0, **options) as client,
    ):
        yield server, proxy, client


class Outcome:
    """How one call went: the texts that were given out, the stream's last word, and the error."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.ended: str | None = None
        self.partial: str | None = None
        self.error: Exception | None = None


async def read_stream(client: AsyncSiliconFlow) -> Outcome:
    outcome = Outcome()
    try:
        # Far beyond what any of this takes: nothing may hang.
        async with asyncio.timeout(3), client.chat.completions.stream(**ASK) as stream:
            try:
                async for c in stream:
                    outcome.texts.append(c.content or "")
            finally:
                outcome.ended = stream.ended
                outcome.partial = stream.partial.content
    except Exception as error:
        outcome.error = error
    return outcome


async def read_whole(client: AsyncSiliconFlow) -> Outcome:
    outcome = Outcome()
    try:
        async with asyncio.timeout(3):
            outcome.texts.append((await client.chat.completions.create(**ASK)).content or "")
    except Exception as error:
        outcome.error = error
    return outcome


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_stream_cut_at_every_byte(reset: bool) -> None:
    """Every whole event comes out, then the finish or TruncatedStreamError; APIConnectionError before the headers."""
    async with proxied(*(Cut(after, reset) for after in range(len(STREAM)))) as (server, _, client):
        server.raw([STREAM], framing="verbatim", times=None)
        for after in range(len(STREAM)):
            outcome = await read_stream(client)
            arrived = sum(end <= after for end in EVENT_ENDS)
            where = f"cut after {STREAM[:after]!r}"
            assert outcome.texts == TEXTS[:arrived], where
            if after < len(STREAM_HEAD):
                assert type(outcome.error) is APIConnectionError, where
            elif arrived < 4:
                assert type(outcome.error) is TruncatedStreamError, where
                assert outcome.error.partial is not None
                assert (outcome.error.partial.content or "") == "".join(TEXTS[:arrived]), where
                assert outcome.ended == ("truncated" if arrived else None), where
            else:
                assert outcome.error is None, where
                assert outcome.ended == ("finish" if arrived == 4 else "done"), where
                assert outcome.partial == TEXT, where


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
async def test_a_whole_answer_cut_at_every_byte(reset: bool) -> None:
    """Less than the whole body is TruncatedStreamError; less than the headers APIConnectionError."""
    size = len(WHOLE_HEAD + WHOLE)
    async with proxied(*(Cut(after, reset) for after in range(size + 1))) as (server, _, client):
        server.raw([WHOLE_HEAD + WHOLE], framing="verbatim", times=None)
        for after in range(size + 1):
            outcome = await read_whole(client)
            where = f"cut after {after} bytes"
            if after == size:
                assert outcome.texts == [TEXT]
            elif after < len(WHOLE_HEAD):
                assert type(outcome.error) is APIConnectionError, where
            else:
                assert type(outcome.error) is TruncatedStreamError, where
                assert outcome.error.partial is None


async def test_refused_and_hung_connections() -> None:
    """A reset on accept and an empty port are APIConnectionError; a peer that never answers trips a clock."""
    async with proxied(Refuse(), Refuse(), Hang(), Hang(), timeouts=Timeouts(first_token=0.5, total=1.0)) as (
        _,
        proxy,
        client,
    ):
        for read in (read_stream, read_whole):
            assert type((await read(client)).error) is APIConnectionError
        for read, clock in ((read_stream, "first_token"), (read_whole, "total")):
            error = (await read(client)).error
            assert type(error) is APITimeoutError
            assert error.clock == clock
        assert len(proxy.links) == 4
        for link in proxy.links[2:]:
            await link.left.wait()
    async with AsyncSiliconFlow("k", base_url=proxy.base_url, max_retries=0) as client:
        for read in (read_stream, read_whole):
            assert type((await read(client)).error) is APIConnectionError


@pytest.mark.parametrize("after", [EVENT_ENDS[1], EVENT_ENDS[1] + 20])
async def test_a_stall_is_a_timeout_that_keeps_what_came(after: int) -> None:
    """Silence after some events ends by the idle clock, in a whole answer by total; then the connection is left."""
    faults = (StallAfter(after), StallAfter(len(WHOLE_HEAD) + 10))
    async with proxied(*faults, timeouts=Timeouts(idle=0.1)) as (server, proxy, client):
        server.raw([STREAM], framing="verbatim")
        outcome = await read_stream(client)
        assert outcome.texts == TEXTS[:2]
        assert (outcome.ended, outcome.partial) == ("timeout", "Hello, ")
        assert isinstance(outcome.error, APITimeoutError)
        assert outcome.error.clock == "idle"
        assert outcome.error.partial is not None
        assert outcome.error.partial.content == "Hello, "
        server.raw([WHOLE_HEAD + WHOLE], framing="verbatim")
        outcome = await read_whole(client.with_options(timeout=0.1))
        assert isinstance(outcome.error, APITimeoutError)
        assert outcome.error.clock == "total"
        for link in proxy.links:
            await link.left.wait()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_pieces_of_any_size_are_the_same_answer(size: int) -> None:
    """Answers that trickle in are whole."""
    async with proxied(Pieces(size)) as (server, proxy, client):
        server.raw([STREAM], framing="verbatim")
        outcome = await read_stream(client)
        assert (outcome.texts, outcome.ended) == (TEXTS, "done")
        server.raw([WHOLE_HEAD + WHOLE], framing="verbatim")
        assert (await read_whole(client)).texts == [TEXT]
        assert len(proxy.links) == 1


@pytest.mark.parametrize("line", [b"zz", b"", b"-1", b"ffffffffffffffffff", b"1", b"5 5", b"\x00", b"0"])
async def test_a_broken_chunk_size_ends_the_stream(line: bytes) -> None:
    """The events before the broken line come out; then the finish, or a stream error, and no wait."""
    numbers = range(len(EVENTS) + 1)
    async with proxied(*(BreakChunk(number, line) for number in numbers)) as (server, _, client):
        server.raw([STREAM], framing="verbatim", times=None)
        for number in numbers:
            outcome = await read_stream(client)
            assert outcome.texts == TEXTS[:number]
            if number < 4:
                assert type(outcome.error) is TruncatedStreamError
                assert outcome.error.partial is not None
                assert (outcome.error.partial.content or "") == "".join(TEXTS[:number])
            else:
                assert outcome.error is None
                assert outcome.ended == ("finish" if number == 4 else "done")
                assert outcome.partial == TEXT


async def test_events_in_one_read_with_a_broken_chunk_size_are_delivered() -> None:
    """Headers, events and a broken line that arrive together: the events come out before the error."""
    async with proxied(BreakChunk(2, b"zz", apart=False), BreakChunk(4, b"zz", apart=False)) as (server, _, client):
        server.raw([STREAM], framing="verbatim", times=None)
        outcome = await read_stream(client)
        assert (type(outcome.error), outcome.texts) == (TruncatedStreamError, TEXTS[:2])
        outcome = await read_stream(client)
        assert (outcome.error, outcome.texts, outcome.ended) == (None, TEXTS, "finish")


@pytest.mark.parametrize("line", [b"zz", b"", b"-1", b"ffffffffffffffffff", b"0"])
async def test_a_broken_chunk_size_ends_a_whole_answer(line: bytes) -> None:
    """It is TruncatedStreamError, wherever it stands."""
    async with proxied(BreakChunk(0, line), BreakChunk(1, line)) as (server, _, client):
        server.raw([WHOLE[:50], WHOLE[50:]], headers={"content-type": "application/json"}, times=None)
        outcome = await read_whole(client)
        assert type(outcome.error) is TruncatedStreamError
        outcome = await read_whole(client)
        # A body that is ended too early in good order is known by its JSON alone.
        assert isinstance(outcome.error, SiliconFlowError)
        assert outcome.texts == []


@pytest.mark.parametrize("mask", [0x01, 0x80])
async def test_a_flipped_bit_anywhere(mask: int) -> None:
    """A typed error or an answer, with nothing added to the events before it; never a foreign exception, nor a wait."""
    # After the answer the server closes: a body whose framing was lost has an end.
    async with proxied(*(Flip(at, mask) for at in range(len(STREAM)))) as (server, _, client):
        server.raw([STREAM, Fin()], framing="verbatim", times=None)
        for at in range(len(STREAM)):
            outcome = await read_stream(client)
            where = f"flipped {mask:#x} after {STREAM[:at]!r}"
            assert outcome.error is None or isinstance(outcome.error, SiliconFlowError), where
            assert not isinstance(outcome.error, APITimeoutError), where
            if outcome.error is not None and outcome.ended is None:
                continue  # it failed before its first chunk
            unharmed = sum(end <= at for end in EVENT_ENDS[:4])
            assert outcome.texts[:unharmed] == TEXTS[:unharmed], where
            assert (outcome.partial or "") == "".join(outcome.texts), where
    whole = WHOLE_HEAD + WHOLE
    async with proxied(*(Flip(at, mask) for at in range(len(whole)))) as (server, _, client):
        server.raw([whole, Fin()], framing="verbatim", times=None)
        for at in range(len(whole)):
            error = (await read_whole(client)).error
            assert error is None or isinstance(error, SiliconFlowError), f"flipped {mask:#x} after {whole[:at]!r}"
            assert not isinstance(error, APITimeoutError), f"flipped {mask:#x} after {whole[:at]!r}"


@pytest.mark.parametrize("stall", [False, True], ids=["FIN", "silence"])
async def test_a_missing_last_chunk_costs_nothing_but_the_connection(stall: bool) -> None:
    """After [DONE] or the finish the answer is whole, though the HTTP body has no end."""
    timeouts = Timeouts(idle=0.2)
    async with proxied(DropLast(stall), DropLast(stall), DropLast(stall), timeouts=timeouts) as (server, proxy, client):
        for events, ended in ((EVENTS, "done"), (EVENTS[:-1], "finish")):
            server.raw(events)
            outcome = await read_stream(client)
            assert (outcome.texts, outcome.ended, outcome.error) == (TEXTS, ended, None)
        server.raw(EVENTS[:-2])
        outcome = await read_stream(client)
        assert type(outcome.error) is (APITimeoutError if stall else TruncatedStreamError)
        assert (outcome.texts, outcome.partial) == (TEXTS[:3], TEXT)
        assert len(proxy.links) == 3
        for link in proxy.links:
            await link.left.wait()


@pytest.mark.parametrize("stall", [False, True], ids=["FIN", "silence"])
async def test_a_whole_answer_without_its_last_chunk_is_truncated(stall: bool) -> None:
    """Only the end of the body says that a whole answer is one."""
    async with proxied(DropLast(stall)) as (server, _, client):
        server.raw([WHOLE], headers={"content-type": "application/json"})
        error = (await read_whole(client.with_options(timeout=0.2))).error
        assert type(error) is (APITimeoutError if stall else TruncatedStreamError)


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("read", [read_stream, read_whole])
async def test_a_stale_connection_is_replayed_once(read: Any, reset: bool) -> None:
    """A reused connection that breaks before a byte of its answer costs nothing, retries or not."""
    async with proxied(Cut(0, reset, answer=2)) as (server, proxy, client):
        server.reply(["x"], times=None)
        for _ in range(2):
            outcome = await read(client)
            assert outcome.error is None
            assert "".join(outcome.texts) == "x"
        assert proxy.links[0].struck.is_set()
        assert len(proxy.links) == 2


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("read", [read_stream, read_whole])
async def test_a_replay_that_breaks_too_is_an_error(read: Any, reset: bool) -> None:
    """It is replayed once at most, on a new connection, also when another kept-alive one stands ready for it."""
    async with proxied(Cut(0, reset, answer=2), Cut(0, reset, answer=2), Cut(0, reset)) as (server, proxy, client):
        server.reply(["x"], times=None)
        # Two at once, for two kept-alive connections.
        await asyncio.gather(read(client), read(client))
        assert len(proxy.links) == 2
        assert type((await read(client)).error) is APIConnectionError
        assert len(proxy.links) == 3
        assert proxy.links[2].struck.is_set()
        assert sum(link.struck.is_set() for link in proxy.links) == 2


@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("read", [read_stream, read_whole])
@pytest.mark.parametrize("after", [1, 12, len(STREAM_HEAD) - 5])
async def test_an_answer_that_had_begun_is_not_replayed(read: Any, after: int, reset: bool) -> None:
    """One byte of the headers on a reused connection, and a break is an error: the service has taken the request."""
    async with proxied(Cut(after, reset, answer=2)) as (server, proxy, client):
        server.reply(["x"], times=None)
        assert (await read(client)).error is None
        assert type((await read(client)).error) is APIConnectionError
        assert proxy.links[0].struck.is_set()
        assert len(proxy.links) == 1
        assert len(server.requests) == 2


async def test_a_healthy_call_passes_the_proxy() -> None:
    """The proxy itself changes nothing, and counts every byte."""
    async with proxied(Pass()) as (server, proxy, client):
        for _ in range(3):
            server.raw([STREAM], framing="verbatim")
            assert (await read_stream(client)).ended == "done"
        (link,) = proxy.links
        assert link.down == 3 * len(STREAM)
        assert link.up > 3 * len(json.dumps(ASK))
