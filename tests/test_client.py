"""The client: how it is made, copied, closed, pickled, and used in one event loop after another."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import pickle
import ssl
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    AuthenticationError,
    ClosedError,
    ConfigurationError,
    EventTooLargeError,
    OverloadedError,
    RetryPolicy,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.testing import FakeSiliconFlow, Stall, Trickle

from .asking import ASK, NO_WAIT, chunk, served

LOCAL = "http://127.0.0.1:9/v1"


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SILICONFLOW_API_KEY", "SILICONFLOW_BASE_URL", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def threaded() -> Iterator[FakeSiliconFlow]:
    with FakeSiliconFlow().threaded() as server:
        yield server


def make(**options: Any) -> AsyncSiliconFlow:
    return AsyncSiliconFlow(**{"api_key": "sk-hush", "base_url": LOCAL, **options})


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"api_key": None}, "SILICONFLOW_API_KEY"),
        ({"api_key": "  "}, "spaces"),
        ({"api_key": "sk-hush\n"}, "line break"),
        ({"api_key": b"sk-hush"}, "text"),
        ({"base_url": "127.0.0.1:9"}, "base_url"),
        ({"headers": {"X-A": "a\r\nX-B: b"}}, "X-A"),
        ({"default_headers": {"X-A": "a\0"}}, "X-A"),
        ({"headers": 5}, "mapping"),
        ({"timeouts": 5}, "timeouts"),
        ({"timeout": 0}, "total"),
        ({"timeout": float("nan")}, "total"),
        ({"timeout": "5"}, "total"),
        ({"retry": 3}, "retry"),
        ({"max_retries": -1}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"max_connections": 0}, "max_connections"),
        ({"max_event_size": True}, "max_event_size"),
        ({"max_body_size": "1"}, "max_body_size"),
    ],
)
def test_settings_that_can_not_work_are_refused_at_construction(options: dict[str, Any], word: str) -> None:
    """The error is a ValueError that names the setting, and never the key."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        make(**options)
    assert isinstance(caught.value, ValueError)
    assert "hush" not in str(caught.value)


def test_an_unknown_option_names_the_nearest() -> None:
    """With the pool's own options being unknown to a copy."""
    with pytest.raises(TypeError, match="'max_retry'; did you mean 'max_retries'"):
        make(max_retry=1)
    with pytest.raises(TypeError, match="'max_connections'"):
        make().with_options(max_connections=1)


def test_key_and_base_url_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, threaded: FakeSiliconFlow) -> None:
    """With both set, `AsyncSiliconFlow()` is all there is to say."""
    monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-environment")
    monkeypatch.setenv("SILICONFLOW_BASE_URL", threaded.base_url.removesuffix("/v1"))
    client = AsyncSiliconFlow()
    asyncio.run(ask(client))
    assert threaded.requests[0].headers["authorization"] == "Bearer sk-environment"


async def ask(client: AsyncSiliconFlow, **options: Any) -> str | None:
    async with client.chat.completions.stream(**ASK, **options) as stream:
        return (await stream.completion()).content


def test_a_repr_shows_where_and_whether_but_no_key() -> None:
    """Nor do its attributes, with headers that hold one."""
    client = make(headers={"X-Api-Key": "sk-other"})
    assert repr(client) == f"<AsyncSiliconFlow {LOCAL}>"
    assert "hush" not in repr(vars(client)) + repr(vars(client._pool))
    asyncio.run(client.aclose())
    assert repr(client) == f"<AsyncSiliconFlow {LOCAL} closed>"


@pytest.mark.anyio
async def test_what_is_sent_with_every_request() -> None:
    """The key, what is asked for, and the caller's headers over them; None leaves one out."""
    headers = {"X-Trace-Id": "1", "User-Agent": "mine", "accept": None}
    async with served(headers=headers, default_headers={"X-Trace-Id": "0", "X-More": "2"}) as (server, client):
        await client.chat.completions.create(**ASK)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == "Bearer test-key"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert [request.headers[name] for name in ("x-trace-id", "x-more", "user-agent")] == ["1", "2", "mine"]
    assert request.headers["accept"] == "*/*"


