"""Streams of a real server: llama.cpp, which words things its own way and drops kept-alive connections silently.

Without the extra `live` they are skipped; with `SILICONFLOW_LIVE=require` in the environment they fail instead.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    AuthenticationError,
    BadRequestError,
    ContextLengthError,
)
from siliconflow_async.wire.events import ContentDelta, Finished

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .conftest import Llama

MISSING = [name for name in ("xllamacpp", "gguf", "numpy") if importlib.util.find_spec(name) is None]
if MISSING and os.environ.get("SILICONFLOW_LIVE") != "require":
    pytest.skip(f"needs {', '.join(MISSING)}: pip install -e '.[live]'", allow_module_level=True)

pytestmark = [pytest.mark.live, pytest.mark.anyio]

# The model would need half a minute and more for so many tokens.
ENDLESS = 60_000
SECONDS_TO_STOP = 1.0


def ask(**more: Any) -> dict[str, Any]:
    """Return a request that goes on up to `max_tokens`: the model's end-of-text token is banned."""
    return {
        "model": "tiny/random",
        "messages": [{"role": "user", "content": "Why is the sky blue?"}],
        "stream_options": {"include_usage": True},
        "extra_body": {"ignore_eos": True},
        **more,
    }


async def test_chunks_fold_to_the_answer(client: AsyncSiliconFlow) -> None:
    """Text, usage and ending of a stream that the model ends by itself."""
    async with client.chat.completions.stream(**ask(max_tokens=20_000, extra_body={})) as stream:
        pieces = [chunk.content or "" async for chunk in stream]
        done = await stream.completion()
    assert stream.ended == "done"
    assert done.content == "".join(pieces)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.prompt_tokens > 0
    assert sum(map(bool, pieces)) <= done.usage.completion_tokens < 20_000
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


async def test_a_whole_answer(client: AsyncSiliconFlow) -> None:
    done = await client.chat.completions.create(**ask(max_tokens=40))
    assert done.content
    assert done.choices[0].finish_reason == "length"
    assert done.usage is not None
    assert done.usage.completion_tokens == 40


async def test_text_of_many_bytes_a_character_is_whole(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ask(max_tokens=1_000)) as stream:
        text = "".join([piece async for piece in stream.text()])
    assert not text.isascii()
    assert "\ufffd" not in text


async def test_max_tokens_ends_with_length(client: AsyncSiliconFlow) -> None:
    stream = await client.chat.completions.create(**ask(max_tokens=25), stream=True)
    reasons = [chunk.finish_reason async for chunk in stream if chunk.finish_reason]
    done = await stream.completion()
    assert reasons == ["length"]
    assert done.usage is not None
    assert done.usage.completion_tokens == 25


async def test_a_stop_sequence_ends_with_stop_and_stays_out_of_the_text(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ask(max_tokens=20_000, stop=["e"])) as stream:
        done = await stream.completion()
    assert done.choices[0].finish_reason == "stop"
    assert "e" not in (done.content or "")


async def test_two_choices_come_interleaved_and_fold_apart(client: AsyncSiliconFlow) -> None:
    pieces: dict[int, list[str]] = {0: [], 1: []}
    order: list[int] = []
    async with client.chat.completions.stream(**ask(max_tokens=200, n=2)) as stream:
        async for chunk in stream:
            for choice in chunk.choices:
                pieces[choice.index].append(choice.delta.content or "")
                order.append(choice.index)
        done = await stream.completion()
    assert order != sorted(order)
    assert order != sorted(order, reverse=True)
    assert [choice.index for choice in done.choices] == [0, 1]
    for choice in done.choices:
        assert choice.finish_reason == "length"
        assert choice.message.content == "".join(pieces[choice.index])
    assert done.choices[0].message.content != done.choices[1].message.content


async def test_events_end_with_finished(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ask(max_tokens=10)) as stream:
        events = [event async for event in stream.events()]
        done = await stream.completion()
    assert "".join(event.text for event in events if isinstance(event, ContentDelta)) == done.content
    match events[-1]:
        case Finished(reason=reason, usage=usage):
            assert reason == "length"
            assert usage == done.usage
        case other:
            pytest.fail(f"{other!r} came last")


