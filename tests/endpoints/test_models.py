"""`client.models.list`: its request, its answer, and the failures that it shares with every other call."""

from __future__ import annotations

import asyncio

import pytest

from siliconflow_async import (
    APIStatusError,
    APITimeoutError,
    AsyncSiliconFlow,
    AuthenticationError,
    ClosedError,
    EventTooLargeError,
    InvalidRequestError,
    MalformedStreamError,
    TruncatedStreamError,
)
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, served

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


async def test_the_list_has_what_the_service_sent() -> None:
    """Under the openai package's names; what the structs don't know is in `raw`."""
    body = b'{"object":"list","data":[{"id":"a/b","object":"model","created":7,"owned_by":"me","x":1},{"id":"c/d"}]}'
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        models = await client.models.list()
    assert [model.id for model in models.data] == ["a/b", "c/d"]
    assert models.data[0].to_dict() == {"id": "a/b", "object": "model", "created": 7, "owned_by": "me"}
    assert (models.data[1].object, models.data[1].created, models.data[1].owned_by) == ("model", 0, "")
    assert models.raw == body
    assert models.trace_id == server.requests[0].trace_id == models.headers["x-siliconcloud-trace-id"]


async def test_the_request_is_a_get_with_its_filters() -> None:
    """Only what was given is sent; the key goes along, a body does not."""
    async with served() as (server, client):
        await client.models.list()
        await client.models.list(type="text", sub_type="chat", extra_query={"page": 2}, extra_headers={"X-A": "a"})
    plain, filtered = server.requests
    assert (plain.method, plain.path, dict(plain.query), plain.body) == ("GET", "/v1/models", {}, b"")
    assert plain.headers["authorization"] == "Bearer test-key"
    assert "content-type" not in plain.headers
    assert dict(filtered.query) == {"type": "text", "sub_type": "chat", "page": "2"}
    assert filtered.headers["x-a"] == "a"
    assert filtered.connection == plain.connection


async def test_the_stand_in_lists_the_models_that_it_has() -> None:
    """Those that it was given, or a few examples; all are of text, to chat with; a chat knows each of them."""
    async with FakeSiliconFlow(models=["org/b", "org/a", "org/b"]) as server, _client(server) as client:
        assert [model.id for model in (await client.models.list()).data] == ["org/b", "org/a"]
        assert (await client.models.list(type="image")).data == []
        assert (await client.models.list(sub_type="embedding")).data == []
    async with served() as (_, client):
        models = (await client.models.list(type="text", sub_type="chat")).data
        assert len(models) > 3
        for model in models:
            await client.chat.completions.create(**{**ASK, "model": model.id})


async def test_a_refusal_is_the_error_of_every_other_call() -> None:
    """By status, or by its code under 200; with the trace id, and retried where that may help."""
    async with served() as (server, client):
        server.fail(401)
        with pytest.raises(AuthenticationError) as caught:
            await client.models.list()
        assert caught.value.trace_id == server.requests[0].trace_id
        server.reset()
        server.fail(503, times=2)
        assert (await client.models.list()).data
        assert len(server.requests) == 3
        server.reset()
        server.fail(200, {"code": 30003, "message": "Model disabled.", "data": None})
        with pytest.raises(APIStatusError, match="Model disabled") as caught:
            await client.models.list()
        assert (caught.value.code, caught.value.trace_id) == (30003, server.requests[0].trace_id)


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'{"data":{}}', b'{"object":"list"}', b'"no"', b"\xff", b"[" * 9999]
)
async def test_what_is_no_list_is_malformed(body: bytes) -> None:
    """Whatever else comes under 200."""
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        with pytest.raises((MalformedStreamError, APIStatusError)) as caught:
            await client.models.list()
        assert caught.value.trace_id == server.requests[0].trace_id


async def test_odd_entries_are_read_as_far_as_they_go() -> None:
    """An entry without an id is left out; fields of a wrong type are absent."""
    body = b'{"data":[7,{},{"id":""},{"id":5},{"id":"a","object":1,"created":true},{"id":"b","created":1e3}]}'
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        models = await client.models.list()
    assert [model.to_dict() for model in models.data] == [
        {"id": name, "object": "model", "created": 0, "owned_by": ""} for name in ("a", "b")
    ]


async def test_an_answer_without_end_runs_into_its_limits() -> None:
    """The total clock, the size of a body, a body that breaks off; a cancelled call leaves at once."""
    async with served(max_body_size=100, max_retries=0) as (server, client):
        server.raw([Stall()])
        with pytest.raises(APITimeoutError) as caught:
            await client.models.list(timeout=0.05)
        assert caught.value.clock == "total"
        server.raw([b" " * 101], headers=JSON)
        with pytest.raises(EventTooLargeError):
            await client.models.list()
        server.raw([b""], headers=JSON)
        with pytest.raises(TruncatedStreamError):
            await client.models.list()
        server.raw([Stall()])
        task = asyncio.create_task(client.models.list())
        await server.received(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.disconnected()


async def test_a_wrong_argument_is_named_before_anything_is_sent() -> None:
    """An unknown keyword with the nearest known one; a filter that is no text; a closed client."""
    async with served() as (server, client):
        with pytest.raises(TypeError, match="'subtype'; did you mean 'sub_type'"):
            await client.models.list(subtype="chat")  # type: ignore[call-arg]
        with pytest.raises(InvalidRequestError, match="type must be text") as caught:
            await client.models.list(type=1)  # type: ignore[arg-type]
        assert caught.value.param == "type"
        await client.aclose()
        with pytest.raises(ClosedError):
            await client.models.list()
        assert server.requests == []


def _client(server: FakeSiliconFlow) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("test-key", base_url=server.base_url)