@pytest.mark.anyio
async def test_a_copy_shares_connections_and_the_retry_budget() -> None:
    """`with_options` changes what it is told; the original stays as it was."""
    async with served() as (server, client):
        copy = client.with_options(api_key="other", headers={"X-A": "a"}, timeouts=Timeouts(total=5))
        await client.chat.completions.create(**ASK)
        await copy.chat.completions.create(**ASK)
        await client.chat.completions.create(**ASK)
        assert [request.headers["authorization"].split()[1] for request in server.requests] == [
            "test-key",
            "other",
            "test-key",
        ]
        assert ["x-a" in request.headers for request in server.requests] == [False, True, False]
        assert server.connections.accepted == 1

        server.reset()
        server.fail(503, times=None)
        for asked in [client, copy.with_options(max_retries=3)] * 5:
            with pytest.raises(OverloadedError):
                await asked.chat.completions.create(**ASK)
        assert len(server.requests) == 20


@pytest.mark.anyio
async def test_of_two_names_for_one_option_the_later_counts() -> None:
    """A copy's `max_retries` goes over the client's `retry`, and the other way round."""
    async with served(retry=RetryPolicy(base=0, max_attempts=3)) as (server, client):
        once = client.with_options(max_retries=0)
        twice = once.with_options(retry=RetryPolicy(base=0, max_attempts=2))
        for asked, requests in ((client, 3), (once, 1), (twice, 2)):
            server.reset()
            server.fail(503, times=None)
            with pytest.raises(OverloadedError):
                await asked.chat.completions.create(**ASK)
            assert len(server.requests) == requests


@pytest.mark.anyio
async def test_closing_ends_open_streams_and_refuses_what_comes_after() -> None:
    """For the client and its copies; closing again does nothing."""
    async with served() as (server, client):
        server.raw([chunk("Hel"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        copy = client.with_options(timeout=5)
        assert not copy.is_closed
        await client.close()
        await server.left_early()
        await server.disconnected()
        assert stream.ended == "closed"
        assert stream.partial.content == "Hel"
        assert copy.is_closed
        for asked in (client, copy):
            with pytest.raises(ClosedError, match="the client is closed"):
                await asked.chat.completions.create(**ASK)
            with pytest.raises(ClosedError, match="the client is closed"):
                await ask(asked)
        with pytest.raises(ClosedError):
            await stream.completion()
        await client.aclose()
        assert len(server.requests) == 1


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_closing_ends_a_call_under_way(stream: bool) -> None:
    """It waits for an answer that will not come, and is told that the client was closed."""
    async with served() as (server, client):
        server.raw([Stall()])
        call = asyncio.create_task(client.chat.completions.create(stream=stream, **ASK))
        await server.received()
        await client.aclose()
        with pytest.raises(ClosedError, match="closed"):
            await call
        await server.left_early()


@pytest.mark.anyio
async def test_an_answer_larger_than_the_limit_is_refused() -> None:
    """`max_body_size` bounds whole answers, to the byte, and what is larger is not read to its end."""
    body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"Hello"}}]}'
    json = {"content-type": "application/json"}
    async with served(max_body_size=len(body)) as (server, client):
        server.raw([Trickle(body, size=10)], headers=json)
        assert (await client.chat.completions.create(**ASK)).content == "Hello"
        server.raw([body, b" "], headers=json)
        with pytest.raises(EventTooLargeError, match=f"larger than {len(body)} bytes") as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.trace_id == server.requests[1].trace_id
        assert caught.value.attempts == 1
        server.raw([b" " * len(body), b" ", Stall()], headers=json)
        with pytest.raises(EventTooLargeError):
            await client.chat.completions.create(**ASK)
        await server.left_early()


def test_one_client_serves_several_event_loops(threaded: FakeSiliconFlow) -> None:
    """One after another, closed or not in between, without a warning, each with connections of its own."""
    client = make(base_url=threaded.base_url)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for number in range(3):
            assert "hi" in (asyncio.run(ask(client)) or "")
            threaded.wait_disconnected()
            assert threaded.connections.accepted == number + 1
        gc.collect()
    asyncio.run(client.aclose())
    with pytest.raises(ClosedError):
        asyncio.run(ask(client))


def test_a_pickled_client_carries_its_settings_and_no_key(
    monkeypatch: pytest.MonkeyPatch, threaded: FakeSiliconFlow
) -> None:
    """The other side takes its key from its own environment."""
    client = make(
        base_url=threaded.base_url,
        headers={"X-A": "a", "X-Api-Key": "sk-hush"},
        retry=NO_WAIT,
        timeouts=Timeouts(idle=5),
        ssl=ssl.create_default_context(),
    )
    data = pickle.dumps(client)
    assert b"hush" not in data
    with pytest.raises(ConfigurationError, match="no API key"):
        pickle.loads(data)
    monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-theirs")
    copy = pickle.loads(data)
    assert (copy.base_url, copy._setup.retry, copy._setup.timeouts) == (client.base_url, NO_WAIT, Timeouts(idle=5))
    asyncio.run(ask(copy))
    (request,) = threaded.requests
    assert (request.headers["authorization"], request.headers["x-a"]) == ("Bearer sk-theirs", "a")
    assert "x-api-key" not in request.headers


