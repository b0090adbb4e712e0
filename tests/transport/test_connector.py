"""The private names of aiohttp and asyncio that the connector leans on: these tests fail when one of them goes."""

from __future__ import annotations

import asyncio

import pytest

from siliconflow_async import APIConnectionError, ClosedError, TruncatedStreamError
from siliconflow_async.testing import Stall
from siliconflow_async.transport.connector import AnswerProtocol

from ..asking import ASK, DONE, chunk, served
from ..connection import protocol_of, reading_pauses

pytestmark = pytest.mark.anyio


async def test_connections_have_our_protocol_and_small_receives() -> None:
    """`_factory` makes the protocol, which knows its body; `max_size` is what a plain socket receives at most."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            protocol = protocol_of(client)
            assert type(protocol) is AnswerProtocol
            assert protocol.answered
            assert protocol._payload is stream._reading._body._content
            assert protocol.wire is protocol.transport
            if "uvloop" in type(protocol.transport).__module__:
                # It receives into a buffer of the loop's own, whose size it does not tell.
                assert not hasattr(protocol.transport, "max_size")
            else:
                # The attribute is asyncio's: it must be there before we set it.
                assert type(protocol.transport).max_size == 256 * 1024
                assert protocol.transport.max_size == 64 * 1024
        async with asyncio.timeout(5):
            await server.left_early()
        assert protocol.wire is None


async def test_reading_goes_on_after_a_pause() -> None:
    """What waits in aiohttp's parser or in the kernel is not forgotten."""
    texts = [f"{number} " + "x" * 1000 for number in range(2_000)]
    async with served() as (server, client):
        server.raw([chunk(text) for text in texts] + [DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            protocol = protocol_of(client)
            # It is paused before the server has sent all, or the buffer would have no bound.
            first = await anext(stream.text())
            await reading_pauses(client)
            assert [first] + [text async for text in stream.text()] == texts
        assert not protocol._reading_paused


async def test_a_connection_that_is_used_again_has_answered_nothing_yet() -> None:
    """`answered` is of the present request."""
    async with served() as (server, client):
        await client.chat.completions.create(**ASK)
        server.raw([], before=[Stall()])
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await server.received(2)
        assert not protocol_of(client).answered
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert server.connections.accepted == 1


@pytest.mark.parametrize("close", ["client", "protocol", "abort"])
async def test_a_body_that_is_waited_for_ends_with_its_connection(close: str) -> None:
    """Whoever closes it: aiohttp forgets the body, `_payload`, as soon as that is asked for."""
    async with served(max_retries=0) as (server, client):
        server.raw([Stall()], headers={"content-type": "application/json"})
        call = asyncio.create_task(client.chat.completions.create(**ASK))
        await server.received()
        protocol = protocol_of(client)
        async with asyncio.timeout(5):
            while protocol._payload is None or protocol._payload._waiter is None:  # noqa: ASYNC110  # no event for it
                await asyncio.sleep(0)
            if close == "client":
                await client.aclose()
            elif close == "protocol":
                protocol.close()
            else:
                protocol.abort()
            with pytest.raises(ClosedError if close == "client" else TruncatedStreamError):
                await call
            await server.left_early()


async def test_early_hints_are_passed_over() -> None:
    """As many heads as are kept may come in one piece; the last is the answer's. `feed_data` gets each of them."""
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n" * 63
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    async with served() as (server, client):
        server.raw([hints + head + chunk("hi") + DONE], framing="verbatim")
        async with client.chat.completions.stream(**ASK) as stream:
            assert [text async for text in stream.text()] == ["hi"]
        server.raw([hints + hints + head + chunk("hi") + DONE], framing="verbatim")
        with pytest.raises(APIConnectionError, match="64 of them"):
            await client.chat.completions.create(**ASK)
    assert len(server.requests) == 2
