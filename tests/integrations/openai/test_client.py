"""The client: what frameworks look at before they ask, its copies, its end, and who is below it."""

from __future__ import annotations

import asyncio
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

import siliconflow_async
from siliconflow_async import AsyncSiliconFlow, ClosedError, ConfigurationError
from siliconflow_async.integrations.openai import OpenAIClient
from siliconflow_async.testing import FakeSiliconFlow

from ...asking import ASK
from .serving import served

PACKAGE = Path(siliconflow_async.__file__).parent

pytestmark = pytest.mark.anyio


async def test_it_is_an_openai_client_at_the_same_url_with_the_same_key() -> None:
    async with OpenAIClient("sk-mine", base_url="http://127.0.0.1:9/v1") as client:
        assert isinstance(client, openai.AsyncOpenAI)
        assert str(client.base_url) == "http://127.0.0.1:9/v1/"
        assert client.api_key == "sk-mine"
        assert client.siliconflow.base_url == "http://127.0.0.1:9/v1"
        assert "sk-mine" not in repr([client, client.api_key, vars(client)])


async def test_key_and_url_come_from_this_library_s_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-siliconflow")
    monkeypatch.delenv("SILICONFLOW_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://elsewhere.example/v1")
    async with OpenAIClient() as client:
        assert client.api_key == "sk-siliconflow"
        assert str(client.base_url) == "https://api.siliconflow.cn/v1/"


