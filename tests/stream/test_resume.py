"""Streams that go on where they broke off."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    BusyError,
    ChatStream,
    ClosedError,
    ContentDelta,
    Finished,
    InvalidRequestError,
    RetryPolicy,
    Seam,
    Started,
    StreamAPIError,
    Timeouts,
    TruncatedStreamError,
)
from siliconflow_async.testing import FakeSiliconFlow, Fin, Pause, Rst, Stall
from siliconflow_async.testing.serving.answers import deltas

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio

# Retries and continuations without waits, and with credit for each call.
PLENTY = RetryPolicy(base=0.0, budget=3.0)
BUSY = b'data: {"code":50505,"message":"busy"}\n\n'
REFUSED = b'data: {"code":20015,"message":"no"}\n\n'


async def test_a_cut_at_any_byte_gives_the_same_answer() -> None:
    """Wherever the connection breaks, within a letter too, the text is that of no break."""
    ask = {**ASK, "stop": "hi"}
    async with served(retry=PLENTY) as (server, client):
        done = await client.chat.completions.create(**ask)
        assert done.content == "You said: “"
        body = b"".join(map(chunk, deltas(done.content))) + chunk("", finish="stop") + DONE
        body = body.replace(rb"\u201c", "“".encode())
        for cut in range(1, len(body)):
            server.reset()
            server.raw([body[:cut], Rst() if cut % 2 else Fin()])
            async with client.chat.completions.stream(**ask, resume=1) as stream:
                pieces = [piece async for piece in stream.text()]
            assert "".join(pieces) == stream.partial.content == done.content
            assert stream.partial.finish_reason == "stop"


@settings(max_examples=40)
@given(
    prompt=st.text(max_size=30),
    cuts=st.lists(st.floats(0, 1), min_size=1, max_size=3),
    prefix=st.none() | st.sampled_from(["", "Once upon", "You said: “"]),
    limit=st.none() | st.integers(1, 200),
)
def test_any_answer_cut_anywhere_any_number_of_times(
    prompt: str, cuts: list[float], prefix: str | None, limit: int | None
) -> None:
    """Any text, the caller's own prefix before it, cut again and again, reads as one; max_tokens holds over all."""
    ask: dict[str, Any] = {"model": "stand-in/model", "messages": [{"role": "user", "content": prompt}]}
    ask |= {"prefix": prefix, "max_tokens": limit}

    async def main() -> None:
        async with served(retry=PLENTY) as (server, client):
            whole = await client.chat.completions.create(**ask)
            assert whole.content is not None
            assert whole.usage is not None
            tokens = deltas(whole.content)
            for cut in cuts:
                # At least one token is left, or there would be nothing to ask for.
                kept = tokens[: int(cut * (len(tokens) - 1))]
                tokens = tokens[len(kept) :]
                server.reply(kept, finish=False, done=False)
            async with client.chat.completions.stream(**ask, resume=len(cuts)) as stream:
                done = await stream.completion()
            assert server.script == []
            assert (done.content, done.finish_reason) == (whole.content, whole.finish_reason)
            assert done.usage is not None
            assert done.usage.completion_tokens == whole.usage.completion_tokens

    asyncio.run(main())


@pytest.mark.parametrize(
    ("cut", "error"),
    [
        ([Fin()], "TruncatedStreamError"),
        ([Rst()], "TruncatedStreamError"),
        ([], "TruncatedStreamError"),
        ([Stall()], "APITimeoutError"),
        ([BUSY], "StreamAPIError"),
    ],
)
async def test_the_seam_is_an_event(cut: list[Any], error: str) -> None:
    """`events()` tells of one start, the seam where it is, and one finish with the usage of both requests."""
    async with served(timeouts=Timeouts(idle=0.3)) as (server, client):
        server.raw([chunk("You "), chunk("said"), *cut])
        async with client.chat.completions.stream(**ASK, resume=2) as stream:
            events = [event async for event in stream.events()]
        first, second = server.requests
        seam = next(event for event in events if isinstance(event, Seam))
        assert events.index(seam) == 3
        assert events[:3] == [Started(0, "1", "m"), ContentDelta(0, "You "), ContentDelta(0, "said")]
        assert (seam.index, seam.attempt, seam.error, seam.at) == (0, 1, error, 8)
        assert seam.message
        assert seam.trace_id == first.trace_id
        assert '"type":"seam"' in seam.to_json()
        assert sum(isinstance(event, Started) for event in events) == 1
        assert [event.reason for event in events if isinstance(event, Finished)] == ["stop"]
        assert second.json == {**first.json, "prefix": "You said"}
        assert stream.trace_id == stream.partial.trace_id == second.trace_id
        assert (stream.partial.id, stream.ended) == ("1", "done")


