"""An open stream: how it is read, how it ends, and what is left of it."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from siliconflow_async import (
    APITimeoutError,
    BusyError,
    ChatCompletionChunk,
    ChatStream,
    ClosedError,
    ContentDelta,
    EventTooLargeError,
    Finished,
    MalformedStreamError,
    ReasoningDelta,
    Started,
    StreamAPIError,
    Timeouts,
    ToolCallDone,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, Rst, Stall, Until

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio


async def test_chunks_fold_to_the_answer() -> None:
    """Iterating gives every delta; `completion()` is their fold, with headers, trace id and times."""
    async with served() as (server, client):
        server.reply(["Hel", "lo"], reasoning=["hm"])
        async with client.chat.completions.stream(**ASK) as stream:
            texts = [c.content async for c in stream]
            done = await stream.completion()
        assert "".join(text or "" for text in texts) == "Hello"
        assert (done.content, done.reasoning_content, done.finish_reason) == ("Hello", "hm", "stop")
        assert stream.ended == "done"
        assert done.trace_id == stream.trace_id == server.requests[0].trace_id
        assert done.headers["content-type"].startswith("text/event-stream")
        assert done.timing.first_token is not None
        assert done.timing.total is not None
        assert done.timing.first_token <= done.timing.total


async def test_the_openai_shape_streams_too() -> None:
    """`create(stream=True)` returns the open stream at its first chunk."""
    async with served() as (server, client):
        server.reply(["a", "b"])
        stream = await client.chat.completions.create(stream=True, **ASK)
        assert stream.ended is None
        assert [c.choices[0].delta.content async for c in stream if c.choices[0].delta.content] == ["a", "b"]
        assert stream.ended == "done"


async def test_what_was_not_entered_says_how_it_is_opened() -> None:
    """In its repr, and to whoever awaits or iterates it."""
    async with served() as (server, client):
        stream: Any = client.chat.completions.stream(**ASK)
        assert repr(stream) == "<ChatStreamManager not entered: use `async with`>"
        with pytest.raises(TypeError, match=r"async with .* as stream.*create\(…, stream=True\)"):
            await stream
        with pytest.raises(TypeError, match=r"async with .* as stream"):
            async for _ in stream:
                pass
        with pytest.raises(TypeError, match=r"async with .* as stream"):
            list(stream)
        assert server.requests == []
        async with stream as opened:
            assert repr(stream) == f"<ChatStreamManager entered: {opened!r}>"
        parsed = client.chat.completions.stream(**ASK, response_format=dict[str, int])
        assert repr(parsed) == "<ParsedChatStreamManager not entered: use `async with`>"


async def test_text_is_the_content_alone() -> None:
    """`text()` leaves out reasoning and empty pieces."""
    async with served() as (server, client):
        server.reply(["a", "", "b"], reasoning=["hm"])
        async with client.chat.completions.stream(**ASK) as stream:
            assert [text async for text in stream.text()] == ["a", "b"]


async def test_events_tell_a_tool_call_whole() -> None:
    """`events()` gives typed events in order, the usage on the last."""
    async with served() as (server, client):
        server.reply("ok", reasoning=["hm"], tool_calls=[{"name": "f", "arguments": {"x": 1}}])
        async with client.chat.completions.stream(**ASK) as stream:
            events = [event async for event in stream.events()]
        assert isinstance(events[0], Started)
        assert ReasoningDelta(0, "hm") in events
        assert any(isinstance(event, ContentDelta) for event in events)
        (done,) = [event for event in events if isinstance(event, ToolCallDone)]
        assert (done.name, done.arguments.replace(" ", "")) == ("f", '{"x":1}')
        assert isinstance(events[-1], Finished)
        assert events[-1].reason == "tool_calls"
        assert events[-1].usage is not None


async def test_partial_follows_the_reader() -> None:
    """`partial` holds just what was given out while the stream is open."""
    async with served() as (server, client):
        server.reply(["a", "b", "c"])
        async with client.chat.completions.stream(**ASK) as stream:
            seen = ""
            async for c in stream:
                seen += c.content or ""
                assert (stream.partial.content or "") == seen


async def test_texts_events_and_chunks_take_turns() -> None:
    """Each goes on where the other left off, also amid a read, and a chunk is whole whoever read on before."""
    pieces = [chunk(str(n)) for n in range(9)]
    counted = [piece.replace(b"{", b'{"usage": {"total_tokens": %d}, ' % n, 1) for n, piece in enumerate(pieces)]
    gate = asyncio.Event()
    async with served() as (server, client):
        server.raw([counted[0], Until(gate), b"".join(counted[1:]), DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            gate.set()
            texts = stream.text()
            assert [await anext(texts) for _ in range(3)] == ["0", "1", "2"]
            c = await anext(stream)
            assert isinstance(c, ChatCompletionChunk)
            assert (c.content, c.model, c.id) == ("3", "m", "1")
            assert c.usage is not None
            assert c.usage.total_tokens == 3
            assert b"data: %s\n\n" % c.raw == counted[3]
            assert stream.partial.content == "0123"
            assert stream.partial.usage == c.usage
            events = stream.events()
            assert [await anext(events) for _ in range(2)] == [Started(0, "1", "m"), ContentDelta(0, "4")]
            assert await anext(texts) == "5"
            assert [c.content async for c in stream] == ["6", "7", "8"]
            done = await stream.completion()
        assert done.content == "012345678"
        assert done.usage is not None
        assert done.usage.total_tokens == 8


ENDINGS = [
    ([chunk("a"), chunk("", finish="stop"), DONE], "done", None),
    ([chunk("a"), DONE], "done", None),
    ([chunk("a"), chunk("", finish="stop")], "finish", None),
    ([chunk("a"), chunk("", finish="stop"), Fin()], "finish", None),
    ([chunk("a"), chunk("", finish="stop"), Rst()], "finish", None),
    ([chunk("a"), chunk("", finish="stop"), Stall()], "finish", None),
    ([chunk("a")], "truncated", TruncatedStreamError),
    ([chunk("a"), Fin()], "truncated", TruncatedStreamError),
    ([chunk("a"), Rst()], "truncated", TruncatedStreamError),
    ([chunk("a"), chunk("b", finish="stop"), chunk("c", index=1), Fin()], "truncated", TruncatedStreamError),
    ([chunk("a"), b'data: {"code":50505,"message":"busy"}\n\n'], "error", StreamAPIError),
    ([chunk("a"), b'event: error\ndata: {"message":"no"}\n\n'], "error", StreamAPIError),
    ([chunk("a"), b"data: <html>\n\n"], "malformed", MalformedStreamError),
    ([chunk("a"), b"data: " + b"x" * 5000], "too_large", EventTooLargeError),
    ([chunk("a"), Stall()], "timeout", APITimeoutError),
    ([chunk("a"), b": ping\n\n", Stall()], "timeout", APITimeoutError),
]


@pytest.mark.parametrize(("steps", "ended", "error"), ENDINGS)
async def test_every_ending(steps: list[object], ended: str, error: type[Exception] | None) -> None:
    """Each ending has its name, its exception, and all that had arrived in `partial`."""
    async with served(timeouts=Timeouts(idle=0.3), max_event_size=4096) as (server, client):
        server.raw(steps)
        async with client.chat.completions.stream(**ASK) as stream:
            seen = []
            caught: Exception | None = None
            try:
                async for c in stream:
                    seen.append(c)
            except Exception as exc:
                caught = exc
            assert stream.ended == ended
            assert type(caught) is (error or type(None))
            expected = "".join(s.content or "" for s in seen)
            assert (stream.partial.content or "") == expected
            assert seen[0].content == "a"
            if caught is not None:
                assert caught.partial.content == expected
                assert caught.trace_id == stream.trace_id
                with pytest.raises(type(caught)):
                    await stream.completion()
            else:
                assert (await stream.completion()).content == expected


@pytest.mark.parametrize(("steps", "ended", "error"), ENDINGS)
async def test_a_stream_that_ended_goes_with_its_last_reference(
    steps: list[object], ended: str, error: type[Exception] | None
) -> None:
    """Whatever it raised, twice: nothing of it is left for the collector."""
    async with served(timeouts=Timeouts(idle=0.3), max_event_size=4096) as (server, client):
        server.raw(steps)
        stream = await client.chat.completions.create(**ASK, stream=True)
        gc.disable()
        try:
            errors = [type(caught) for caught in [await end_of(stream), await end_of(stream)] if caught is not None]
            assert errors == ([] if error is None else [error, error])
            assert stream.ended == ended
            was_there = weakref.ref(stream)
            del stream
            # What is forgotten is left at the loop's next turn.
            for _ in range(2):
                await asyncio.sleep(0)
            assert was_there() is None
        finally:
            gc.enable()


async def end_of(stream: ChatStream) -> Exception | None:
    try:
        await stream.completion()
    except Exception as error:
        return error.with_traceback(None)
    return None


@pytest.mark.parametrize("cut", [Fin(), Rst()])
async def test_a_slow_reader_gets_all_that_arrived_before_the_break(cut: object) -> None:
    """A connection that breaks while nobody reads costs nothing of what had reached this process."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([*(chunk(str(n)) for n in range(100)), Until(gate), cut])
        async with client.chat.completions.stream(**ASK) as stream:
            # A reset makes the kernel drop what this process has not read: let the loop read all that was sent.
            for _ in range(50):
                await asyncio.sleep(0)
            gate.set()
            await server.disconnected()
            assert [(await anext(stream)).content for _ in range(100)] == [str(n) for n in range(100)]
            with pytest.raises(TruncatedStreamError) as caught:
                await anext(stream)
            assert caught.value.partial is not None
            assert caught.value.partial.content == "".join(str(n) for n in range(100))


