"""What a proxy is told: where to, and what its own URL says. The key, and all other headers, stay in the tunnel."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from client_kit import ASK, NO_WAIT
from connect_proxy import ConnectProxy
from tls_kit import AUTHORITY, HOST, listening, speaking_tls, trusting

from siliconflow_async import AsyncSiliconFlow, SiliconFlowError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from siliconflow_async.testing import FakeSiliconFlow

pytestmark = pytest.mark.anyio

KEY = "sk-" + "for-the-service-alone"
USER = "me:pass-of-the-proxy"
# What a tunnel needs, and aiohttp's own words about itself.
NEEDED = {"host", "user-agent", "accept", "accept-encoding"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeSiliconFlow]:
    with listening(speaking_tls(AUTHORITY.issue_cert(HOST))) as server:
        yield server


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, upstream: FakeSiliconFlow) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    upstream.reset()


async def create(client: AsyncSiliconFlow, **options: Any) -> None:
    await client.chat.completions.create(**ASK, **options)


async def stream(client: AsyncSiliconFlow, **options: Any) -> None:
    async with client.chat.completions.stream(**ASK, **options) as answer:
        await answer.completion()


async def run_map(client: AsyncSiliconFlow, **options: Any) -> None:
    async with client.chat.completions.map([ASK, {**ASK, **options}], **options) as results:
        async for result in results:
            assert result.error is None


async def run_tools(client: AsyncSiliconFlow, **options: Any) -> None:
    def weather(city: str) -> str:
        return "fine"

    await client.chat.completions.run_tools(**ASK, tools=[weather], **options).completion()


async def list_models(client: AsyncSiliconFlow, **options: Any) -> None:
    await client.models.list(**options)


METHODS: dict[str, Callable[..., Awaitable[None]]] = {
    "create": create,
    "stream": stream,
    "map": run_map,
    "run_tools": run_tools,
    "models.list": list_models,
}
# How headers are given: to the client, to a copy of it, to the call.
MINE = {"X-Api-Key": "of-the-service", "X-Team": "mine"}
GIVEN: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "none": ({}, {}, {}),
    "headers": ({"headers": MINE}, {}, {}),
    "default_headers": ({"default_headers": MINE}, {}, {}),
    "with_options": ({}, {"headers": MINE}, {}),
    "extra_headers": ({}, {}, {"extra_headers": MINE}),
    "another key": (
        {"headers": MINE},
        {"api_key": KEY + "-2"},
        {"extra_headers": {"Authorization": f"Bearer {KEY}-3"}},
    ),
}


def check(proxy: ConnectProxy, user: str) -> None:
    """Of each tunnel the proxy was told no more than it needs."""
    assert proxy.heads
    for head in proxy.heads:
        assert head.line.startswith(f"CONNECT {HOST}:")
        allowed = {"proxy-authorization"} if user else set()
        assert head.headers.keys() - NEEDED == allowed
        if user:
            assert head.headers["proxy-authorization"] == "Basic " + b64encode(user.encode()).decode()
        assert b"siliconflow" not in head.raw
        assert b"sk-" not in head.raw


@pytest.mark.parametrize("route", ["open", "with a password", "from the environment"])
@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("method", METHODS)
async def test_a_proxy_is_told_what_its_url_says_alone(
    method: str, given: str, route: str, upstream: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is called, and however headers are given; the service has them all the same."""
    user = "" if route == "open" else USER
    async with ConnectProxy() as proxy:
        options, copied, called = GIVEN[given]
        if route == "from the environment":
            monkeypatch.setenv("https_proxy", proxy.url(user))
        else:
            options = {**options, "proxy": proxy.url(user)}
        async with AsyncSiliconFlow(
            KEY, base_url=upstream.base_url, ssl=trusting(), retry=NO_WAIT, max_retries=0, **options
        ) as client:
            await METHODS[method](client.with_options(**copied) if copied else client, **called)
        check(proxy, user)
    for request in upstream.requests:
        assert request.headers["authorization"] == f"Bearer {KEY}{'-3' if given == 'another key' else ''}"
        assert request.headers.get("x-team") == (None if given == "none" else "mine")
        assert "proxy-authorization" not in request.headers


@pytest.mark.parametrize("method", METHODS)
async def test_a_borrowed_sessions_headers_do_not_reach_the_clients_proxy(
    method: str, upstream: FakeSiliconFlow
) -> None:
    """The service has them, and the session's own middlewares are asked as ever."""
    passed: list[str] = []

    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        passed.append(request.method)
        return await handler(request)

    connector = aiohttp.TCPConnector(ssl=trusting())
    async with (
        ConnectProxy() as proxy,
        aiohttp.ClientSession(
            connector=connector,
            headers={"Authorization": "Bearer of-the-session", "X-Session": "yes"},
            middlewares=(middleware,),
        ) as session,
    ):
        client = AsyncSiliconFlow(
            KEY, base_url=upstream.base_url, session=session, proxy=proxy.url(USER), retry=NO_WAIT
        )
        await METHODS[method](client)
        await client.aclose()
        check(proxy, USER)
    assert {request.headers["x-session"] for request in upstream.requests} == {"yes"}
    assert {request.headers["authorization"] for request in upstream.requests} == {f"Bearer {KEY}"}
    assert len(passed) == len(upstream.requests)


async def test_a_tunnel_is_used_again(upstream: FakeSiliconFlow) -> None:
    """What is kept from the proxy does not keep its connections from serving the next request."""
    async with ConnectProxy() as proxy:
        async with AsyncSiliconFlow(KEY, base_url=upstream.base_url, ssl=trusting(), proxy=proxy.url(USER)) as client:
            for method in (create, stream, create):
                await method(client)
        assert len(proxy.heads) == 1


@pytest.mark.parametrize("method", METHODS)
async def test_a_proxy_that_refuses_is_not_told_more(method: str) -> None:
    """Nor is one whose answer is a refusal."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with ConnectProxy(refusal=refusal) as proxy:
        options: dict[str, Any] = {"headers": MINE, "retry": NO_WAIT, "max_retries": 0}
        client = AsyncSiliconFlow(KEY, base_url="https://127.0.0.1:9", proxy=proxy.url(), **options)
        async with client, asyncio.timeout(5):
            with pytest.raises((SiliconFlowError, AssertionError)):  # an assertion of `run_map`'s
                await METHODS[method](client)
        check(proxy, "")


async def test_of_plain_http_a_proxy_sees_all() -> None:
    """By nature: a request in plain http is the proxy's to pass on, key and all."""
    refusal = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    async with ConnectProxy(refusal=refusal) as proxy:
        async with AsyncSiliconFlow(KEY, base_url="http://127.0.0.1:9", proxy=proxy.url(USER)) as client:
            with pytest.raises(SiliconFlowError, match="404"):
                await create(client)
        (head,) = proxy.heads
    assert head.line.startswith("POST http://127.0.0.1:9/v1/chat/completions")
    assert head.headers["authorization"] == f"Bearer {KEY}"
    assert head.headers["proxy-authorization"].startswith("Basic ")