async def test_usage_is_added_up() -> None:
    """Each request's last usage counts, the details too."""
    spent = {
        "prompt_tokens": 5,
        "completion_tokens": 3,
        "total_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    async with served() as (server, client):
        server.reply(["a", "b"], usage=spent, usage_on="last", done=False, finish=False)
        server.reply(["c"], usage={**spent, "completion_tokens_details": {"reasoning_tokens": 0}})
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            done = await stream.completion()
        assert done.content == "abc"
        assert done.usage is not None
        assert done.usage.to_dict() == {
            "prompt_tokens": 10,
            "completion_tokens": 6,
            "total_tokens": 16,
            "prompt_tokens_details": {"cached_tokens": 8},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }


async def test_usage_counts_once_where_a_continuation_tells_none() -> None:
    """The first request's is not taken for the second's too."""
    spent = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    async with served() as (server, client):
        server.reply(["a"], usage=spent, usage_on="last", done=False, finish=False)
        server.reply(["b"], usage_on="never")
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            done = await stream.completion()
        assert done.usage is not None
        assert (done.content, done.usage.to_dict()) == ("ab", spent)


async def test_the_openai_shape_goes_on_too() -> None:
    """`create(stream=True, resume=…)` gives chunks across the seam, and is a ChatStream."""
    async with served() as (server, client):
        server.raw([chunk("You "), Rst()])
        stream = await client.chat.completions.create(stream=True, resume=1, **ASK)
        assert isinstance(stream, ChatStream)
        chunks = [c async for c in stream]
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == stream.partial.content
        first_token, total = stream.timing.first_token, stream.timing.total
        assert first_token is not None
        assert total is not None
        assert first_token < total


@pytest.mark.parametrize(
    ("steps", "error", "resume"),
    [
        ([chunk("a"), Fin()], TruncatedStreamError, None),
        ([chunk("a"), Fin()], TruncatedStreamError, 0),
        ([chunk("a"), REFUSED], StreamAPIError, 3),
        ([chunk(None, reasoning_content="Hm."), Fin()], TruncatedStreamError, 3),
        ([chunk(None, reasoning_content="Hm."), chunk("a"), Fin()], TruncatedStreamError, 3),
        ([chunk(None, tool_calls=[{"index": 0, "function": {"name": "f"}}]), Fin()], TruncatedStreamError, 3),
        ([chunk("a"), chunk("b", index=1), Fin()], TruncatedStreamError, 3),
        ([chunk("a", finish="stop"), BUSY], StreamAPIError, 3),
    ],
)
async def test_what_is_no_break_in_text_stays_an_error(
    steps: list[Any], error: type[Exception], resume: int | None
) -> None:
    """Reasoning, tool calls, other choices and refusals end the stream, and nothing is asked again."""
    async with served() as (server, client):
        server.raw(steps)
        async with client.chat.completions.stream(**ASK, resume=resume) as stream:
            with pytest.raises(error) as caught:
                await stream.completion()
            with pytest.raises(error):
                await stream.completion()
        assert caught.value.partial is not None  # type: ignore[attr-defined]  # each of them has it
        assert len(server.requests) == 1


async def test_no_more_often_than_allowed() -> None:
    """The last break is raised, with all that came in `partial`."""
    async with served() as (server, client):
        for text in "abcd":
            server.raw([chunk(text), Fin()])
        async with client.chat.completions.stream(**ASK, resume=2) as stream:
            seen = [(await anext(stream)).content for _ in range(3)]
            with pytest.raises(TruncatedStreamError) as caught:
                await anext(stream)
        assert caught.value.partial is not None
        assert "".join(seen) == caught.value.partial.content == stream.partial.content == "abc"
        assert stream.ended == "truncated"
        assert [request.json.get("prefix") for request in server.requests] == [None, "a", "ab"]


async def test_a_continuation_that_is_refused_leaves_the_first_error() -> None:
    """What broke the stream is raised; why it could not go on is its cause."""
    async with served() as (server, client):
        server.raw([chunk("a"), Fin()])
        server.fail(400)
        async with client.chat.completions.stream(**ASK, resume=2) as stream:
            with pytest.raises(TruncatedStreamError) as caught:
                await stream.completion()
        assert isinstance(caught.value.__cause__, BadRequestError)
        assert (stream.ended, stream.partial.content) == ("truncated", "a")
        assert len(server.requests) == 2


async def test_the_retry_budget_bounds_continuations() -> None:
    """A service that breaks every stream is not asked ever more."""
    async with served() as (server, client):
        server.raw([chunk("a"), Fin()], times=None)
        async with client.chat.completions.stream(**ASK, resume=1000) as stream:
            with pytest.raises(TruncatedStreamError):
                await stream.completion()
        assert len(server.requests) == 11


async def test_an_answer_that_had_all_its_tokens_is_not_asked_for_more() -> None:
    """`max_tokens` counts over all requests; at its end there is nothing to ask for."""
    usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
    async with served() as (server, client):
        for limit, requests in ((5, 2), (3, 1)):
            server.reset()
            server.reply(["a"], usage=usage, usage_on="last", finish=False, done=False)
            server.reply(["b"])
            async with client.chat.completions.stream(**ASK, resume=1, max_tokens=limit) as stream:
                if requests == 1:
                    with pytest.raises(TruncatedStreamError):
                        await stream.completion()
                else:
                    assert (await stream.completion()).content == "ab"
                    assert server.requests[1].json["max_tokens"] == 2
            assert len(server.requests) == requests


async def test_the_total_clock_covers_continuations() -> None:
    """It runs from the first request on, and its error has what came."""
    async with served(timeouts=Timeouts(total=0.4)) as (server, client):
        server.raw([chunk("a"), Fin()])
        server.raw([], before=[Stall()])
        async with client.chat.completions.stream(**ASK, resume=5) as stream:
            for _ in range(2):
                with pytest.raises(APITimeoutError) as caught:
                    await stream.completion()
                assert (caught.value.clock, caught.value.seconds) == ("total", 0.4)
                assert caught.value.partial is not None
                assert caught.value.partial.content == "a"
        assert stream.ended == "timeout"
        assert stream.timing.total is not None
        assert 0.4 <= stream.timing.total < 0.49
        server.raw([chunk("b"), Stall()])
        async with client.chat.completions.stream(**ASK, resume=5) as stream:
            with pytest.raises(APITimeoutError):
                await stream.completion()
        assert len(server.requests) == 3


async def test_silence_in_a_continuation_is_a_break_again() -> None:
    """The first-token and idle clocks run for each request anew."""
    async with served(timeouts=Timeouts(first_token=0.3, idle=0.3)) as (server, client):
        server.raw([chunk("a"), Stall()])
        server.raw([chunk(""), Stall()])
        server.raw([chunk("b"), Stall()])
        server.raw([chunk("c"), chunk("", finish="stop"), DONE])
        async with client.chat.completions.stream(**ASK, resume=3) as stream:
            assert (await stream.completion()).content == "abc"
        assert [request.json.get("prefix") for request in server.requests] == [None, "a", "a", "ab"]


async def test_a_continuation_has_its_first_token_and_goes_on() -> None:
    """From then on the idle clock runs, as for any stream: an answer may take longer than `first_token`."""
    async with served(timeouts=Timeouts(first_token=0.3, idle=0.3)) as (server, client):
        server.raw([chunk("a"), Fin()])
        wait = Pause(0.15)
        server.raw([chunk(""), wait, chunk("b"), wait, chunk("c"), wait, chunk("", finish="stop"), DONE])
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            assert (await stream.completion()).content == "abc"


async def resuming(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> tuple[ChatStream, asyncio.Task[Any]]:
    """A stream whose continuation hangs, and the task that waits for it."""
    server.raw([chunk("a"), Fin()])
    server.raw([], before=[Stall()])
    stream = await client.chat.completions.create(stream=True, resume=1, **ASK)
    waiting = asyncio.ensure_future(stream.completion())
    await server.received(2)
    return stream, waiting


async def test_closing_while_a_continuation_is_opened() -> None:
    """The reader gets ClosedError at once, and the connection is left."""
    async with served() as (server, client):
        stream, waiting = await resuming(server, client)
        with pytest.raises(BusyError):
            await stream.completion()
        assert stream.ended is None
        await stream.aclose()
        with pytest.raises(ClosedError):
            await waiting
        await server.left_early()
        assert (stream.ended, stream.partial.content) == ("closed", "a")


async def test_cancelling_while_a_continuation_is_opened() -> None:
    """CancelledError passes, and the connection is left."""
    async with served() as (server, client):
        stream, waiting = await resuming(server, client)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await server.left_early()
        assert stream.ended == "closed"


async def test_closing_the_client_ends_a_stream_that_went_on() -> None:
    """The client knows the stream after its seam too."""
    async with served() as (server, client):
        server.raw([chunk("a"), Fin()])
        server.raw([chunk("b"), Stall()])
        stream = await client.chat.completions.create(stream=True, resume=1, **ASK)
        assert [(await anext(stream)).content, (await anext(stream)).content] == ["a", "b"]
        await client.aclose()
        await server.left_early()
        assert stream.ended == "closed"


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_forgotten_stream_leaves_at_once(when: str) -> None:
    """No reference cycle keeps it: the last reference closes the connection, before a seam and after it."""
    async with served() as (server, client):
        gc.collect()
        gc.disable()
        try:
            server.raw([chunk("a"), Stall() if when == "before" else Fin()])
            if when == "after":
                server.raw([chunk("b"), Stall()])
            stream = await client.chat.completions.create(stream=True, resume=1, **ASK)
            assert (await anext(stream)).content == "a"
            if when == "after":
                assert (await anext(stream)).content == "b"
            gone = weakref.ref(stream)
            del stream
            assert gone() is None
            await server.left_early()
        finally:
            gc.enable()


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"resume": -1}, "integer"),
        ({"resume": True}, "integer"),
        ({"resume": "2"}, "integer"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"n": 2}, "n > 1"),
        ({"extra_body": {"n": 2}}, "n > 1"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"split_think": True}, "split_think"),
    ],
)
async def test_what_is_no_plain_text_is_refused(params: dict[str, Any], why: str) -> None:
    """Tools, JSON, several choices and thinking can't be continued: that is said before anything is sent."""
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match=why) as caught:
            await client.chat.completions.create(**{**ASK, "stream": True, "resume": 2, **params})
        assert caught.value.param == "resume"
        assert server.requests == []


async def test_a_whole_answer_has_nothing_to_resume() -> None:
    """`resume=` is for streams; formats and tools that ask for text are no hindrance."""
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match="no stream"):
            await client.chat.completions.create(resume=1, **ASK)
        async with client.chat.completions.stream(
            **ASK, resume=1, n=1, tools=[], response_format={"type": "text"}
        ) as stream:
            await stream.completion()
        assert "resume" not in server.requests[0].json


async def test_the_log_tells_of_a_continuation(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says that a stream broke off and is asked to go on, without its words."""
    async with served() as (server, client):
        server.raw([chunk("secret"), Fin()])
        with caplog.at_level(logging.WARNING, "siliconflow_async"):
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                await stream.completion()
        (record,) = caplog.records
        assert "TruncatedStreamError" in record.getMessage()
        assert "secret" not in record.getMessage()
