"""The loop behind the methods that wait: it is there when it is needed, and gone when nobody needs it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from siliconflow_async import AsyncSiliconFlow, BusyError, ClosedError
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.integrations.langchain.thread import LoopThread
from siliconflow_async.testing import FakeSiliconFlow


@pytest.fixture
def client(server: FakeSiliconFlow) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("sk-test", base_url=server.base_url)


@pytest.fixture
def loop_thread(client: AsyncSiliconFlow) -> Iterator[LoopThread]:
    thread = LoopThread(client, owned=True)
    yield thread
    thread.close()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "siliconflow-langchain"]


async def current() -> threading.Thread:
    return threading.current_thread()


def test_it_begins_with_the_first_call_and_serves_them_all(loop_thread: LoopThread) -> None:
    assert threads() == []
    first = loop_thread.call(current())
    assert threads() == [first]
    assert loop_thread.call(current()) is first


def test_threads_that_begin_at_once_share_one(loop_thread: LoopThread) -> None:
    barrier = threading.Barrier(8)
    seen: list[threading.Thread] = []

    def ask() -> None:
        barrier.wait()
        seen.append(loop_thread.call(current()))

    askers = [threading.Thread(target=ask) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(seen) == 8
    assert len(set(seen)) == 1


def test_what_a_call_raises_reaches_its_caller(loop_thread: LoopThread) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        loop_thread.call(fail())


def test_it_can_be_called_where_a_loop_runs(loop_thread: LoopThread) -> None:
    async def main() -> threading.Thread:
        return loop_thread.call(current())

    assert asyncio.run(main()) is not threading.current_thread()


def test_it_refuses_to_wait_for_itself(loop_thread: LoopThread) -> None:
    async def inner() -> None:
        loop_thread.call(current())

    with pytest.raises(BusyError, match="await it"):
        loop_thread.call(inner())


def test_a_closed_one_serves_no_more(loop_thread: LoopThread) -> None:
    thread = loop_thread.call(current())
    loop_thread.close()
    loop_thread.close()
    assert not thread.is_alive()
    with pytest.raises(ClosedError):
        loop_thread.call(current())


def test_a_forgotten_one_ends_its_thread_and_its_clients_connections(
    server: FakeSiliconFlow, client: AsyncSiliconFlow
) -> None:
    loop_thread = LoopThread(client, owned=True)

    async def ask() -> threading.Thread:
        await client.models.list()
        return await current()

    thread = loop_thread.call(ask())
    assert server.connections.open == 1
    del loop_thread
    thread.join(10)
    assert not thread.is_alive()
    server.wait_disconnected()
    assert client.is_closed


def test_a_client_that_was_given_stays_open(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    loop_thread = LoopThread(client, owned=False)
    thread = loop_thread.call(current())
    loop_thread.close()
    assert not thread.is_alive()
    assert not client.is_closed
    asyncio.run(client.aclose())


def test_a_model_that_is_dropped_is_collected_with_all_it_has(
    server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow]
) -> None:
    model = ChatSiliconFlow(model="org/model", base_url=server.base_url, api_key="sk-test")
    model.invoke("hi")
    (thread,) = threads()
    client = weakref.ref(model._client)
    del model
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
    server.wait_disconnected()
    gc.collect()
    assert client() is None


def test_the_copies_of_a_model_share_its_loop_until_the_last_has_gone(server: FakeSiliconFlow) -> None:
    model = ChatSiliconFlow(model="org/model", base_url=server.base_url, api_key="sk-test")
    copies = [model.model_copy(), model.model_copy(deep=True)]
    model.invoke("hi")
    (thread,) = threads()
    del model
    while copies:
        gc.collect()
        assert copies[-1].invoke("hi").text
        assert threads() == [thread]
        copies.pop()
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_a_loop_of_its_own(server: FakeSiliconFlow) -> None:
    program = f"""
import os, sys
from siliconflow_async.integrations.langchain import ChatSiliconFlow

model = ChatSiliconFlow(model="org/model", base_url={server.base_url!r}, api_key="sk-test")
model.invoke("hi")
child = os.fork()
assert model.invoke("hi").text
if child == 0:
    model.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert model.invoke("hi").text
"""
    # Of a fork beside threads Python warns by itself.
    done = run(program, "-W", "ignore::DeprecationWarning")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(server.requests) == 4


def run(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_program_ends_without_a_word_though_it_closed_nothing(server: FakeSiliconFlow) -> None:
    program = f"""
from siliconflow_async.integrations.langchain import ChatSiliconFlow

model = ChatSiliconFlow(model="org/model", base_url={server.base_url!r}, api_key="sk-test")
assert model.invoke("hi").text
for piece in model.stream("hi"):
    break
stream = model.stream("hi")
next(stream)
"""
    done = run(program, "-X", "dev", "-W", "default")
    ours = [line for line in done.stderr.splitlines() if "langchain_core" not in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_while_waiting_leaves_the_service(server: FakeSiliconFlow) -> None:
    from siliconflow_async.testing import Stall

    server.raw([], before=[Stall()])
    program = f"""
from siliconflow_async.integrations.langchain import ChatSiliconFlow

model = ChatSiliconFlow(model="org/model", base_url={server.base_url!r}, api_key="sk-test")
try:
    model.invoke("hi")
except KeyboardInterrupt:
    print("left", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        server.wait_received(timeout=60)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        assert process.stdout.readline() == "left\n"
        # The program goes on, and the service is left all the same.
        server.wait_left_early()
        process.communicate("\n", timeout=60)
    assert process.returncode == 0
