"""Which connection a request gets after one has failed it, and at which address."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import APIStatusError, AsyncSiliconFlow, MalformedStreamError, Timeouts

from ..asking import ASK, NO_WAIT
from ..tls import AUTHORITY, HOST, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

TLS = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
BODY = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY) + BODY


class Balancer:
    """Answers each request, but forgets every connection it has when told: what comes on one of those is cut off.

    Or swallowed, if it is `silent`. `requests` counts what came, `accepted` the connections; `statuses` are those of
    the answers to come, if not 200.
    """

    def __init__(self) -> None:
        self.requests = self.accepted = 0
        self.silent = False
        self.statuses: list[int] = []
        self._forgotten: set[asyncio.StreamWriter] = set()
        self._known: set[asyncio.StreamWriter] = set()

    def forget(self) -> None:
        """As after a failover: who holds a connection learns it only when it asks."""
        self._forgotten |= self._known

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._known.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests += 1
                if writer in self._forgotten and not self.silent:
                    break
                if length := re.search(rb"(?i)content-length: *(\d+)", head):
                    await reader.readexactly(int(length[1]))
                if writer not in self._forgotten:
                    status = self.statuses.pop(0) if self.statuses else 200
                    writer.write(ANSWER.replace(b"200", b"%d" % status, 1))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()


@asynccontextmanager
async def balanced(*, tls: bool, **options: Any) -> AsyncIterator[tuple[Balancer, AsyncSiliconFlow]]:
    balancer = Balancer()
    context = speaking_tls(AUTHORITY.issue_cert(HOST)) if tls else None
    async with await asyncio.start_server(balancer.serve, HOST, 0, ssl=context) as listener:
        base_url = f"http{'s' if tls else ''}://{HOST}:{listener.sockets[0].getsockname()[1]}"
        options = {"ssl": trusting(), "retry": NO_WAIT, **options}
        async with AsyncSiliconFlow("k", base_url=base_url, **options) as client:
            yield balancer, client


async def ask(client: AsyncSiliconFlow, *, streaming: bool = False) -> None:
    if streaming:
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await stream.completion()).content == "x"
    else:
        assert (await client.chat.completions.create(**ASK)).content == "x"


@TLS
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("idle", [1, 2, 10, 30])
async def test_stale_connections_cost_one_request_in_vain(idle: int, streaming: bool, tls: bool) -> None:
    """However many were idle, and with retries off: what broke is sent on a new connection, and the others go."""
    async with balanced(tls=tls, max_retries=0) as (balancer, client):
        await asyncio.gather(*(ask(client) for _ in range(idle)))
        assert balancer.accepted == idle
        balancer.forget()
        await ask(client, streaming=streaming)
        assert (balancer.requests, balancer.accepted) == (idle + 2, idle + 1)
        await ask(client, streaming=streaming)
        assert (balancer.requests, balancer.accepted) == (idle + 3, idle + 1)


async def test_models_too_are_asked_for_on_a_new_connection() -> None:
    """aiohttp itself repeats a GET that broke."""
    async with balanced(tls=False, max_retries=0) as (balancer, client):
        await asyncio.gather(*(ask(client) for _ in range(5)))
        balancer.forget()
        with pytest.raises(MalformedStreamError):  # an answer, if not one of models
            await client.models.list()
        assert (balancer.requests, balancer.accepted) == (5 + 2, 5 + 1)


@TLS
async def test_a_retry_takes_no_connection_that_was_idle(tls: bool) -> None:
    """Where a connection swallowed the request, the others are not tried one by one, each for a whole clock."""
    async with balanced(tls=tls, timeouts=Timeouts(first_token=0.2)) as (balancer, client):
        await asyncio.gather(*(ask(client) for _ in range(5)))
        balancer.silent = True
        balancer.forget()
        await ask(client, streaming=True)
        assert (balancer.requests, balancer.accepted) == (5 + 2, 5 + 1)


async def test_a_connection_that_has_answered_since_is_kept() -> None:
    """Only what was idle all the while is closed: the others have shown that they live."""
    async with balanced(tls=False, timeouts=Timeouts(first_token=0.3)) as (balancer, client):
        await ask(client)
        balancer.silent = True
        balancer.forget()
        swallowed = asyncio.ensure_future(ask(client, streaming=True))
        async with asyncio.timeout(5):
            while balancer.requests < 2:  # noqa: ASYNC110  # a turn of the loop, until the request is swallowed
                await asyncio.sleep(0)
        await ask(client)
        await swallowed
        assert balancer.accepted == 3
        await asyncio.gather(ask(client), ask(client))
        assert balancer.accepted == 3


@pytest.mark.parametrize("status", [421, 425])
async def test_a_refusal_of_the_connection_is_repeated_once_on_a_new_one(status: int) -> None:
    """421 (misdirected) and 425 (too early) say that the connection was the wrong one, or the moment."""
    async with balanced(tls=False) as (balancer, client):
        await asyncio.gather(ask(client), ask(client))
        balancer.statuses = [status]
        await ask(client)
        assert (balancer.requests, balancer.accepted) == (4, 3)
        balancer.statuses = [status] * 3
        with pytest.raises(APIStatusError) as caught:
            await ask(client)
        assert (caught.value.status, caught.value.attempts) == (status, 2)