async def test_a_break_leaves_the_stream_usable_until_the_block_ends() -> None:
    """After `break` iteration goes on; after the block it raises ClosedError, and the server is left at once."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            async for first in stream:
                assert first.content == "a"
                break
            assert (await anext(stream)).content == "b"
        assert stream.ended == "closed"
        assert stream.partial.content == "ab"
        await server.left_early()
        with pytest.raises(ClosedError):
            await anext(stream)
        with pytest.raises(ClosedError):
            await stream.completion()


async def test_leaving_after_the_finish_is_a_whole_answer() -> None:
    """Who breaks at the finish_reason has the whole answer."""
    async with served() as (server, client):
        server.raw([chunk("a", finish="stop"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            async for c in stream:
                if c.finish_reason:
                    break
        assert stream.ended == "finish"
        assert (await stream.completion()).content == "a"


async def test_leaving_keeps_what_had_arrived() -> None:
    """Chunks that had arrived unread are in `partial` after leaving."""
    async with served() as (server, client):
        server.raw([chunk("a") + chunk("b") + chunk("c"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await anext(stream)).content == "a"
        assert stream.partial.content == "abc"


async def test_two_readers_are_one_too_many() -> None:
    """A second task that reads gets BusyError; the first goes on."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk("b", finish="stop"), DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            first = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(BusyError):
                await anext(stream)
            gate.set()
            assert (await first).content == "b"
            assert (await stream.completion()).content == "ab"


