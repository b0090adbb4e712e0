"""Conversations with tools: calls side by side, bounds, and leaving."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from siliconflow_async import (
    AsyncSiliconFlow,
    BusyError,
    ClosedError,
    Started,
    Tool,
    ToolResult,
    ToolRoundsError,
    ToolRun,
)
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio


def calls(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "arguments": {}, "id": f"id-{name}-{at}"} for at, name in enumerate(names)]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[FakeSiliconFlow, AsyncSiliconFlow]]:
    async with served() as pair:
        yield pair


async def test_calls_run_side_by_side_and_results_come_as_they_end(pair: Any) -> None:
    """The first call waits until the second one's result was read; the conversation has them in the model's order."""
    server, client = pair
    second_told = asyncio.Event()

    async def first() -> str:
        await second_told.wait()
        return "1"

    async def second() -> str:
        return "2"

    server.reply(tool_calls=calls("first", "second"))
    server.reply("Done.")
    names = []
    async for event in client.chat.completions.run_tools(**ASK, tools=[first, second]):
        if isinstance(event, ToolResult):
            names.append(event.name)
            second_told.set()
    assert names == ["second", "first"]
    assert [message["content"] for message in server.requests[1].json["messages"][2:]] == ["1", "2"]


@pytest.mark.parametrize("most", [1, 2])
async def test_no_more_calls_run_at_once_than_allowed(pair: Any, most: int) -> None:
    server, client = pair
    running = peak = 0

    async def work() -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(5):  # turns of the loop, in which the others would begin if they were let
            await asyncio.sleep(0)
        running -= 1

    server.reply(tool_calls=calls(*["work"] * 6))
    server.reply("Done.")
    await client.chat.completions.run_tools(**ASK, tools=[work], max_concurrency=most).completion()
    assert peak == most


async def test_sync_tools_run_in_threads_side_by_side(pair: Any) -> None:
    server, client = pair
    meet = threading.Barrier(2, timeout=30)

    def work() -> int:
        return meet.wait()

    server.reply(tool_calls=calls("work", "work"))
    server.reply("Done.")
    await client.chat.completions.run_tools(**ASK, tools=[work]).completion()
    told = server.requests[1].json["messages"][2:]
    assert sorted(message["content"] for message in told) == ["0", "1"]


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_a_call_that_takes_too_long_is_told_to_the_model(pair: Any, kind: str) -> None:
    """An async tool is cancelled, a thread is left to itself, and the other calls' results count."""
    server, client = pair
    over = threading.Event()
    cancelled = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    def hang_in_thread() -> None:
        over.wait(30)

    async def quick() -> str:
        return "quick"

    server.reply(tool_calls=calls("hang", "quick"))
    server.reply("Done.")
    tool = Tool(hang if kind == "async" else hang_in_thread, name="hang")
    run = client.chat.completions.run_tools(**ASK, tools=[tool, quick], tool_timeout=0.05)
    try:
        results = {event.name: event async for event in run if isinstance(event, ToolResult)}
    finally:
        over.set()
    assert results["hang"].is_error
    assert results["hang"].content == "Error: the tool 'hang' gave no answer within 0.05 s"
    assert results["quick"].content == "quick"
    assert cancelled == ([True] if kind == "async" else [])


async def test_a_call_that_takes_too_long_may_end_the_run(pair: Any) -> None:
    server, client = pair

    async def hang() -> None:
        await asyncio.Event().wait()

    server.reply(tool_calls=calls("hang"))
    run = client.chat.completions.run_tools(**ASK, tools=[hang], tool_timeout=0.05, on_tool_error="raise")
    with pytest.raises(ToolRoundsError, match="'hang' gave no answer") as caught:
        await run.completion()
    assert len(caught.value.messages) == 2


async def test_a_tools_own_timeout_error_is_its_own(pair: Any) -> None:
    server, client = pair

    async def ask_someone() -> None:
        raise TimeoutError("they don't answer")

    server.reply(tool_calls=calls("ask_someone"))
    server.reply("Done.")
    run = client.chat.completions.run_tools(**ASK, tools=[ask_someone])
    (result,) = [event async for event in run if isinstance(event, ToolResult)]
    assert result.content == "Error: TimeoutError: they don't answer"


class Hanging:
    """A tool that hangs, and knows whether it has begun and been cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def hang(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def quick() -> str:
    return "quick"


async def read_until_it_hangs(run: ToolRun[Any], tool: Hanging) -> None:
    """Read up to the quick tool's result, which is there once the other hangs."""
    async for event in run:
        if isinstance(event, ToolResult):
            break
    await tool.begun.wait()


