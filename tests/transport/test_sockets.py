"""What the system is told of each connection: how it notices a peer that has gone without a word."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

import pytest

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.testing import Stall

from ..asking import ASK, NO_WAIT, chunk
from ..connect_proxy import ConnectProxy
from ..connection import protocol_of
from ..tls import AUTHORITY, HOST, listening, speaking_tls, trusting

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="the options have these names on Linux"),
]


async def check_options(server: FakeSiliconFlow, proxy: str | None = None) -> None:
    async with (
        AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting(), proxy=proxy, retry=NO_WAIT) as client,
        client.chat.completions.stream(**ASK),
    ):
        made = protocol_of(client).transport.get_extra_info("socket")
        assert made.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 3
        # Nor less: it also ends a live peer that stops reading.
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 60_000
        # aiohttp's own is kept.
        assert made.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


@pytest.mark.parametrize("route", ["http", "https", "proxy"])
async def test_the_system_probes_a_silent_connection(route: str) -> None:
    """A connection that a balancer forgot ends within a minute, however long an answer may take."""
    with listening(speaking_tls(AUTHORITY.issue_cert(HOST)) if route != "http" else None) as server:
        server.raw([chunk("a"), Stall()])
        if route != "proxy":
            await check_options(server)
            return
        async with ConnectProxy() as proxy:
            await check_options(server, proxy.url())
