"""Loops, threads, forks and pickles: a client goes wherever Python takes it, and shares no socket with its twin."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import multiprocessing
import os
import pickle
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trustme

import siliconflow_async
from siliconflow_async import (
    AsyncSiliconFlow,
    ClosedError,
    ErrorEvent,
    Limit,
    MapFailed,
    MapResult,
    RetryPolicy,
    Seam,
    SiliconFlowError,
    Timeouts,
    ToolResult,
    image,
)
from siliconflow_async.testing import FakeSiliconFlow, Gate, Stall, Until

from ..asking import ASK, DONE, NO_WAIT, chunk, served

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PYTHON = [sys.executable, "-X", "dev", "-W", "error", "-c"]
PUBLIC = {name: getattr(siliconflow_async, name) for name in siliconflow_async.__all__}
ERRORS = [name for name, value in PUBLIC.items() if inspect.isclass(value) and issubclass(value, Exception)]
WAYS: list[Callable[[Any], Any]] = [lambda value: pickle.loads(pickle.dumps(value)), copy.copy, copy.deepcopy]
EVERY_WAY = pytest.mark.parametrize("again", WAYS, ids=["pickle", "copy", "deepcopy"])


def test_threads_share_one_client_each_with_its_loop() -> None:
    """Forty streams are open at once in four threads' loops; every one is whole, and no socket outlives its loop."""
    gate, begin = Gate(), threading.Barrier(4)
    with FakeSiliconFlow().threaded() as server:
        server.raw([chunk("a"), Until(gate), chunk("b", finish="stop"), DONE], times=None)
        client = AsyncSiliconFlow("k", base_url=server.base_url)

        async def read() -> str | None:
            async with client.chat.completions.stream(**ASK) as stream:
                return (await stream.completion()).content

        async def read_ten() -> list[str | None]:
            return await asyncio.gather(*(read() for _ in range(10)))

        def rounds() -> list[str | None]:
            begin.wait()
            return [text for _ in range(5) for text in asyncio.run(read_ten(), debug=True)]

        with ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(rounds) for _ in range(4)]
            server.wait_received(40)
            gate.set()
            assert [run.result() for run in runs] == [["ab"] * 50] * 4
        server.wait_disconnected()


@pytest.mark.anyio
async def test_closing_the_client_wakes_every_waiting_reader() -> None:
    """Ten readers in ten tasks each get a ClosedError, and the loop has nothing to complain of."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()], times=None)
        streams = [await client.chat.completions.create(stream=True, **ASK) for _ in range(10)]
        for stream in streams:
            await anext(stream)
        readers = [asyncio.ensure_future(anext(stream)) for stream in streams]
        await asyncio.sleep(0)
        await client.aclose()
        ends = await asyncio.gather(*readers, return_exceptions=True)
        assert [type(end) for end in ends] == [ClosedError] * 10
        assert all(end.__cause__ is None for end in ends if isinstance(end, ClosedError))
        assert [stream.ended for stream in streams] == ["closed"] * 10
        assert [stream.partial.content for stream in streams] == ["a"] * 10
        await server.left_early(10)
        del streams, readers, ends
        gc.collect()


FORKING = """
import asyncio, gc, os, ssl, sys
import aiohttp
from siliconflow_async import AsyncSiliconFlow

where, way, base_url, authority = sys.argv[1:]
context = ssl.create_default_context(cafile=authority) if authority else None
params = {"model": "stand-in/model", "messages": [{"role": "user", "content": "hi"}], "timeout": 2}
parent = os.getpid()
loop = asyncio.new_event_loop()
loop.slow_callback_duration = 60
stream = session = None

async def borrow():
    return aiohttp.ClientSession()

if "borrowed" in way:
    session = loop.run_until_complete(borrow())
client = AsyncSiliconFlow("k", base_url=base_url, ssl=context, max_retries=0, session=session)

def ask(**more):
    who = {"X-Who": "parent" if os.getpid() == parent else "child"}
    return client.chat.completions.create(**params, **more, extra_headers=who)

def act():
    global client, stream
    if "asks" in way:
        asyncio.run(ask())
    if "closes the stream" in way:
        asyncio.run(stream.aclose())
    if "drops the stream" in way:
        del stream
    if "drops the client" in way:
        del client
    gc.collect()
    if "exits" in way:
        sys.exit()
    os._exit(0)

def fork():
    child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    # The child warns of the loop that it inherited and never closes.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        act()
    except Exception:
        os._exit(1)

async def fork_inside():
    fork()

loop.run_until_complete(ask())
if "stream" in way:
    stream = loop.run_until_complete(ask(stream=True))
    loop.run_until_complete(stream.__anext__())
if where == "in a task":
    loop.run_until_complete(fork_inside())
