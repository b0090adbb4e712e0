"""Calls that never reach the service: what this machine lacks, what the budget refuses, and how each error says so."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from siliconflow_async import (
    APIConnectionError,
    APITimeoutError,
    AsyncSiliconFlow,
    OverloadedError,
    RetryPolicy,
    Timeouts,
)
from siliconflow_async.testing import FakeSiliconFlow

from ..asking import ASK, NO_WAIT, served
from ..programs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

OUT_OF_FILES = """
import asyncio, logging, os, resource, sys
from siliconflow_async import AsyncSiliconFlow, RetryPolicy

CALLS = 20

class Free(logging.Handler):
    seen = 0

    def emit(self, record):
        self.seen += 1
        assert "APIConnectionError" in record.getMessage(), record.getMessage()
        if self.seen == 2 * CALLS:
            while files:
                os.close(files.pop())

async def main():
    retry = RetryPolicy(base=0)
    async with AsyncSiliconFlow("k", base_url=sys.argv[1], retry=retry) as client:
        try:
            while True:
                files.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        ask = dict(model="stand-in/model", messages=[{"role": "user", "content": "hi"}])
        answers = await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(CALLS)))
    assert {answer.timing.attempts for answer in answers} == {3}, [answer.timing for answer in answers]

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
logging.getLogger("siliconflow_async").addHandler(Free())
asyncio.run(main())
"""


def test_calls_outlive_a_time_without_files() -> None:
    """Twenty calls that twice find no file left draw nothing from the budget, and are answered once there are some."""
    with FakeSiliconFlow().threaded() as server:
        program = [sys.executable, "-W", "error", "-c", OUT_OF_FILES, server.base_url]
        done = subprocess.run(program, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert len(server.requests) == 20


class Names(AbstractResolver):
    """Finds 127.0.0.1 for each name, after so many failures."""

    def __init__(self, failures: int, number: int = socket.EAI_AGAIN) -> None:
        self.failures = failures
        self.number = number

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        if self.failures:
            self.failures -= 1
            raise socket.gaierror(self.number, "Temporary failure in name resolution")
        return [
            ResolveResult(
                hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
        ]

    async def close(self) -> None:
        pass


async def test_names_that_are_not_found_for_a_while_draw_nothing() -> None:
    """Twenty calls whose look-ups fail for a time, in a row, are all answered: far more than the budget has."""
    names = Names(0)
    async with (
        FakeSiliconFlow() as server,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=names, use_dns_cache=False, force_close=True)
        ) as session,
    ):
        base_url = server.base_url.replace("127.0.0.1", "localhost")
        async with AsyncSiliconFlow("k", base_url=base_url, session=session, retry=NO_WAIT) as client:
            for _ in range(20):
                names.failures = 4
                done = await client.chat.completions.create(**ASK)
                assert done.timing.attempts == 5


async def test_a_name_that_is_not_there_draws_on_the_budget() -> None:
    """Only a temporary failure of names is this machine's own."""
    names = Names(1000, socket.EAI_NONAME)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=names, use_dns_cache=False)) as session,
        AsyncSiliconFlow("k", base_url="http://localhost:9", session=session, retry=NO_WAIT) as client,
    ):
        for attempts in (5, 5, 3, 1):
            with pytest.raises(APIConnectionError) as caught:
                await client.chat.completions.create(**ASK)
            assert (caught.value.attempts, caught.value.stage) == (attempts, "connect")
            assert caught.value.budget_spent == (attempts < 5)


async def test_a_machine_without_a_port_says_that_it_is_its_own_trouble() -> None:
    """Each call has its five attempts, also when the budget is long spent; without retries it has one."""
    connector = aiohttp.TCPConnector(local_addr=("192.0.2.1", 0))
    async with (
        FakeSiliconFlow() as server,
        aiohttp.ClientSession(connector=connector) as session,
        AsyncSiliconFlow("k", base_url=server.base_url, session=session, retry=NO_WAIT) as client,
    ):
        for _ in range(20):
            with pytest.raises(APIConnectionError) as caught:
                await client.chat.completions.create(**ASK)
            assert (caught.value.attempts, caught.value.stage) == (5, "local")
            assert not caught.value.budget_spent
        assert isinstance(caught.value.__cause__, OSError)
        assert caught.value.__cause__.errno == errno.EADDRNOTAVAIL
        with pytest.raises(APIConnectionError) as caught:
            await client.with_options(max_retries=0).chat.completions.create(**ASK)
        assert caught.value.attempts == 1
        assert server.requests == []


