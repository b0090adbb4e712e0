"""What a proxy is told: where to, and what its own URL says. The key, and all other headers, stay in the tunnel.

And what is told of a proxy that refuses: that it was the proxy.
"""

from __future__ import annotations

import asyncio
import json
import socket
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from siliconflow_async import APIConnectionError, AsyncSiliconFlow, ConfigurationError, SiliconFlowError

from ..asking import ASK, NO_WAIT
from ..connect_proxy import ConnectProxy
from ..tls import AUTHORITY, HOST, listening, speaking_tls, trusting
from .telling import lines_with, told_by_libraries

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
            if result.error is not None:
                raise result.error


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
            with pytest.raises(SiliconFlowError):
                await METHODS[method](client)
        check(proxy, "")


def refusal(status: str, body: str = "", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return ("\r\n".join(head) + "\r\n\r\n" + body).encode()


async def refused(
    method: str, upstream: FakeSiliconFlow, answer: bytes, **options: Any
) -> tuple[APIConnectionError, ConnectProxy]:
    """Return what is raised where a proxy refuses the tunnel."""
    async with ConnectProxy(refusal=answer) as proxy:
        given = {"proxy": proxy.url(USER), "ssl": trusting(), "retry": NO_WAIT, "max_retries": 0, **options}
        async with AsyncSiliconFlow(KEY, base_url=upstream.base_url, **given) as client, asyncio.timeout(10):
            with pytest.raises(APIConnectionError) as caught:
                await METHODS[method](client)
    assert not upstream.requests
    assert type(caught.value) is APIConnectionError
    assert f"the proxy {proxy.url()}, not the service, refused the connection" in str(caught.value)
    return caught.value, proxy


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("status", "transient"),
    [
        ("502 Bad Gateway", True),
        ("503 Service Unavailable", True),
        ("500 Internal Server Error", True),
        ("407 Proxy Authentication Required", False),
        ("403 Forbidden", False),
        ("302 Found", False),
        ("204 No Content", False),
    ],
)
async def test_a_proxy_that_digs_no_tunnel_is_no_answer_of_the_service(
    method: str, status: str, transient: bool, upstream: FakeSiliconFlow
) -> None:
    """No connection came about: the error names the proxy and its status; of 5xx alone another attempt is worth it."""
    error, _ = await refused(method, upstream, refusal(status))
    assert f"HTTP {status}" in str(error)
    assert error.transient is transient
    assert error.attempts == 1
    assert ("user name and password" in str(error)) == status.startswith("407")


@pytest.mark.parametrize("method", ["create", "stream"])
@pytest.mark.parametrize(("status", "tries"), [("502 Bad Gateway", 4), ("407 Proxy Authentication Required", 1)])
async def test_a_refused_tunnel_is_asked_for_again_where_that_may_help(
    method: str, status: str, tries: int, upstream: FakeSiliconFlow
) -> None:
    """As other connections that did not come about, one more than the most; where it wants credentials, once."""
    error, proxy = await refused(method, upstream, refusal(status), max_retries=2)
    assert (error.attempts, len(proxy.heads)) == (tries, tries)


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_is_answered_once_its_proxy_digs_again(method: str, upstream: FakeSiliconFlow) -> None:
    """With the answer of the service, as if nothing had been."""
    async with ConnectProxy(refusal=refusal("502 Bad Gateway"), times=2) as proxy:
        options: dict[str, Any] = {"proxy": proxy.url(), "ssl": trusting(), "retry": NO_WAIT}
        async with AsyncSiliconFlow(KEY, base_url=upstream.base_url, **options) as client:
            await METHODS[method](client)
    assert len(proxy.heads) > 2


