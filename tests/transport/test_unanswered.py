"""What is told where there is no connection: whom it was to reach and why it did not, in no library's own words."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import APIConnectionError, AsyncSiliconFlow

from ..asking import ASK
from ..tls import AUTHORITY, HOST, listening, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

# Never resolved, by RFC 6761.
NO_NAME = "nowhere.invalid"
REFUSED = "Connection refused"


async def told(base_url: str, **options: Any) -> str:
    """Ask once, and return what the error says."""
    async with AsyncSiliconFlow("k", base_url=base_url, max_retries=0, **options) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.completions.create(**ASK)
    return str(caught.value)


@pytest.fixture
def nobody() -> Any:
    """A port of each loopback address that nobody listens on."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield taken.getsockname()[1]


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[int]:
    """Listen on a port, answer every first byte with `data`, and hang up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("host", [HOST, "[::1]"])
async def test_nobody_listens(nobody: int, host: str) -> None:
    assert await told(f"http://{host}:{nobody}/v1") == f"can't connect to {host}:{nobody}: {REFUSED}"


async def test_nobody_listens_at_any_address_of_a_name(nobody: int) -> None:
    """Of `localhost`, which has one or two: each attempt failed, and the reason is the same."""
    assert await told(f"http://localhost:{nobody}/v1") == f"can't connect to localhost:{nobody}: {REFUSED}"


@pytest.mark.filterwarnings("ignore:base_url .* is plain http")
async def test_a_name_cannot_be_resolved() -> None:
    words = await told(f"http://{NO_NAME}:8000/v1", trust_env=False)
    assert words.startswith(f"can't connect to {NO_NAME}:8000: the name can't be resolved: ")


async def test_the_certificate_is_of_an_unknown_authority() -> None:
    with listening(speaking_tls(AUTHORITY.issue_cert(HOST))) as server:
        place = server.base_url.removeprefix("https://").removesuffix("/v1")
        words = await told(server.base_url)
    assert words.startswith(f"can't connect to {place}: the certificate can't be verified: ")
    assert "_ssl.c" not in words


async def test_the_certificate_is_for_another_name() -> None:
    with listening(speaking_tls(AUTHORITY.issue_cert("other.example"))) as server:
        words = await told(server.base_url, ssl=trusting())
    assert "the certificate can't be verified: IP address mismatch" in words


async def test_whoever_listens_speaks_no_tls() -> None:
    async with answering(b"220 mail.example ready\r\n") as port:
        words = await told(f"https://{HOST}:{port}/v1")
    assert words.startswith(f"can't connect to {HOST}:{port}: TLS failed: ")
    assert "_ssl.c" not in words


async def test_a_connection_is_closed_without_an_answer() -> None:
    async with answering(b"") as port:
        assert await told(f"http://{HOST}:{port}/v1") in (
            "no answer from the service: the connection was closed",
            "no answer from the service: Connection reset by peer",  # part of the request was still unread
        )


async def test_nobody_listens_where_the_proxy_should(nobody: int) -> None:
    proxy = f"http://{HOST}:{nobody}"
    assert await told("https://api.example/v1", proxy=proxy) == f"the proxy {proxy} can't be reached: {REFUSED}"


@pytest.mark.parametrize("port", [":3128", ""])
async def test_the_name_of_the_proxy_cannot_be_resolved(port: str) -> None:
    """The error names the proxy, not the service."""
    proxy = f"http://{NO_NAME}{port}"
    words = await told("https://api.example/v1", proxy=proxy)
    assert words.startswith(f"the proxy {proxy} can't be reached: the name can't be resolved: ")
