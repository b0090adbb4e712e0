"""`relay` and `sse_response` in the front ends' protocols: every end is told, readers share, slow ones miss nothing."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    ChatCompletion,
    ContentDelta,
    ErrorEvent,
    Started,
    StreamAPIError,
    ToolResult,
)
from siliconflow_async.relay import AGUI, AISDK, Broadcast, Dialect, OpenAIChunks, relay, sse_response
from siliconflow_async.testing import Stall, Until
from siliconflow_async.wire.sse import SSEDecoder

from ..asking import ASK, DONE, NO_WAIT, chunk, served
from .apps import asgi

pytestmark = pytest.mark.anyio

NAMES: list[Any] = ["ai", "ag-ui", "openai"]
PROTOCOLS = pytest.mark.parametrize("protocol", NAMES)
# What ends a whole answer, and one that failed, in each.
WHOLE = {"ai": "finish", "ag-ui": "RUN_FINISHED", "openai": "stop"}
FAILED = {"ai": "error", "ag-ui": "RUN_ERROR", "openai": "error"}


def objects(body: bytes) -> list[Any]:
    """The JSON objects of a body; `[DONE]` is the text of it."""
    found = [event.data for event in SSEDecoder(2**24).feed(body)]
    return ["[DONE]" if data == b"[DONE]" else json.loads(data) for data in found]


def text(found: list[Any]) -> str:
    """What was said, in any of the protocols."""
    said = ""
    for item in found:
        if isinstance(item, dict):
            if item.get("type") in ("text-delta", "TEXT_MESSAGE_CONTENT"):
                said += item["delta"]
            said += "".join(choice["delta"].get("content", "") for choice in item.get("choices", ()))
    return said


def end(found: list[Any]) -> str:
    """What the last object says of the end."""
    last = [item for item in found if item != "[DONE]" and item.get("choices") != []][-1]
    if "error" in last:
        return "error"
    return last["type"] if "type" in last else last["choices"][0]["finish_reason"] or ""


async def body(response: Any) -> list[Any]:
    return objects(b"".join([piece async for piece in response]))


@PROTOCOLS
async def test_a_body_is_in_the_protocol(protocol: Any) -> None:
    """Without ids, since no client could come back with one."""
    async with served() as (server, client):
        server.reply("Hello there")
        response = sse_response(client.chat.completions.stream(**ASK), protocol=protocol)
        raw = b"".join([piece async for piece in response])
    assert b"id:" not in raw
    found = objects(raw)
    assert (text(found), end(found)) == ("Hello there", WHOLE[protocol])
    assert (found[-1] == "[DONE]") == (protocol != "ag-ui")
    assert response.headers["X-Accel-Buffering"] == "no"


@PROTOCOLS
async def test_a_websocket_gets_the_objects_alone(protocol: Any) -> None:
    """Each frame is JSON, and none is the end of an event stream."""
    async with served() as (server, client):
        server.reply("Hello there")
        frames: list[Any] = []

        async def send(frame: str) -> None:
            frames.append(json.loads(frame))

        relayed = await relay(client.chat.completions.stream(**ASK), send, left=None, protocol=protocol)
        assert (relayed.ended, relayed.frames) == ("done", len(frames))
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        server.reply("Hello there")
        frames.clear()
        await relay(broadcast.reader(), send, left=None, protocol=protocol)
    assert not [frame for frame in frames if "seq" in frame]
    assert end(frames) == WHOLE[protocol]


class Breaks:
    """A stream of someone else's, which says something and then raises what is none of this library's."""

    partial: ChatCompletion | None = None

    async def _events(self) -> AsyncIterator[Any]:
        yield Started(0, "id", "m")
        yield ContentDelta(0, "a")
        raise ZeroDivisionError("secret")

    def events(self) -> AsyncIterator[Any]:
        return self._events()

    def abort(self) -> None: ...


@pytest.mark.parametrize("protocol", ["events", *NAMES])
async def test_a_failure_that_is_nobodys_to_know_is_told_without_its_words(protocol: Any) -> None:
    """And raised: a body that just ends would pass for the whole."""
    response = sse_response(Breaks(), protocol=protocol)
    pieces: list[bytes] = []

    async def take() -> None:
        async for piece in response:
            pieces.append(piece)

    with pytest.raises(ZeroDivisionError):
        await take()
    raw = b"".join(pieces)
    assert b"secret" not in raw
    assert end(objects(raw)) == FAILED.get(protocol, "error")


@pytest.mark.parametrize("protocol", ["events", *NAMES])
async def test_a_client_that_is_dropped_is_told(protocol: Any) -> None:
    """After what waited for it, where it reads on; upstream is left."""
    async with served() as (server, client):
        server.raw([chunk("a") * 100, Stall()])
        stream = client.chat.completions.stream(**ASK)
        response = sse_response(stream, protocol=protocol, slow="drop", buffer=8, patience=0.01)
        first = await anext(response)
        await server.left_early()
        found = objects(first) + await body(response)
    assert end(found) == FAILED.get(protocol, "error")


@pytest.mark.parametrize("shared", [False, True])
@PROTOCOLS
async def test_an_answer_that_is_stopped_is_told(protocol: Any, shared: bool) -> None:
    """By whoever serves it, for this client alone."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = client.chat.completions.stream(**ASK)
        source: Any = Broadcast(stream).reader() if shared else stream
        response = sse_response(source, protocol=protocol)
        raw = b""
        while text(objects(raw)) != "a":
            raw += await anext(response)
        response.abort()
        found = objects(raw) + await body(response)
        if shared:
            source._broadcast.stop()
        await server.left_early()
    last = [item for item in found if item != "[DONE]"][-1]
    if protocol == "ai":
        assert last == {"type": "abort"}
    elif protocol == "openai":
        assert last["error"]["type"] == "ClosedError"
    else:
        # One that shares its parts does not know what is open.
        assert last.get("code") == "abort" if shared else last["outcome"] == {"type": "cancelled"}