@pytest.mark.parametrize("method", ["create", "stream", "map"])
async def test_what_a_refusing_proxy_quotes_is_not_passed_on(method: str, upstream: FakeSiliconFlow) -> None:
    """Not the password that it was told, nor a key that it should not know: of its words, and of its body nothing."""
    told = b64encode(USER.encode()).decode()
    words = f"{KEY} {USER} Basic {told}"
    body = json.dumps({"code": 30014, "message": "Api key is invalid", "error": {"message": words, "code": 401}})
    error, _ = await refused(
        method, upstream, refusal(f"407 no {words}" + "!" * 4000, body, f"X-Echo: {words}", f"Retry-After: {KEY}")
    )
    shown = told_by_libraries(error, but_for=__file__)
    for secret in (KEY, USER.partition(":")[2], told):
        assert not lines_with(secret, shown)
    assert "Api key is invalid" not in shown
    assert len(str(error)) < 500


async def test_a_proxy_that_is_not_there_is_named(upstream: FakeSiliconFlow) -> None:
    """Without its credentials."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        async with AsyncSiliconFlow(
            KEY, base_url=upstream.base_url, proxy=f"http://{USER}@{where}", ssl=trusting(), max_retries=0
        ) as client:
            with pytest.raises(APIConnectionError, match=f"the proxy http://{where} can't be reached") as caught:
                await create(client)
    assert caught.value.transient
    assert USER.partition(":")[2] not in str(caught.value)


async def test_a_borrowed_sessions_own_proxy_is_told_apart_as_well(
    upstream: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where aiohttp finds it, nobody knows its URL."""
    async with ConnectProxy(refusal=refusal("503 Service Unavailable")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url(USER))
        connector = aiohttp.TCPConnector(ssl=trusting())
        async with aiohttp.ClientSession(connector=connector, trust_env=True) as session:
            client = AsyncSiliconFlow(KEY, base_url=upstream.base_url, session=session, trust_env=False, max_retries=0)
            with pytest.raises(APIConnectionError, match="the proxy, not the service, refused") as caught:
                await create(client)
            await client.aclose()
    assert USER.partition(":")[2] not in str(caught.value) + repr(caught.value.__cause__)


@pytest.mark.parametrize("method", ["create", "stream", "map"])
async def test_all_proxy_serves_where_no_other_is_named(
    method: str, upstream: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Told no more than any other; HTTPS_PROXY goes before it, and NO_PROXY before both."""
    async with ConnectProxy() as first, ConnectProxy() as second:
        options: dict[str, Any] = {"base_url": upstream.base_url, "ssl": trusting(), "max_retries": 0}
        monkeypatch.setenv("ALL_PROXY", first.url(USER))
        async with AsyncSiliconFlow(KEY, **options) as client:
            await METHODS[method](client)
        check(first, USER)
        count = len(first.heads)
        monkeypatch.setenv("HTTPS_PROXY", second.url())
        async with AsyncSiliconFlow(KEY, **options) as client:
            await METHODS[method](client)
        check(second, "")
        monkeypatch.delenv("HTTPS_PROXY")
        monkeypatch.setenv("NO_PROXY", HOST)
        async with AsyncSiliconFlow(KEY, **options) as client:
            await METHODS[method](client)
        assert len(first.heads) == count


async def test_a_socks_proxy_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the name of its variable; where another proxy serves, or none is asked for, it is no hindrance."""
    monkeypatch.setenv("ALL_PROXY", f"socks5h://{USER}@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match=r"ALL_PROXY is 'socks5h://127\.0\.0\.1:1', but SOCKS") as caught:
        AsyncSiliconFlow(KEY)
    assert not lines_with(USER.partition(":")[2], told_by_libraries(caught.value, but_for=__file__))
    async with AsyncSiliconFlow(KEY, trust_env=False), AsyncSiliconFlow(KEY, proxy="http://127.0.0.1:1"):
        pass
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    async with AsyncSiliconFlow(KEY):
        pass
    monkeypatch.setenv("https_proxy", "socks4://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="https_proxy is 'socks4://"):
        AsyncSiliconFlow(KEY)
    with pytest.raises(ConfigurationError, match="proxy is 'socks5://"):
        AsyncSiliconFlow(KEY, proxy="socks5://127.0.0.1:1")


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