elif where == "in a callback":
    loop.call_soon(fork)
    loop.run_until_complete(asyncio.sleep(0))
else:
    fork()
print("forked", flush=True)
if stream is not None:
    print(loop.run_until_complete(stream.completion()).content)
loop.run_until_complete(ask())
loop.run_until_complete(client.aclose())
if session is not None:
    loop.run_until_complete(session.close())
loop.close()
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS, and the file of the authority that a client has to trust."""
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trusted.issue_cert("127.0.0.1").configure_cert(context)
    return context, path


# There a task's step that ends in a forked child finds no running loop, for which it raises a RuntimeError in the place
# of SystemExit; the child goes on in its copy of the loop. This alone shows it, and ends on 3.13:
#     async def main(): os.fork() or sys.exit()
NO_EXIT_OF_A_FORKED_TASK = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="CPython 3.14: a child that is forked in a task can not exit by SystemExit"
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    ("where", "tls", "way"),
    [
        ("outside", True, "asks"),
        ("outside", False, "exits"),
        ("outside", True, "exits"),
        ("outside", True, "asks and exits"),
        ("outside", True, "drops the client"),
        ("outside", True, "drops the stream"),
        ("outside", False, "closes the stream"),
        ("outside", False, "closes the stream of a borrowed session"),
        ("outside", False, "drops the stream of a borrowed session"),
        ("outside", False, "closes the stream and drops the stream"),
        ("outside", True, "closes the stream and drops the stream"),
        ("outside", False, "asks, drops the stream, drops the client and exits"),
        ("in a task", False, "asks"),
        ("in a task", False, "drops the stream"),
        pytest.param("in a task", True, "asks and exits", marks=NO_EXIT_OF_A_FORKED_TASK),
        ("in a callback", True, "asks and exits"),
    ],
)
def test_a_forked_child_shares_no_socket(
    where: str, tls: bool, way: str, authority: tuple[ssl.SSLContext, Path]
) -> None:
    """Whatever the child does, the parent's stream and its kept-alive connection go on; the child makes its own."""
    if way == "exits" and os.environ.get("SILICONFLOW_TEST_LOOP") == "uvloop":
        pytest.skip("uvloop 0.23 crashes by itself in a forked child that exits while its parent has a connection open")
    gate = Gate()
    # In a process of its own: a fork wants one thread, and its warnings are errors.
    with FakeSiliconFlow(ssl=authority[0] if tls else None).threaded() as server:
        server.reply("one")
        if "stream" in way:
            server.raw([chunk("a"), Until(gate), chunk("b"), chunk("c", finish="stop"), DONE])
        command = [*PYTHON, FORKING, where, way, server.base_url, str(authority[1]) if tls else ""]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "forked\n"
            gate.set()
            out, err = process.communicate(timeout=20)
        assert err == ""
        assert process.returncode == 0
        assert out == ("abc\n" if "stream" in way else "")
        used: dict[str, set[int]] = {"parent": set(), "child": set()}
        for request in server.requests:
            used[request.headers["X-Who"]].add(request.connection)
        assert len(used["parent"]) == 1
        assert len(used["child"]) == ("asks" in way)
        assert used["parent"].isdisjoint(used["child"])


PICKLED = """
import asyncio, pickle, sys

async def main(client):
    async with client:
        asyncio.get_running_loop().slow_callback_duration = 60
        message = {"role": "user", "content": "hi"}
        print((await client.chat.completions.create(model="stand-in/model", messages=[message])).content)

asyncio.run(main(pickle.load(sys.stdin.buffer)))
"""


def test_a_pickled_client_works_in_another_process() -> None:
    """Its settings travel; its key does not, and is the other process's own."""
    with FakeSiliconFlow().threaded() as server:
        server.reply("there")
        client = AsyncSiliconFlow("the-key-of-here", base_url=server.base_url, headers={"X-Team": "a"})
        ran = subprocess.run(
            [*PYTHON, PICKLED],
            input=pickle.dumps(client),
            env={**os.environ, "SILICONFLOW_API_KEY": "the-key-of-there"},
            capture_output=True,
            check=False,
        )
        assert (ran.stdout, ran.stderr, ran.returncode) == (b"there\n", b"", 0)
        (request,) = server.requests
        assert request.headers["Authorization"] == "Bearer the-key-of-there"
        assert request.headers["X-Team"] == "a"