async def test_nothing_that_is_for_openai_s_service_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway-Key: secret\nAuthorization: Bearer sk-openai")
    async with served() as (server, client):
        await client.chat.completions.create(**ASK)
        await client.chat.completions.with_raw_response.create(**ASK)
        await client.models.list()
        for request in server.requests:
            assert request.headers["Authorization"] == "Bearer test-key"
            assert request.headers["User-Agent"].startswith("siliconflow-async/")
            names = {name.lower() for name in request.headers}
            assert "x-gateway-key" not in names
            assert not [name for name in names if name.startswith(("x-stainless", "openai-"))]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"organization": "org"}, "API key alone"),
        ({"http_client": object()}, "session="),
        ({"default_query": {"a": "b"}}, "extra_query="),
        ({"max_retrys": 3}, "'max_retries'"),
    ],
)
def test_an_option_that_has_no_meaning_here_says_what_to_use(options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        OpenAIClient("key", **options)
    client: Any = OpenAIClient("key")
    with pytest.raises(TypeError, match=words):
        client.with_options(**options)


async def test_secrets_show_in_no_traceback() -> None:
    """Neither keys nor headers that are to be secret, whatever fails with them."""
    secrets = ("sk-se", "hush")
    loud: dict[str, Any] = {"extra_headers": {"X-Api-Key": "hush", "Authorization": "Bearer hush"}}
    async with served(max_retries=0) as (server, client):
        server.fail(400, times=None)

        async def failing(what: str) -> None:
            chat = client.chat.completions
            match what:
                case "key":
                    OpenAIClient("sk-se\ncret")
                case "copied key":
                    client.with_options(api_key="sk-se\ncret")
                case "set key":
                    client.api_key = "sk-se\ncret"
                case "copied headers":
                    await client.with_options(
                        default_headers=loud["extra_headers"], set_default_headers=loud["extra_headers"], timeout=-1
                    ).chat.completions.create(**ASK)
                case "create":
                    await chat.create(**ASK, **loud)
                case "parse":
                    await chat.parse(**ASK, **loud)
                case "stream":
                    async with chat.stream(**ASK, **loud):
                        pass

        for what in ("key", "copied key", "set key", "copied headers", "create", "parse", "stream"):
            with pytest.raises((ConfigurationError, openai.OpenAIError)) as caught:
                await failing(what)
            stack = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
            shown = [
                f"{frame.name}: {frame.locals}"
                for one in (stack, stack.__cause__)
                if one is not None
                for frame in one.stack
                if Path(frame.filename).is_relative_to(PACKAGE)
            ]
            assert shown
            assert [text for text in shown if any(secret in text for secret in secrets)] == []


async def test_it_wraps_a_client_that_is_there_and_leaves_it_open() -> None:
    async with FakeSiliconFlow() as server, AsyncSiliconFlow("key", base_url=server.base_url) as below:
        async with OpenAIClient(client=below) as client:
            assert client.siliconflow is below
            await client.chat.completions.create(**ASK)
        assert not client.is_closed()
        assert (await below.chat.completions.create(**ASK)).content
        assert server.connections.accepted == 1
    assert client.is_closed()
    with pytest.raises(TypeError, match=r"client\.with_options"):
        OpenAIClient("key", client=below)
    with pytest.raises(TypeError, match=r"client\.with_options"):
        OpenAIClient(client=below, max_retries=1)


async def test_its_own_client_closes_with_it() -> None:
    async with served() as (_, client):
        copy = client.with_options(max_retries=0)
        await client.close()
        assert client.is_closed()
        assert copy.is_closed()
        assert client.siliconflow.is_closed
        with pytest.raises(ClosedError):
            await client.chat.completions.create(**ASK)


async def test_a_copy_shares_connections_and_limits() -> None:
    async with served() as (server, client):
        copy = client.copy(max_retries=5)
        assert isinstance(copy, OpenAIClient)
        for one in (client, copy, client.with_options(timeout=3)):
            await one.chat.completions.create(**ASK)
        assert server.connections.accepted == 1
        assert client.with_options() is not client
        assert copy.siliconflow.limits is client.siliconflow.limits


async def test_a_copy_s_retries_are_its_own() -> None:
    async with served() as (server, client):
        server.fail(503, times=2)
        with pytest.raises(openai.InternalServerError):
            await client.with_options(max_retries=0).chat.completions.create(**ASK)
        assert len(server.requests) == 1
        assert (await client.chat.completions.create(**ASK)).choices
        assert len(server.requests) == 3


async def test_a_copy_with_another_key_asks_with_it() -> None:
    async with served() as (server, client):
        copy = client.with_options(api_key="other-key")
        await copy.chat.completions.create(**ASK)
        await copy.models.list()
        await client.chat.completions.create(**ASK)
        sent = [request.headers["Authorization"] for request in server.requests]
        assert sent == ["Bearer other-key", "Bearer other-key", "Bearer test-key"]
        assert copy.api_key == "other-key"


async def test_a_copy_takes_what_frameworks_hand_on() -> None:
    """pydantic-ai gives the client's own httpx client and openai's `_extra_kwargs`; None and NOT_GIVEN are nothing."""
    async with served() as (server, client):
        copy = client.with_options(
            http_client=client._client, max_retries=1, _extra_kwargs={}, timeout=openai.NOT_GIVEN, organization=None
        )
        await copy.chat.completions.create(**ASK)
        other = client.with_options(base_url=client.base_url)
        await other.chat.completions.create(**ASK)
        assert len(server.requests) == 2


async def test_default_headers_are_added_and_replaced_as_in_openai_s_copies() -> None:
    async with served(default_headers={"X-Mine": "0"}) as (server, client):
        first = client.with_options(default_headers={"X-A": "1"})
        second = first.with_options(default_headers={"X-B": "2", "X-Mine": openai.Omit()})
        third = second.with_options(set_default_headers={"X-C": "3"})
        for one in (client, first, second, third):
            await one.chat.completions.create(**ASK, extra_headers={"X-Call": "yes"})
            await one.models.list(extra_headers={"X-Call": "yes"})
        seen = [
            {name.lower(): value for name, value in request.headers.items() if name.lower().startswith("x-")}
            for request in server.requests
        ]
        mine = {"x-mine": "0", "x-call": "yes"}
        expected = [
            mine,
            mine | {"x-a": "1"},
            {"x-call": "yes", "x-a": "1", "x-b": "2"},
            mine | {"x-c": "3"},
        ]
        assert seen[::2] == expected
        assert seen[1::2] == expected


async def test_key_and_url_may_be_set_as_attributes() -> None:
    async with served() as (server, client), FakeSiliconFlow() as other:
        client.base_url = other.base_url.removesuffix("/v1")
        client.api_key = "other-key"
        assert str(client.base_url) == f"{other.base_url}/"
        await client.chat.completions.create(**ASK)
        await client.models.list()
        assert server.requests == []
        assert [request.headers["Authorization"] for request in other.requests] == ["Bearer other-key"] * 2


def test_one_client_serves_several_loops() -> None:
    with FakeSiliconFlow().threaded() as server:
        client: Any = OpenAIClient("key", base_url=server.base_url)

        async def ask() -> int:
            done = await client.chat.completions.create(**ASK)
            listed = await client.models.list()
            stream = await client.chat.completions.create(**ASK, stream=True)
            return len(done.choices) + len(listed.data) + len([piece async for piece in stream])

        first, second = asyncio.run(ask()), asyncio.run(ask())
        with ThreadPoolExecutor(2) as pool:
            rest = list(pool.map(lambda _: asyncio.run(ask()), range(2)))
        assert {first, second, *rest} == {first}
        asyncio.run(client.close())