async def test_a_kept_alive_connection_that_the_server_dropped_is_replaced_at_once(
    client: AsyncSiliconFlow, caplog: pytest.LogCaptureFixture
) -> None:
    """The server drops it after every stream, and the next one neither fails nor counts as a retry, which is logged."""
    for _ in range(20):
        async with client.chat.completions.stream(**ask(max_tokens=5)) as stream:
            done = await stream.completion()
        assert done.choices[0].finish_reason == "length"
    assert [record.getMessage() for record in caplog.records if record.name == "siliconflow_async"] == []


async def test_more_streams_at_once_than_the_server_has_slots(client: AsyncSiliconFlow) -> None:
    async def run() -> str | None:
        async with client.chat.completions.stream(**ask(max_tokens=100)) as stream:
            return (await stream.completion()).choices[0].finish_reason

    assert await asyncio.gather(*[run() for _ in range(8)]) == ["length"] * 8


async def test_a_wrong_key_is_an_authentication_error(llama: Llama) -> None:
    async with AsyncSiliconFlow("sk-wrong", base_url=llama.base_url) as client:
        with pytest.raises(AuthenticationError, match="Invalid API Key") as caught:
            await client.chat.completions.create(**ask(), stream=True)
    assert caught.value.status == 401
    assert "sk-wrong" not in str(caught.value)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_prompt_beyond_the_context_is_a_context_length_error(client: AsyncSiliconFlow, stream: bool) -> None:
    request = ask(messages=[{"role": "user", "content": "a" * 70_000}])
    with pytest.raises(ContextLengthError, match="exceeds the available context size") as caught:
        await client.chat.completions.create(**request, stream=stream)
    assert caught.value.status == 400
    assert caught.value.code == 400
    assert caught.value.attempts == 1


async def test_a_value_that_the_server_refuses_is_a_bad_request(client: AsyncSiliconFlow) -> None:
    with pytest.raises(BadRequestError, match="'n'") as caught:
        await client.chat.completions.create(**ask(n=50), stream=True)
    assert caught.value.status == 400


async def leave_the_block(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ask(max_tokens=ENDLESS)) as stream:
        async for chunk in stream:
            if chunk.content:
                break


async def drop_the_reference(client: AsyncSiliconFlow) -> None:
    stream = await client.chat.completions.create(**ask(max_tokens=ENDLESS), stream=True)
    assert await anext(stream)


async def cancel_the_reader(client: AsyncSiliconFlow) -> None:
    begun = asyncio.Event()

    async def read() -> None:
        stream = await client.chat.completions.create(**ask(max_tokens=ENDLESS), stream=True)
        begun.set()
        await stream.completion()

    task = asyncio.create_task(read())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def close_the_client(client: AsyncSiliconFlow) -> None:
    stream = await client.chat.completions.create(**ask(max_tokens=ENDLESS), stream=True)
    assert await anext(stream)
    await client.aclose()
    assert stream.ended == "closed"


@pytest.mark.parametrize("leave", [leave_the_block, drop_the_reference, cancel_the_reader, close_the_client])
async def test_breaking_off_stops_the_generation(
    client: AsyncSiliconFlow, llama: Llama, leave: Callable[[AsyncSiliconFlow], Awaitable[None]]
) -> None:
    """A request of 60,000 tokens, left early, occupies the server for less than a second more."""
    async with asyncio.timeout(10):
        while (before := await llama.metrics())["requests_processing"]:
            pass  # a test before this one may just have ended
    gc.disable()
    try:
        await leave(client)
        left_at = time.monotonic()
        while (after := await llama.metrics())["requests_processing"]:
            assert time.monotonic() - left_at < SECONDS_TO_STOP, "the server still generates"
    finally:
        gc.enable()
    assert time.monotonic() - left_at < SECONDS_TO_STOP
    assert after["requests_deferred"] == 0
    assert after["tokens_predicted_total"] - before["tokens_predicted_total"] < ENDLESS / 2