async def test_leaving_the_block_cancels_the_tools_that_run(pair: Any) -> None:
    server, client = pair
    tool = Hanging()
    server.reply(tool_calls=calls("hang", "quick"))
    async with client.chat.completions.run_tools(**ASK, tools=[tool.hang, quick]) as run:
        await read_until_it_hangs(run, tool)
        assert not tool.cancelled.is_set()
    assert tool.cancelled.is_set()
    assert len(asyncio.all_tasks()) == len([task for task in asyncio.all_tasks() if "tool" not in task.get_name()])
    with pytest.raises(ClosedError):
        await anext(run)


async def test_a_failing_tool_cancels_the_others(pair: Any) -> None:
    server, client = pair
    tool = Hanging()

    async def fail() -> None:
        await tool.begun.wait()
        raise LookupError("no")

    server.reply(tool_calls=calls("hang", "fail"))
    run = client.chat.completions.run_tools(**ASK, tools=[tool.hang, fail], on_tool_error="raise")
    with pytest.raises(LookupError):
        await run.completion()
    assert tool.cancelled.is_set()


async def test_cancelling_the_reader_cancels_the_tools(pair: Any) -> None:
    """CancelledError passes unchanged, after the tools have ended."""
    server, client = pair
    tool = Hanging()
    server.reply(tool_calls=calls("hang"))
    run = client.chat.completions.run_tools(**ASK, tools=[tool.hang])
    reader = asyncio.create_task(run.completion())
    await tool.begun.wait()
    reader.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await reader
    assert tool.cancelled.is_set()


async def test_a_run_that_is_dropped_cancels_its_tools_and_is_gone(pair: Any) -> None:
    """With the garbage collector off: nothing that runs holds the run."""
    server, client = pair
    tool = Hanging()
    server.reply(tool_calls=calls("hang", "quick"))
    gc.disable()
    try:
        run = client.chat.completions.run_tools(**ASK, tools=[tool.hang, quick])
        await read_until_it_hangs(run, tool)
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()
    await asyncio.wait_for(tool.cancelled.wait(), 10)


async def test_leaving_in_the_middle_of_an_answer_closes_its_stream(pair: Any) -> None:
    server, client = pair
    server.raw([chunk("Hel"), Stall()])
    async with client.chat.completions.run_tools(**ASK, tools=[quick]) as run:
        assert isinstance(await anext(run), Started)
    await server.left_early()


async def test_a_run_is_a_stream_to_whoever_relays_one(pair: Any) -> None:
    """It gives out its events, has what there is of the answer at any time, and is aborted without waiting."""
    server, client = pair
    tool = Hanging()
    server.reply("Let me see.", tool_calls=calls("hang"))
    run = client.chat.completions.run_tools(**ASK, tools=[tool.hang])
    assert run.partial is None
    assert run.events() is run
    assert isinstance(await anext(run), Started)
    assert run.partial is not None
    assert run.partial.finish_reason is None
    reader = asyncio.create_task(run.completion())
    await tool.begun.wait()
    assert run.partial.content == "Let me see."
    reader.cancel()
    run.abort()
    await asyncio.wait([reader])
    assert tool.cancelled.is_set()
    with pytest.raises(ClosedError):
        await anext(run)


async def test_two_readers_are_refused(pair: Any) -> None:
    server, client = pair
    tool = Hanging()
    server.reply(tool_calls=calls("hang"))
    async with client.chat.completions.run_tools(**ASK, tools=[tool.hang]) as run:
        reader = asyncio.create_task(run.completion())
        await tool.begun.wait()
        with pytest.raises(BusyError):
            await anext(run)
        reader.cancel()
        await asyncio.wait([reader])


async def test_a_run_that_is_over_stays_so(pair: Any) -> None:
    server, client = pair
    server.raw([chunk("Hello.", finish="stop"), DONE])
    async with client.chat.completions.run_tools(**ASK, tools=[quick]) as run:
        done = await run.completion()
        assert [event async for event in run] == []
    assert await run.completion() is done
    assert repr(run) == "<ToolRun done rounds=1>"


async def test_a_failed_request_comes_out_as_it_is(pair: Any) -> None:
    server, client = pair
    server.fail(400, times=1)
    run = client.chat.completions.run_tools(**ASK, tools=[quick])
    with pytest.raises(Exception, match="400"):
        await run.completion()
    with pytest.raises(ClosedError):
        await run.completion()
