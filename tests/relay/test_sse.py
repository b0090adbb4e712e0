"""`sse_response`: its bytes, and that upstream is left when the client has gone, with real servers."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import aiohttp
import pytest
import starlette.applications
import starlette.responses
import starlette.routing
from aiohttp import web

from siliconflow_async import BusyError, ChatCompletion, ConfigurationError
from siliconflow_async.relay import sse_response
from siliconflow_async.testing import Stall, Until
from siliconflow_async.wire.sse import SSEDecoder, SSEEvent

from ..asking import ASK, DONE, chunk, served
from .apps import aiohttp_app, asgi, leave

pytestmark = pytest.mark.anyio


def events(body: bytes) -> list[SSEEvent]:
    return SSEDecoder(2**20).feed(body)


def text(body: bytes) -> str:
    found = [json.loads(event.data) for event in events(body)]
    return "".join(event["text"] for event in found if event["type"] == "content_delta")


async def test_the_body_has_each_event_with_its_id() -> None:
    """One JSON object each, as `events()` gives them out; the headers keep proxies from holding them back."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b\n\nc"), chunk("语", finish="stop"), DONE])
        saved: list[Any] = []
        response = sse_response(
            client.chat.completions.stream(**ASK), slow="wait", on_finish=lambda *what: saved.append(what)
        )
        body = b"".join([piece async for piece in response])
    found = events(body)
    assert [json.loads(event.data)["type"] for event in found] == ["started", *["content_delta"] * 3, "finished"]
    assert [event.id for event in found] == ["1", "2", "3", "4", "5"]
    assert {event.event for event in found} == {"message"}
    assert text(body) == "ab\n\nc语"
    assert response.status == 200
    assert response.media_type == "text/event-stream"
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert saved == [(response.completion, None)]
    assert response.completion is not None
    assert response.completion.content == "ab\n\nc语"


async def test_silence_is_filled_with_comments() -> None:
    """While the stream opens, and between its tokens; they are no events."""
    async with served() as (server, client):
        before, between = asyncio.Event(), asyncio.Event()
        server.raw([chunk("a"), Until(between), chunk("b", finish="stop"), DONE], before=[Until(before)])
        response = sse_response(client.chat.completions.stream(**ASK), keep_alive=0.01)
        assert await anext(response) == await anext(response) == b": keep-alive\n\n"
        before.set()
        body = b""
        while "a" not in text(body):
            body += await anext(response)
        assert await anext(response) == b": keep-alive\n\n"
        between.set()
        async for piece in response:
            body += piece
    assert text(body) == "ab"


async def test_a_failure_of_upstream_is_the_last_event() -> None:
    """After all that had arrived; nothing is raised."""
    async with served() as (server, client):
        server.raw([chunk("a")])
        response = sse_response(client.chat.completions.stream(**ASK))
        body = b"".join([piece async for piece in response])
    assert text(body) == "a"
    assert json.loads(events(body)[-1].data)["error"] == "TruncatedStreamError"
    assert type(response.error).__name__ == "TruncatedStreamError"


@pytest.mark.parametrize("how", ["cancel", "abort", "aclose", "drop"])
@pytest.mark.parametrize("when", ["opening", "midway"])
async def test_leaving_a_response_aborts_upstream(how: str, when: str) -> None:
    """However it is left, the garbage collector off; what had arrived is saved."""
    gc.disable()
    try:
        async with served() as (server, client):
            server.raw([Stall()] if when == "opening" else [chunk("a"), Stall()])
            saved: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

            async def save(completion: ChatCompletion | None, error: Exception | None) -> None:
                await asyncio.sleep(0)
                saved.set_result((completion, error))

            response = sse_response(client.chat.completions.stream(**ASK), keep_alive=0.01, on_finish=save)
            piece = await anext(response)
            await server.received()
            while when == "midway" and "a" not in text(piece):
                piece = await anext(response)
            if how == "cancel":
                reading = asyncio.ensure_future(anext(response))
                await asyncio.sleep(0)
                reading.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await reading
            elif how == "abort":
                response.abort()
            elif how == "aclose":
                await response.aclose()
                assert saved.done()
            else:
                del response
            completion, error = await saved
            await server.left_early()
        assert (completion.content if completion else None) == ("a" if when == "midway" else None)
        assert error is None
    finally:
        gc.enable()