@pytest.mark.anyio
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy])
async def test_a_copied_client_shares_connections(again: Callable[[AsyncSiliconFlow], AsyncSiliconFlow]) -> None:
    """In the same process a copy keeps its key, like `with_options()`."""
    async with served() as (server, client):
        await client.chat.completions.create(**ASK)
        await again(client).chat.completions.create(**ASK)
        assert [request.headers["authorization"] for request in server.requests] == ["Bearer test-key"] * 2
        assert server.connections.accepted == 1


@pytest.mark.anyio
async def test_a_borrowed_session_is_used_and_left_open() -> None:
    """With its own headers and connections; closing the client leaves it as it was."""
    async with FakeSiliconFlow() as server, aiohttp.ClientSession(headers={"X-Session": "yes"}) as session:
        async with AsyncSiliconFlow("key", base_url=server.base_url, session=session) as client:
            await client.chat.completions.create(**ASK)
            assert await ask(client)
        assert not session.closed
        assert server.requests[0].headers["x-session"] == "yes"
        with pytest.raises(ClosedError):
            await client.chat.completions.create(**ASK)
        async with session.get(server.base_url) as response:
            assert response.status == 404

    other = AsyncSiliconFlow("key", base_url=server.base_url, session=session)
    with pytest.raises(ClosedError, match="session"):
        await other.chat.completions.create(**ASK)


@pytest.mark.anyio
async def test_requests_go_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given as an argument, or found in the environment unless `trust_env` is off."""
    async with FakeSiliconFlow() as proxy:
        url = proxy.base_url.removesuffix("/v1")
        base_url = "http://127.0.0.2:9/v1"  # nobody listens there
        async with make(base_url=base_url, proxy=url) as client:
            assert await ask(client)
        monkeypatch.setenv("http_proxy", url)
        async with make(base_url=base_url) as client:
            assert await ask(client)
        assert [request.headers["host"] for request in proxy.requests] == ["127.0.0.2:9"] * 2
        async with FakeSiliconFlow() as server, make(base_url=server.base_url, trust_env=False) as client:
            assert await ask(client)
            assert (len(server.requests), len(proxy.requests)) == (1, 2)


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxys_credentials_go_to_the_proxy(scheme: str) -> None:
    """As Proxy-Authorization, beside a request in plain http or with the CONNECT for a tunnel; the key stays within."""
    async with FakeSiliconFlow() as proxy:
        proxy.fail(407)
        url = proxy.base_url.removesuffix("/v1").replace("//", "//me:pass@")
        async with make(base_url=f"{scheme}://127.0.0.2:9/v1", proxy=url, max_retries=0) as client:
            with pytest.raises(SiliconFlowError, match="407"):
                await ask(client)
        (request,) = proxy.requests
    assert request.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
    assert request.method == ("CONNECT" if scheme == "https" else "POST")
    assert request.headers.get("authorization") == (None if scheme == "https" else "Bearer sk-hush")


@pytest.mark.anyio
async def test_the_log_tells_of_retries_and_holds_neither_key_nor_bodies(caplog: pytest.LogCaptureFixture) -> None:
    """One warning for each retry, with the trace id, and one line at DEBUG for the call; no more of it there either."""
    async with served() as (server, client):
        server.fail(503, {"code": 50505, "message": "You asked: hi. Your key: test-key", "data": None})
        server.fail(401, "Invalid token: test-key")
        with caplog.at_level(logging.DEBUG), pytest.raises(AuthenticationError):
            await client.chat.completions.create(**ASK)
        record, end = [record for record in caplog.records if record.name.startswith("siliconflow_async")]
    assert (record.levelno, end.levelno) == (logging.WARNING, logging.DEBUG)
    assert "OverloadedError, HTTP 503, code 50505" in record.getMessage()
    assert server.requests[0].trace_id in record.getMessage()
    assert "test-key" not in caplog.text
    assert "You asked" not in caplog.text