def test_errors_cross_a_process_pool() -> None:
    """Each of our exceptions that a worker raises arrives as it was, with its fields, words and notes."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        for name in ERRORS:
            made = f"import siliconflow_async\nerror = siliconflow_async.{name}('words')\nerror.attempts = 3\n"
            made += "error.add_note('a note')\n"
            if issubclass(PUBLIC[name], siliconflow_async.StreamError):
                made += "error.partial = siliconflow_async.ChatCompletion(id='x')\n"
            here: dict[str, Any] = {}
            exec(made, here)
            there = pool.submit(exec, made + "raise error\n").exception()
            assert type(there) is PUBLIC[name]
            assert (str(there), vars(there)) == (str(here["error"]), vars(here["error"]))


def met(value: Any, seen: dict[type, Any]) -> None:
    """Note an instance of every class within."""
    if isinstance(value, msgspec.Struct):
        seen[type(value)] = value
        for name in dir(type(value)):
            if not name.startswith("_") and not callable(getattr(type(value), name)):
                met(getattr(value, name), seen)
    elif isinstance(value, list | tuple):
        for item in value:
            met(item, seen)


class Calls:
    """An observer that keeps what it is told at the end of each call."""

    def __init__(self) -> None:
        self.ended_as: list[siliconflow_async.CallState] = []

    def ended(self, state: siliconflow_async.CallState) -> None:
        self.ended_as.append(state)


@pytest.mark.anyio
@EVERY_WAY
async def test_every_public_object_survives(again: Callable[[Any], Any]) -> None:
    """Answers, chunks, events and settings as a service gives them: pickled or copied, they are the same."""
    seen: dict[type, Any] = {}
    tool = {"name": "f", "arguments": {"a": 1}}
    details = {"completion_tokens_details": {"reasoning_tokens": 1}, "prompt_tokens_details": {"cached_tokens": 1}}
    calls = Calls()
    async with served(observers=[calls]) as (server, client):
        for _ in range(3):
            usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, **details}
            server.reply("Hi.", "Well.", [tool], usage=usage)
        met(await client.chat.completions.create(**ASK), seen)
        async with client.chat.completions.stream(**ASK) as stream:
            met([item async for item in stream], seen)
            met(await stream.completion(), seen)
        async with client.chat.completions.stream(**ASK) as stream:
            met([event async for event in stream.events()], seen)
        server.reply('{"max_attempts": 2}')
        met(await client.chat.completions.create(**ASK, response_format=RetryPolicy), seen)
        met(await client.models.list(), seen)
        watched: list[Any] = []
        async with client.chat.completions.map(
            [ASK], on_event=lambda item, event: watched.append(item), on_progress=watched.append
        ) as results:
            met([result async for result in results], seen)
        server.fail(400)
        async with client.chat.completions.map([ASK]) as results:
            (failed,) = [result async for result in results]
        met([*watched, client.limits[ASK["model"]], Limit(rpm=5), client.connections], seen)
    seam = Seam(index=0, attempt=1, error="TruncatedStreamError", message="no", at=5)
    made = [RetryPolicy(base=1.0), Timeouts(idle=3), ErrorEvent(index=0, error="StreamError", message="no"), seam]
    met([*made, ToolResult(0, 0, "1", "f", "no", is_error=True), image("cat.jpg", detail="low")], seen)
    # Without the error, since an exception is equal to itself alone.
    result: dict[str, Any] = dict.fromkeys(MapResult.__struct_fields__)
    met([MapResult(**result), MapFailed(**result)], seen)
    structs = {value for value in PUBLIC.values() if inspect.isclass(value) and issubclass(value, msgspec.Struct)}
    # The state of a call or a run equals itself alone.
    assert structs - seen.keys() == {siliconflow_async.CallState, siliconflow_async.RunState}
    assert type(again(failed)) is type(failed) is MapFailed
    assert repr(again(failed)) == repr(failed)
    for value in seen.values():
        assert again(value) == value
        assert repr(again(value)) == repr(value)
    assert calls.ended_as
    for state in calls.ended_as:
        assert repr(again(state)) == repr(state)


@EVERY_WAY
@pytest.mark.parametrize("name", ERRORS)
def test_every_error_survives(name: str, again: Callable[[Any], Any]) -> None:
    """Raised, with a cause and a note, and then pickled or copied: class, words and fields are the same."""
    error = PUBLIC[name]("words")
    error.attempts = 2
    error.add_note("a note")
    with pytest.raises(SiliconFlowError):
        raise error from OSError("underneath")
    twin = again(error)
    assert (type(twin), str(twin), vars(twin)) == (type(error), str(error), vars(error))


@pytest.mark.anyio
@EVERY_WAY
async def test_an_open_stream_can_not_be_copied(again: Callable[[Any], Any]) -> None:
    """It is one connection: a TypeError names the class, and the stream goes on."""
    gate = asyncio.Event()
    async with served(retry=NO_WAIT) as (server, client):
        server.raw([chunk("a"), Until(gate), chunk("b", finish="stop"), DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            for view in (stream, stream.text(), stream.events()):
                with pytest.raises(TypeError, match=type(view).__name__):
                    again(view)
                gc.collect()
            gate.set()
            assert (await stream.completion()).content == "ab"
