"""Leaving is free through LangChain too: however a stream is left, its connection is closed, the collector off."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from typing import Any, cast

import pytest
from langchain_core.callbacks import AsyncCallbackHandler

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Stall

from ...asking import chunk
from ...connection import protocol_of

pytestmark = pytest.mark.anyio

# Of the loop, from the word to leave: LangChain's own generator, which holds ours, needs the first of them.
TURNS = 5


@pytest.fixture(autouse=True)
def _no_collector() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
async def client(server: FakeSiliconFlow) -> AsyncIterator[AsyncSiliconFlow]:
    async with AsyncSiliconFlow("sk-test", base_url=server.base_url) as client:
        yield client


@pytest.fixture
def model(client: AsyncSiliconFlow, server: FakeSiliconFlow) -> Iterator[ChatSiliconFlow]:
    model = ChatSiliconFlow(model="org/model", client=client)
    server.raw([chunk("a") + chunk("b"), Stall()])
    yield model
    model.close()


async def is_closed_in_turns(socket: Any) -> None:
    for _ in range(TURNS):
        if socket.fileno() == -1:
            return
        await asyncio.sleep(0)
    pytest.fail(f"open after {TURNS} turns of the loop")


async def opened(stream: Any, client: AsyncSiliconFlow) -> Any:
    """Read a chunk, and return the socket that it came from."""
    assert (await anext(stream)).content == "a"
    return protocol_of(client).transport.get_extra_info("socket")


async def test_a_break(model: ChatSiliconFlow, client: AsyncSiliconFlow, server: FakeSiliconFlow) -> None:
    socket = None
    async for piece in model.astream("hi"):
        assert piece.content == "a"
        socket = protocol_of(client).transport.get_extra_info("socket")
        break
    await is_closed_in_turns(socket)
    await server.left_early()


async def test_a_block_that_closes_the_stream(
    model: ChatSiliconFlow, client: AsyncSiliconFlow, server: FakeSiliconFlow
) -> None:
    async with aclosing(cast("Any", model.astream("hi"))) as stream:
        socket = await opened(stream, client)
    await is_closed_in_turns(socket)
    await server.left_early()


async def test_a_stream_that_is_forgotten(
    model: ChatSiliconFlow, client: AsyncSiliconFlow, server: FakeSiliconFlow
) -> None:
    stream = model.astream("hi")
    socket = await opened(stream, client)
    del stream
    await is_closed_in_turns(socket)
    await server.left_early()


async def test_the_iterator_itself_that_is_forgotten_takes_no_more_turns_than_the_librarys(
    model: ChatSiliconFlow, client: AsyncSiliconFlow
) -> None:
    from langchain_core.messages import HumanMessage

    stream: Any = model._astream([HumanMessage("hi")])
    assert (await anext(stream)).message.content == "a"
    socket = protocol_of(client).transport.get_extra_info("socket")
    del stream
    for _ in range(2):
        await asyncio.sleep(0)
    assert socket.fileno() == -1


@pytest.mark.parametrize("waits", ["for the first chunk", "for more"])
async def test_a_task_that_is_cancelled_while_it_waits(
    client: AsyncSiliconFlow, server: FakeSiliconFlow, waits: str
) -> None:
    server.raw([chunk("a"), Stall()] if waits == "for more" else [Stall()])
    model = ChatSiliconFlow(model="org/model", client=client)
    came = asyncio.Event()

    async def read() -> None:
        async for _ in model.astream("hi"):
            came.set()

    task = asyncio.ensure_future(read())
    await server.received()
    if waits == "for more":
        await came.wait()
    socket = protocol_of(client).transport.get_extra_info("socket")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await is_closed_in_turns(socket)
    await server.left_early()


async def test_a_whole_answer_that_is_cancelled(client: AsyncSiliconFlow, server: FakeSiliconFlow) -> None:
    server.raw([], before=[Stall()])
    task = asyncio.ensure_future(ChatSiliconFlow(model="org/model", client=client).ainvoke("hi"))
    await server.received()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.left_early()


async def test_a_callback_that_raises(model: ChatSiliconFlow, server: FakeSiliconFlow) -> None:
    class Raises(AsyncCallbackHandler):
        raise_error = True

        async def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        async for _ in model.astream("hi", {"callbacks": [Raises()]}):
            pass
    await server.left_early()


# Without a loop


def by_break(model: ChatSiliconFlow) -> None:
    for piece in model.stream("hi"):
        assert piece.content == "a"
        break


def by_close(model: ChatSiliconFlow) -> None:
    stream: Any = model.stream("hi")
    next(stream)
    stream.close()


def by_exception(model: ChatSiliconFlow) -> None:
    with suppress(ZeroDivisionError):
        for _ in model.stream("hi"):
            raise ZeroDivisionError


@pytest.mark.parametrize("leave", [by_break, by_close, by_exception])
def test_a_stream_of_no_loop_is_left(
    server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow], leave: Callable[[ChatSiliconFlow], None]
) -> None:
    server.raw([chunk("a") + chunk("b"), Stall()])
    leave(made())
    server.wait_left_early()


def test_closing_the_model_ends_what_other_threads_wait_for(
    server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
) -> None:
    server.raw([], before=[Stall()], times=2)
    model = made()
    raised: list[str] = []

    def wait(call: Callable[[], Any]) -> None:
        try:
            call()
        except Exception as error:
            raised.append(type(error).__name__)

    calls = [lambda: model.invoke("hi"), lambda: list(model.stream("hi"))]
    threads = [threading.Thread(target=wait, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    server.wait_received(2)
    model.close()
    for thread in threads:
        thread.join(10)
    assert raised == ["ClosedError", "ClosedError"]
