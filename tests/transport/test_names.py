"""Names that move: whoever could not connect asks again where the service is."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from siliconflow_async import AsyncSiliconFlow, Timeouts
from siliconflow_async.testing import FakeSiliconFlow
from siliconflow_async.transport.connector import Connector

from ..asking import ASK, NO_WAIT
from ..connect_proxy import ConnectProxy
from ..tls import AUTHORITY, listening, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

NAME = "localhost"
HERE = "127.0.0.1"
# Of loopback too, where a test listens or nobody does.
GONE = "127.0.0.9"


class Resolver(AbstractResolver):
    """Knows one address at a time: the next of `addresses` at each look-up, and the last one for ever."""

    def __init__(self, *addresses: str) -> None:
        self.asked = 0
        self.then: Callable[[], object] | None = None
        self._addresses = list(addresses)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        assert host == NAME
        self.asked += 1
        # The others that look for it come to wait for this one.
        await asyncio.sleep(0)
        if self.then is not None:
            asyncio.get_running_loop().call_soon(self.then)
            self.then = None
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        found = ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
        return [found]

    async def close(self) -> None:
        pass


def client_on(server: FakeSiliconFlow, resolver: Resolver, **options: Any) -> AsyncSiliconFlow:
    """Return a client whose own connector asks `resolver`."""
    given = {"base_url": server.base_url.replace(HERE, NAME), "retry": NO_WAIT, "ssl": trusting()}
    client = AsyncSiliconFlow("k", **{**given, **options})
    connector = client._pool.get(asyncio.get_running_loop()).session.connector
    assert isinstance(connector, Connector)
    connector._resolver = resolver
    return client


async def test_a_refused_connection_forgets_the_address() -> None:
    """The name is looked up again for the second attempt, instead of ten seconds later; what works is kept."""
    resolver = Resolver(GONE, HERE)
    async with FakeSiliconFlow() as server, client_on(server, resolver) as client:
        done = await client.chat.completions.create(**ASK)
        assert done.timing.attempts == 2
        assert resolver.asked == 2
        # Two at once, for two connections.
        await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(2)))
        assert resolver.asked == 2


async def test_the_connect_clock_forgets_the_address() -> None:
    """Also where somebody listens at the old address, and says nothing."""
    resolver = Resolver(GONE, HERE)
    with listening(speaking_tls(AUTHORITY.issue_cert(NAME))) as server:
        port = urlsplit(server.base_url).port
        with socket.create_server((GONE, port)):
            async with client_on(server, resolver, timeouts=Timeouts(connect=0.3)) as client:
                done = await client.chat.completions.create(**ASK)
    assert done.timing.attempts == 2
    assert resolver.asked == 2


async def test_a_proxy_that_moves_is_found_again() -> None:
    """Through a proxy, its name alone is looked up."""
    resolver = Resolver(GONE, HERE)
    with listening(speaking_tls(AUTHORITY.issue_cert(HERE))) as server:
        async with ConnectProxy() as proxy:
            there = proxy.url().replace(HERE, NAME)
            async with client_on(server, resolver, base_url=server.base_url, proxy=there) as client:
                done = await client.chat.completions.create(**ASK)
    assert done.timing.attempts == 2
    assert resolver.asked == 2


async def test_who_waits_for_a_look_up_is_not_harmed_by_who_forgets_it() -> None:
    """A request may forget the address in the turn between the end of a look-up and that of who waited for it."""
    resolver = Resolver(HERE)
    async with FakeSiliconFlow() as server, client_on(server, resolver) as client:
        connector = client._pool.get(asyncio.get_running_loop()).session.connector
        assert isinstance(connector, Connector)
        resolver.then = connector.clear_dns_cache
        for done in await asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(3))):
            assert done.timing.attempts == 1
    assert resolver.asked == 2