@pytest.mark.parametrize("how", ["abort", "aclose", "drop"])
@pytest.mark.parametrize("is_open", [False, True], ids=["to be opened", "open"])
async def test_a_response_that_nobody_takes_asks_for_nothing(how: str, is_open: bool) -> None:
    """A framework may refuse it, or its client be gone: it is told as any other end, and an open stream is left."""
    gc.disable()
    try:
        async with served() as (server, client):
            saved: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            stream: Any = client.chat.completions.stream(**ASK)
            if is_open:
                server.raw([chunk("a"), Stall()])
                stream = await client.chat.completions.create(**ASK, stream=True)
            response = sse_response(stream, on_finish=lambda *what: saved.set_result(what))
            del stream
            # Whatever is begun at once is under way when the service has answered another question.
            await client.models.list()
            assert len(server.requests) == 1 + is_open
            assert not saved.done()
            assert (response.completion, response.error) == (None, None)
            if how == "abort":
                response.abort()
            elif how == "aclose":
                await response.aclose()
                assert saved.done()
            else:
                del response
            completion, error = await saved
            assert (completion and completion.content, error) == ("a" if is_open else None, None)
            if is_open:
                await server.left_early()
            assert len(server.requests) == 1 + is_open
    finally:
        gc.enable()


async def test_an_aborted_response_ends() -> None:
    """Iterating it then gives what waited, and no more."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        response = sse_response(client.chat.completions.stream(**ASK))
        body = await anext(response)
        await response.aclose()
        body += b"".join([piece async for piece in response])
        assert text(body) == "a"
        with pytest.raises(StopAsyncIteration):
            await anext(response)
        await server.left_early()


async def test_two_tasks_cannot_iterate_one_response() -> None:
    """The second one is told, the first one goes on."""
    async with served() as (server, client):
        server.raw([Stall()])
        response = sse_response(client.chat.completions.stream(**ASK))
        reading = asyncio.ensure_future(anext(response))
        await server.received()
        with pytest.raises(BusyError):
            await anext(response)
        assert not reading.done()
        reading.cancel()
        await server.left_early()


async def test_what_on_finish_raises_is_raised_at_the_end() -> None:
    """After the last piece."""

    def fails(completion: ChatCompletion | None, error: Exception | None) -> None:
        raise ZeroDivisionError

    async with served() as (_, client):
        response = sse_response(client.chat.completions.stream(**ASK), on_finish=fails)
        body = b""
        while b'"finished"' not in body:
            body += await anext(response)
        with pytest.raises(ZeroDivisionError):
            await anext(response)


@pytest.mark.parametrize("keep_alive", [0, -1, "1"])
async def test_a_keep_alive_that_can_not_be_is_named(keep_alive: Any) -> None:
    """Before upstream is asked."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="keep_alive must be"):
            sse_response(client.chat.completions.stream(**ASK), keep_alive=keep_alive)
        assert server.connections.accepted == 0


def starlette_app(client: Any) -> Any:
    async def endpoint(request: Any) -> Any:
        body = sse_response(client.chat.completions.stream(**ASK), slow="wait")
        return starlette.responses.StreamingResponse(body, body.status, headers=body.headers)

    return asgi(starlette.applications.Starlette(routes=[starlette.routing.Route("/", endpoint)]))


def web_app(client: Any) -> Any:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        body = sse_response(client.chat.completions.stream(**ASK), slow="wait")
        response = web.StreamResponse(status=body.status, headers=body.headers)
        await response.prepare(request)
        try:
            async for piece in body:
                await response.write(piece)
        finally:
            # The handler fails where a write does, and whoever keeps that error, a log say, keeps this frame with it.
            body.abort()
        return response

    app = web.Application()
    app.router.add_get("/", endpoint)
    # Else aiohttp lets a handler wait on, whose client has gone.
    return aiohttp_app(app, handler_cancellation=True)


APPS = pytest.mark.parametrize("app", [starlette_app, web_app], ids=["starlette", "aiohttp"])


@APPS
async def test_a_real_client_gets_the_events(app: Any) -> None:
    """With the headers that were given, and nothing compressed."""
    async with served() as (server, client), app(client) as address, aiohttp.ClientSession() as session:
        server.reply("Hello")
        async with session.get(f"http://{address}/") as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
            assert response.headers["Cache-Control"] == "no-cache, no-transform"
            assert text(await response.read()) == "Hello"


@APPS
@pytest.mark.parametrize("when", ["before the first token", "midway", "reading nothing"])
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_upstream_is_left_when_a_real_client_has_gone(app: Any, when: str, how: str) -> None:
    """At once, the garbage collector off; also one whose buffers are full."""
    much = chunk("x" * 60_000)
    gc.disable()
    try:
        async with served() as (server, client), app(client) as address:
            server.raw([Stall()] if when == "before the first token" else [chunk("a"), Stall()])
            if when == "reading nothing":
                server.reset()
                server.raw([*(much for _ in range(400)), Stall()])
            host, _, port = address.partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(f"GET / HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            if when == "before the first token":
                await server.received()
            else:
                await reader.readuntil(b"data: ")
            if how == "rst":
                leave(writer.transport, reset=True)
            else:
                writer.transport.abort()
            await server.left_early()
    finally:
        gc.enable()