@pytest.fixture
def full_backlog() -> Iterator[str]:
    """The base URL of a listener that accepts nobody, and whose queue is full: what more comes is not answered."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_errors_that_the_budget_refused_to_repeat_say_so(full_backlog: str) -> None:
    """Of twenty calls at a full backlog the budget lets ten be repeated at once, and every last error tells why."""
    async with AsyncSiliconFlow("k", base_url=full_backlog, retry=NO_WAIT, timeouts=Timeouts(connect=0.05)) as client:
        calls = (client.chat.completions.create(**ASK) for _ in range(20))
        errors = await asyncio.gather(*calls, return_exceptions=True)
    attempts = []
    for error in errors:
        assert isinstance(error, APITimeoutError)
        assert (error.clock, error.stage) == ("connect", "connect")
        attempts.append(error.attempts)
        assert error.budget_spent == (error.attempts < 5)
        said = "the connect limit of 0.05 s ran out (not repeated: the client's retry budget is spent)"
        assert (str(error) == said) == error.budget_spent
    assert sum(attempts) == 30


async def test_an_answer_that_the_budget_refused_to_repeat_says_so_too() -> None:
    """A 503 keeps the service's words, and tells beside them that the budget was spent."""
    async with served(retry=RetryPolicy(base=0, budget=0)) as (server, client):
        server.fail(503, {"code": 50505, "message": "busy"}, times=None)
        seen = []
        for _ in range(5):
            with pytest.raises(OverloadedError) as caught:
                await client.chat.completions.create(**ASK)
            seen.append((caught.value.attempts, caught.value.budget_spent, caught.value.message))
        assert seen == [(4, False, "busy")] * 3 + [(2, True, "busy"), (1, True, "busy")]
        assert "(not repeated: the client's retry budget is spent)" in str(caught.value)


async def test_calls_beyond_the_budget_come_back_with_the_service() -> None:
    """A service that was away for a moment: of sixty calls some find it again, the others follow, and none fails."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = b'{"choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}'
        await reader.readuntil(b"}]}")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    class Back(logging.Handler):
        """Lets the service come back once a retry has missed it."""

        def emit(self, record: logging.LogRecord) -> None:
            if record.args and record.args[0] == 2:
                missed.set()

    missed, log = asyncio.Event(), logging.getLogger("siliconflow_async")
    log.addHandler(handler := Back())
    try:
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            base_url = f"http://127.0.0.1:{port.getsockname()[1]}"
            async with AsyncSiliconFlow("k", base_url=base_url, retry=RetryPolicy(base=0.2)) as client:
                calls = asyncio.gather(*(client.chat.completions.create(**ASK) for _ in range(60)))
                await missed.wait()
                port.listen(1024)
                async with await asyncio.start_server(answer, sock=port.dup()):
                    assert {done.content for done in await calls} == {"x"}
    finally:
        log.removeHandler(handler)


async def test_a_service_that_stays_away_is_asked_no_more_for_the_waiting() -> None:
    """Sixty calls make as many requests more as the budget has, ten, and each error says whether it was that."""
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{port.getsockname()[1]}"
        async with AsyncSiliconFlow("k", base_url=base_url, retry=RetryPolicy(base=0.05)) as client:
            calls = (client.chat.completions.create(**ASK) for _ in range(60))
            errors = await asyncio.gather(*calls, return_exceptions=True)
    assert all(type(error) is APIConnectionError for error in errors)
    assert 60 < sum(error.attempts for error in errors if isinstance(error, APIConnectionError)) <= 70
    assert any(error.budget_spent for error in errors if isinstance(error, APIConnectionError))


async def test_a_service_that_refuses_is_not_waited_for() -> None:
    """With the budget spent a 503 is raised at once, after no wait of its policy."""
    async with served(retry=RetryPolicy(base=400, cap=400, budget=0)) as (server, client):
        quick = client.with_options(retry=RetryPolicy(base=0, budget=0))
        server.fail(503, times=None)
        for _ in range(4):
            with pytest.raises(OverloadedError):
                await quick.chat.completions.create(**ASK)
        with pytest.raises(OverloadedError) as caught:
            await client.chat.completions.create(**ASK)
        assert (caught.value.attempts, caught.value.budget_spent) == (1, True)