async def test_closing_wakes_a_waiting_reader() -> None:
    """A reader that waits while another task closes the stream gets ClosedError."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            reader = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            await stream.aclose()
            with pytest.raises(ClosedError):
                await reader


async def test_a_cancelled_reader_closes_the_connection() -> None:
    """Cancellation comes out unchanged, and the server is left."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            await anext(stream)
            reader = asyncio.ensure_future(stream.completion())
            await asyncio.sleep(0)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            assert stream.ended == "closed"
            assert stream.partial.content == "a"
            await server.left_early()


async def test_a_forgotten_stream_closes_its_connection() -> None:
    """With the last reference goes the connection, no collector needed, and without a warning."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        await anext(stream)
        del stream
        await server.left_early()


async def test_closing_the_client_ends_its_streams() -> None:
    """`aclose()` aborts what is open, and the client refuses further calls."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        await client.aclose()
        assert stream.ended == "closed"
        await server.left_early()
        with pytest.raises(ClosedError):
            await client.chat.completions.create(**ASK)


async def test_a_whole_answer_in_a_stream_is_one_chunk() -> None:
    """A relay that ignores `stream` still gives an answer."""
    async with served() as (server, client):
        body = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}'
        server.raw([body], headers={"content-type": "application/json"})
        async with client.chat.completions.stream(**ASK) as stream:
            assert [c.content async for c in stream] == ["x"]
        assert stream.ended == "finish"


@pytest.mark.anyio
@pytest.mark.parametrize("view", ["chunks", "events", "completion"])
async def test_a_stream_of_more_choices_than_any_answer_has_is_malformed(view: str) -> None:
    """What came until then is in the error, and the stream knows how it ended."""
    async with served() as (server, client):
        server.raw([b"".join(chunk("x", index=index) for index in range(2000)), DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            read = {"chunks": stream, "events": stream.events()}.get(view)
            with pytest.raises(MalformedStreamError, match="1,025 choices, more than 1,024") as caught:
                await (stream.completion() if read is None else _read(read))
            assert stream.ended == "malformed"
            assert caught.value.partial is not None
            assert len(caught.value.partial.choices) == 1024


async def _read(items: AsyncIterator[Any]) -> None:
    async for _ in items:
        pass