@PROTOCOLS
async def test_silence_is_filled_with_comments(protocol: Any) -> None:
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk(finish="stop"), DONE])
        response = sse_response(client.chat.completions.stream(**ASK), protocol=protocol, keep_alive=0.01)
        while await anext(response) != b": keep-alive\n\n":
            pass
        gate.set()
        await body(response)


@PROTOCOLS
async def test_a_slow_client_gets_few_parts(protocol: Any) -> None:
    """Deltas are merged within what they belong to."""
    async with served() as (server, client):
        pieces = [chunk(reasoning_content="r")] * 200 + [chunk("a")] * 200
        server.raw([b"".join(pieces), chunk(finish="stop"), DONE])
        response = sse_response(client.chat.completions.stream(**ASK), protocol=protocol, buffer=12)
        found = await body(response)
    assert text(found) == "a" * 200
    assert len(found) < 30


async def test_two_dialects_are_one_if_they_say_the_same() -> None:
    """So all who read an answer by the same ids share what is made of it, and others don't."""
    async with served() as (_, client):
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        readers = [broadcast.reader().parts(AISDK(name)) for name in ("a", "a", "b")]
        first, second, third = [[part async for parts in reader for part in parts] for reader in readers]
        assert [part is other for part, other in zip(first, second, strict=True)] == [True] * len(first)
        assert third[0].json != first[0].json
        assert len(broadcast._views) == 2
        del readers, first, second, third
        gc.collect()
        assert len(broadcast._views) == 0


@PROTOCOLS
async def test_readers_come_late_and_fall_behind_and_get_it_all(protocol: Any) -> None:
    """Where most is no longer kept: joined, in order, and with the parts that all share after it."""
    words = [f"word{number} " for number in range(60)]
    async with served() as (server, client):
        gate, last = asyncio.Event(), asyncio.Event()
        half = len(words) // 2
        server.raw(
            [
                chunk(reasoning_content="Hm."),
                *map(chunk, words[:half]),
                Until(gate),
                *map(chunk, words[half:]),
                Until(last),
                chunk(finish="stop"),
                DONE,
            ]
        )
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=4)
        watch = broadcast.reader()
        behind = sse_response(broadcast.reader(), protocol=protocol)
        raw = await anext(behind)
        while watch.seq < 2 + half:
            await anext(watch)
        behind_too = sse_response(broadcast.reader(), protocol=protocol)
        raw_too = await anext(behind_too)
        gate.set()
        while watch.seq < 2 + len(words):
            await anext(watch)
        late = sse_response(broadcast.reader(), protocol=protocol)
        last.set()
        for found in (objects(raw) + await body(behind), objects(raw_too) + await body(behind_too), await body(late)):
            assert text(found) == "".join(words)
            assert end(found) == WHOLE[protocol]
            reasoned = [item for item in found if "Hm." in json.dumps(item)]
            assert len(reasoned) == 1


