from __future__ import annotations

import asyncio
import http.client
import json
import threading
import urllib.request

import aiohttp
import pytest

from siliconflow_async.testing import FakeSiliconFlow, Gate, Stall, Until

pytestmark = pytest.mark.anyio


def ask(server: FakeSiliconFlow) -> object:
    body = json.dumps({"model": "org/m", "messages": [{"role": "user", "content": "Hi"}]}).encode()
    headers = {"authorization": "Bearer key", "content-type": "application/json"}
    request = urllib.request.Request(f"{server.base_url}/chat/completions", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["choices"][0]["message"]["content"]


def test_it_serves_a_caller_without_a_loop() -> None:
    before = threading.active_count()
    with FakeSiliconFlow().threaded() as server:
        server.reply("from a thread")
        assert ask(server) == "from a thread"
        assert "You said" in str(ask(server))
        assert server.wait_received(2).path == "/v1/chat/completions"
        server.wait_disconnected()
    assert threading.active_count() == before


def test_many_threads_may_script_and_ask() -> None:
    with FakeSiliconFlow().threaded() as server:
        answers: list[object] = []

        def work() -> None:
            server.reply("a", times=5)
            answers.extend(ask(server) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == ["a"] * 20
        assert server.script == []


async def test_its_waits_serve_another_loop(session: aiohttp.ClientSession) -> None:
    with FakeSiliconFlow().threaded() as server:
        gate = Gate()
        server.raw([b"x", Until(gate), b"y", Stall()])
        response = await session.post(server.base_url)
        assert (await server.received()).connection == 1
        assert await response.content.readany() == b"x"
        gate.set()
        assert await response.content.readany() == b"y"
        response.close()
        assert (await server.left_early()).left_early
        assert await asyncio.to_thread(server.wait_left_early) is server.requests[0]


def test_it_ends_while_an_answer_is_stalled() -> None:
    with FakeSiliconFlow().threaded() as server:
        server.raw([Stall()])
        failed = threading.Event()

        def wait_for_answer() -> None:
            try:
                ask(server)
            except (http.client.HTTPException, OSError):
                failed.set()

        thread = threading.Thread(target=wait_for_answer)
        thread.start()
        server.wait_received()
    thread.join()
    assert failed.is_set()


def test_what_the_start_raises_is_raised() -> None:
    with FakeSiliconFlow().threaded() as server:
        port = int(server.base_url.removesuffix("/v1").rpartition(":")[2])
        with pytest.raises(OSError, match="in use"), FakeSiliconFlow(port=port).threaded():
            pytest.fail("must not start")
