"""A client that is closed ends what is under way, at once, whatever it is waiting for; so a signal can end a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from siliconflow_async import AsyncSiliconFlow, ClosedError, Limit, RetryPolicy
from siliconflow_async.testing import FakeSiliconFlow, Stall
from siliconflow_async.wire.sse import SSEDecoder

from ..asking import ASK, chunk, served
from ..programs import environment
from ..relay.apps import listening
from ..test_readme import PYTHON, Block

pytestmark = pytest.mark.anyio


async def whole(client: AsyncSiliconFlow) -> None:
    await client.chat.completions.create(**ASK)


async def stream(client: AsyncSiliconFlow) -> None:
    async with client.chat.completions.stream(**ASK) as opened:
        await opened.completion()


async def headers(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    """Nothing of the answer has come."""
    server.raw([], before=[Stall()], times=None)


async def body(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    """The headers have."""
    server.raw([b"{", Stall()], times=None)


async def another_try(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    """The service asked for patience."""
    server.fail(503, headers={"Retry-After": "50"}, times=None)


async def its_turn(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    """The minute's one request was made."""
    await client.chat.completions.create(**ASK)


async def a_connection(server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
    """The one that there may be is in use."""
    server.raw([chunk("a"), Stall()])
    opened.append(await client.chat.completions.create(**ASK, stream=True))


# Streams that have to be held for as long as a test runs.
opened: list[Any] = []
WAITS: list[tuple[Any, dict[str, Any]]] = [
    (headers, {}),
    (body, {}),
    (another_try, {"retry": RetryPolicy(base=50)}),
    (its_turn, {"limits": Limit(rpm=1)}),
    (a_connection, {"max_connections": 1}),
]


async def by_aclose(client: AsyncSiliconFlow) -> None:
    await client.aclose()


async def by_abort(client: AsyncSiliconFlow) -> None:
    client.abort()


async def by_another_thread(client: AsyncSiliconFlow) -> None:
    threading.Thread(target=client.abort).start()


async def by_another_loop(client: AsyncSiliconFlow) -> None:
    await asyncio.to_thread(lambda: asyncio.run(client.aclose()))


@pytest.mark.parametrize("close", [by_aclose, by_abort, by_another_thread, by_another_loop])
@pytest.mark.parametrize("call", [whole, stream])
@pytest.mark.parametrize(("wait", "options"), WAITS, ids=[wait.__name__ for wait, _ in WAITS])
async def test_closing_ends_a_call_whatever_it_waits_for(
    wait: Callable[..., Awaitable[None]],
    options: dict[str, Any],
    call: Callable[[AsyncSiliconFlow], Awaitable[None]],
    close: Callable[[AsyncSiliconFlow], Awaitable[None]],
) -> None:
    """With a ClosedError, and long before its wait would end; the call's task is as it was."""
    async with served(**options) as (server, client):
        await wait(server, client)
        waiting = asyncio.ensure_future(ends(call, client))
        if wait in (headers, body, another_try):
            await server.received()
        # Whatever a call does before it waits takes a few turns.
        for _ in range(20):
            await asyncio.sleep(0)
        assert not waiting.done()
        await close(client)
        async with asyncio.timeout(5):
            assert await waiting == 0
        opened.clear()


async def ends(call: Callable[[AsyncSiliconFlow], Awaitable[None]], client: AsyncSiliconFlow) -> int:
    with pytest.raises(ClosedError):
        await call(client)
    # A cancellation that was left over would come now.
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_closing_ends_a_list_of_models() -> None:
    """It is a call as any other."""
    sock, address = listening()
    sock.setblocking(False)
    async with AsyncSiliconFlow("k", base_url=f"http://{address}") as client:
        waiting = asyncio.ensure_future(client.models.list())
        with sock, (await asyncio.get_running_loop().sock_accept(sock))[0]:
            client.abort()
            with pytest.raises(ClosedError):
                await waiting


async def test_a_cancellation_in_the_turn_of_the_closing_is_one() -> None:
    """The caller's own is not taken for that of the client."""
    async with served() as (server, client):
        server.raw([], before=[Stall()])
        waiting = asyncio.ensure_future(whole(client))
        await server.received()
        waiting.cancel()
        await client.aclose()
        with pytest.raises(asyncio.CancelledError):
            await waiting


def program(word: str, path: Path) -> None:
    """Write the manual's program that has a word in it, of those that are told to stop."""
    (block,) = (block for block in PYTHON if word in block.code and "signal.SIGTERM" in block.code)
    assert isinstance(block, Block)
    path.write_text(block.code, encoding="utf-8")


def of_the_readme(server: FakeSiliconFlow) -> dict[str, str]:
    variables = {"SILICONFLOW_BASE_URL": server.base_url, "SILICONFLOW_API_KEY": "k", "NO_PROXY": "127.0.0.1"}
    return environment() | variables | {"PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
async def test_a_server_that_is_told_to_stop_ends_its_streams(tmp_path: Path) -> None:
    """One whose client has read something, and one whose model is still silent; both are told, and the server ends."""
    program("lifespan=lifespan", tmp_path / "program.py")
    sock, address = listening()
    sock.set_inheritable(True)
    async with FakeSiliconFlow() as server, aiohttp.ClientSession(f"http://{address}/") as session:
        server.raw([chunk("a"), Stall()])
        server.raw([], before=[Stall()])
        arguments = ["program:app", "--fd", str(sock.fileno()), "--log-level", "warning"]
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "uvicorn", *arguments),
            env=of_the_readme(server),
            cwd=tmp_path,
            pass_fds=[sock.fileno()],
            stderr=asyncio.subprocess.PIPE,
        )
        sock.close()
        try:
            async with asyncio.timeout(60):
                # One after the other, or the service may be asked for the second first.
                async with session.get("chat?question=Why") as first:
                    await first.content.readuntil(b"content_delta")
                    async with session.get("chat?question=When") as second:
                        await server.received(2)
                        process.send_signal(signal.SIGTERM)
                        for response in (first, second):
                            *_, last = SSEDecoder(2**20).feed(await response.read())
                            told = json.loads(last.data)
                            assert (told["type"], told["error"]) == ("error", "ClosedError")
                _, said = await process.communicate()
                assert (process.returncode, said) == (-signal.SIGTERM, b"")
                await server.left_early(2)
        finally:
            if process.returncode is None:
                process.kill()


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_a_program_that_is_told_to_stop_ends_its_stream(tmp_path: Path) -> None:
    """What had arrived is there, and the program goes on to its end."""
    program("[stopped]", tmp_path / "program.py")
    with FakeSiliconFlow().threaded() as server:
        server.raw([chunk("Rayl"), Stall()])
        with subprocess.Popen(
            [sys.executable, "program.py"],
            env=of_the_readme(server),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.read(4) == b"Rayl"
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=30) == (b" [stopped]\n", b"")
        assert process.returncode == 0
        server.wait_left_early()