@PROTOCOLS
async def test_a_client_comes_back_by_the_id_that_it_saw_last(protocol: Any) -> None:
    """Wherever it was cut, also where what followed is no longer kept; who saw all gets 204 and nothing."""
    words = [f"word{number} " for number in range(30)]
    async with served() as (server, client):
        server.raw([chunk(reasoning_content="Hm."), *map(chunk, words), chunk(finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=4)
        async for _ in broadcast.reader():
            pass
        whole = b"".join([piece async for piece in sse_response(broadcast.reader(), protocol=protocol, slow="wait")])
        assert whole.count(b"id: ") > 3
        for seen in range(33):
            response = sse_response(broadcast.reader(seen), protocol=protocol)
            found = await body(response)
            assert text(found) == "".join(words[max(seen - 2, 0) :])
            assert end(found) == WHOLE[protocol]
        response = sse_response(broadcast.reader(33), protocol=protocol)
        assert (response.status, await body(response)) == (204, [])


@PROTOCOLS
async def test_a_body_cut_anywhere_can_be_gone_on_with(protocol: Any) -> None:
    """After the last id, exactly: what has none is told again together with what has."""
    async with served() as (server, client):
        fragment = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        server.raw([chunk("a"), chunk(reasoning_content="b"), chunk("c", tool_calls=[fragment]), chunk(finish="stop")])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        whole = b"".join([piece async for piece in sse_response(broadcast.reader(), protocol=protocol, slow="wait")])
        events = whole.split(b"\n\n")[:-1]
        for cut in range(len(events)):
            seen = [int(event[4 : event.index(b"\n")]) for event in events[:cut] if event.startswith(b"id: ")]
            upto = max(index for index in range(cut + 1) if index == 0 or events[index - 1].startswith(b"id: "))
            again = sse_response(broadcast.reader(seen[-1] if seen else None), protocol=protocol, slow="wait")
            rest = b"".join([piece async for piece in again]).split(b"\n\n")[:-1]
            assert rest == ([] if again.status == 204 else events[upto:])


@pytest.mark.parametrize("shared", [False, True])
@PROTOCOLS
async def test_a_run_of_tools_is_relayed(protocol: Any, shared: bool) -> None:
    """Alone, and to the readers of a broadcast, of which one comes when most is gone; its tools run once."""
    ran: list[str] = []

    def get_weather(city: str) -> dict[str, str]:
        ran.append(city)
        return {"sky": "sunny"}

    async with served() as (server, client):
        saved: list[Any] = []
        server.reply("Let me look. ", tool_calls=[{"name": "get_weather", "arguments": {"city": "Shanghai"}}])
        server.reply("It is sunny.")
        run = client.chat.completions.run_tools(**ASK, tools=[get_weather])
        if shared:
            broadcast = Broadcast(run, buffer=3, on_finish=lambda *what: saved.append(what))
            bodies = [await body(sse_response(broadcast.reader(), protocol=protocol)) for _ in range(2)]
        else:
            bodies = [await body(sse_response(run, protocol=protocol, on_finish=lambda *what: saved.append(what)))]
    for found in bodies:
        assert (text(found), end(found)) == ("Let me look. It is sunny.", WHOLE[protocol])
        results = [item for item in found if "tool-output-available" in str(item) or "TOOL_CALL_RESULT" in str(item)]
        assert len(results) == (protocol != "openai")
        assert "sunny" in str(results) or not results
    ((done, error),) = saved
    assert (done.content, error) == ("It is sunny.", None)
    assert ran == ["Shanghai"]
    assert len(run.completions) == 2


@pytest.mark.parametrize("protocol", ["events", *NAMES])
async def test_a_run_that_is_left_cancels_its_tools(protocol: Any) -> None:
    """While they run, and the client is told if it is there."""
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def wait() -> str:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        return ""

    async with served() as (server, client):
        server.reply(tool_calls=[{"name": "wait", "arguments": {}}])
        run = client.chat.completions.run_tools(**ASK, tools=[wait])
        response = sse_response(run, protocol=protocol)
        reading = asyncio.ensure_future(body(response))
        await begun.wait()
        response.abort()
        found = await reading
        assert cancelled.is_set()
    last = [item for item in found if item != "[DONE]"][-1]
    assert last.get("type") in ("abort", "RUN_FINISHED", "error") or "error" in last


def app(client: AsyncSiliconFlow, dialect: Dialect) -> Any:
    from fastapi import FastAPI
    from fastapi.responses import StreamingResponse

    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def chat() -> StreamingResponse:
        response = sse_response(client.chat.completions.stream(**ASK), protocol=dialect)
        return StreamingResponse(response, response.status, response.headers)

    return asgi(app)


@pytest.mark.parametrize("how", ["cut", "error", "end"])
async def test_this_library_reads_what_it_relays_as_openai(how: str) -> None:
    """An answer, with its calls and usage, and every failure for one."""
    calls = [
        {"index": index, "id": f"c{index}", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
        for index in range(2)
    ]
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    ends = {
        "cut": [],
        "error": [b'data: {"code": 50507, "message": "Too hot."}\n\n'],
        "end": [chunk(finish="tool_calls"), b'data: {"choices":[],"usage":%b}\n\n' % json.dumps(usage).encode(), DONE],
    }
    async with served() as (server, client), app(client, OpenAIChunks()) as address:
        server.raw([chunk("a", reasoning_content="r", tool_calls=calls), *ends[how]])
        async with AsyncSiliconFlow("key", base_url=f"http://{address}/v1", retry=NO_WAIT) as reader:
            stream = await reader.chat.completions.create(**ASK, stream=True)
            if how == "end":
                done = await stream.completion()
            else:
                with pytest.raises(StreamAPIError) as failed:
                    await stream.completion()
                assert failed.value.code == (50507 if how == "error" else None)
                done = failed.value.partial
    assert done is not None
    assert (done.content, done.reasoning_content) == ("a", "r")
    assert [call.function.arguments for call in done.tool_calls or ()] == ['{"a":1}'] * 2
    if how == "end":
        assert done.finish_reason == "tool_calls"
        assert done.usage is not None
        assert done.usage.total_tokens == 3


@pytest.mark.parametrize("dialect", [AISDK(), AGUI()], ids=["ai", "ag-ui"])
async def test_words_for_a_client_are_the_callers_to_choose(dialect: Dialect) -> None:
    """`describe` makes them, in every protocol."""
    async with served() as (server, client):
        server.raw([chunk("a")])
        response = sse_response(
            client.chat.completions.stream(**ASK),
            protocol=dialect,
            describe=lambda error: ErrorEvent(0, "Busy", "Try again later."),
        )
        assert "Try again later." in json.dumps(await body(response))


async def test_a_long_run_keeps_no_more_than_the_buffer() -> None:
    """Each of its rounds finishes, and none of these is the end, which is kept whatever follows."""

    def get_weather() -> str:
        return "sunny"

    async with served() as (server, client):
        for _ in range(8):
            server.reply("a b c", tool_calls=[{"name": "get_weather", "arguments": {}}])
        server.reply("It is sunny.")
        run = client.chat.completions.run_tools(**ASK, tools=[get_weather], max_rounds=9)
        broadcast = Broadcast(run, buffer=4)
        async for _ in broadcast.reader():
            pass
        assert len(broadcast._kept._events) == 4
        assert text(await body(sse_response(broadcast.reader(), protocol="ai"))) == "a b c" * 8 + "It is sunny."
        # Events have no snapshot of several answers; they come joined, and can be gone on with as any others.
        reader = broadcast.reader()
        whole = [(event, reader.seq) async for event in reader]
        texts = "".join(event.text for event, _ in whole if isinstance(event, ContentDelta))
        assert texts == "a b c" * 8 + "It is sunny."
        assert len([event for event, _ in whole if isinstance(event, ToolResult)]) == 8
        for at, (_, seq) in enumerate(whole):
            reader = broadcast.reader(seq)
            assert [(event, reader.seq) async for event in reader] == whole[at + 1 :]
