"""Limits that clients share through a real Redis: each `RedisLimits` here is what a process would have.

What takes several processes, and minutes, is in `test_processes`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.asyncio

from siliconflow_async import (
    AsyncSiliconFlow,
    ChatCompletion,
    ConfigurationError,
    Limit,
    LimitsUnavailableError,
    RateLimitError,
)
from siliconflow_async.integrations.redis import RedisLimits, holdings
from siliconflow_async.testing import FakeSiliconFlow, Gate, Until

from ...asking import ASK
from ...programs import environment
from ...steady import steady
from .server import RedisServer, cluster

pytestmark = pytest.mark.anyio

MODEL = ASK["model"]
WINDOW = 0.5
SECRETS = ("the-very-key", "the very prompt", "the-password")


@asynccontextmanager
async def sharing(
    url: str,
    *,
    processes: int = 2,
    limit: Limit | None = None,
    kept: tuple[int | None, int | None] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[FakeSiliconFlow, list[AsyncSiliconFlow]]]:
    """A stand-in that keeps the limits, and a client for each process."""
    limit = limit or Limit(rpm=10, window=WINDOW)
    kept = kept or (limit.rpm, limit.tpm)
    async with FakeSiliconFlow(limits={MODEL: kept}, window=limit.window) as server:
        clients = [
            AsyncSiliconFlow(
                "the-very-key",
                base_url=server.base_url,
                limits=RedisLimits(url, limit, account="test", processes=processes, **options),
            )
            for _ in range(processes)
        ]
        try:
            yield server, clients
        finally:
            for client in clients:
                await client.aclose()


async def ask(client: AsyncSiliconFlow, times: int = 1, **params: Any) -> list[Any]:
    asked = [client.chat.completions.create(**{**ASK, "max_tokens": 2, **params}) for _ in range(times)]
    return await asyncio.gather(*asked)


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until something is so, of which nothing tells."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # see above
            await asyncio.sleep(0.01)


@steady
async def test_what_two_ask_together_stays_within_the_limits(redis_server: RedisServer) -> None:
    """`create`, streams, `map` and the rounds of tools wait for their turn; all are answered, none refused."""

    def weather(city: str) -> str:
        return f"sunny in {city}"

    async with sharing(redis_server.url) as (server, (one, other)):

        async def stream() -> str | None:
            async with one.chat.completions.stream(**ASK) as answer:
                done: ChatCompletion = await answer.completion()
                return done.content

        async def mapped() -> list[Any]:
            async with other.chat.completions.map([ASK] * 8) as results:
                return [result.error async for result in results]

        whole, streamed, errors, *tooled = await asyncio.gather(
            ask(one, 8), stream(), mapped(), other.chat.completions.run_tools(**ASK, tools=[weather]).completion()
        )
        assert len(whole) == 8
        assert streamed
        assert errors == [None] * 8
        assert tooled[0].content
        assert (server.meters[MODEL].refused, server.meters[MODEL].peak_requests) == (0, 10)
        assert one.limits[MODEL].rpm == other.limits[MODEL].rpm == 10


@steady
async def test_tokens_count_too(redis_server: RedisServer) -> None:
    """Those that were not used are another's."""
    limit = Limit(tpm=60, window=WINDOW)
    async with sharing(redis_server.url, limit=limit) as (server, (one, other)):
        await asyncio.gather(ask(one, 8), ask(other, 8))
        assert server.meters[MODEL].refused == 0
        assert server.meters[MODEL].peak_tokens >= 50


async def test_accounts_and_models_have_limits_of_their_own(redis_server: RedisServer) -> None:
    """Nobody waits for what another account or model uses, and a model that is not named has no limit."""
    given = {"org/a": Limit(rpm=1), "org/b": Limit(rpm=2)}
    limits = [RedisLimits(redis_server.url, given, account=account) for account in ("a", "b")]
    async with (
        FakeSiliconFlow() as server,
        AsyncSiliconFlow("k", base_url=server.base_url, limits=limits[0]) as one,
        AsyncSiliconFlow("k", base_url=server.base_url, limits=limits[1]) as other,
    ):
        async with asyncio.timeout(20):
            for client in (one, other):
                await asyncio.gather(ask(client, model="org/a"), ask(client, 2, model="org/b"))
            await ask(one, 5, model="org/c")
        with pytest.raises(TimeoutError):
            await ask(one, model="org/b", timeout=0.2)


@pytest.mark.parametrize("begun", [False, True], ids=["waiting", "under way"])
async def test_cancelled_calls_leave_nothing_behind(redis_server: RedisServer, begun: bool) -> None:
    """Three hundred of them; then another process has all that there is at once."""
    limit = Limit(rpm=400, tpm=100_000)
    gate = Gate()
    async with sharing(redis_server.url, limit=limit) as (server, (one, other)):
        if begun:
            server.raw([Until(gate)], times=300)
        else:
            await ask(other, 400)
        calls = [asyncio.ensure_future(ask(one)) for _ in range(300)]
        if begun:
            await server.received(300)
        else:
            await until(lambda: MODEL in one.limits and one.limits[MODEL].waiting == 300)
        for call in calls:
            call.cancel()
        assert all(
            isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*calls, return_exceptions=True)
        )
        with redis.Redis.from_url(redis_server.url) as client:

            def held() -> list[tuple[int, int, int, int]]:
                (found,) = holdings(client)
                return [(one.requests, one.tokens, one.running, one.waiting) for one in found.holdings]

            await until(lambda: set(held()) <= {(0, 0, 0, 0)})
            (found,) = holdings(client)
            assert found.requests == (300 if begun else 400)
        if begun:
            async with asyncio.timeout(20):
                await ask(other, 100)


async def test_one_probe_goes_first_after_a_refusal(redis_server: RedisServer) -> None:
    """Of whichever process: until it is answered, nobody else sends anything."""
    gate = Gate()
    async with sharing(redis_server.url, processes=4, limit=Limit(rpm=1000, window=WINDOW)) as (server, clients):
        await asyncio.gather(*(ask(client) for client in clients))
        server.reset()
        server.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.3"})
        # What lies free in processes at rest is given back first: it would be used without a question.
        with redis.Redis.from_url(redis_server.url) as client:
            await until(lambda: not any(one.requests for found in holdings(client) for one in found.holdings))
            refused = asyncio.ensure_future(ask(clients[0]))
            await until(lambda: any(found.pause for found in holdings(client)))
        server.reply("back", before=[Until(gate)])
        others = [asyncio.ensure_future(ask(client, 3)) for client in clients]
        await server.received(2)
        # No event says that nobody sends: it takes time to see it.
        await asyncio.sleep(0.3)
        assert len(server.requests) == 2
        gate.set()
        await asyncio.gather(refused, *others)
        assert len(server.requests) == 14


async def test_what_one_learns_the_others_know(redis_server: RedisServer) -> None:
    """One that begins later keeps to it from its first call on."""
    unknown = Limit(window=WINDOW)
    async with sharing(redis_server.url, limit=unknown, kept=(20, None)) as (_, (one, other)):
        async with one.chat.completions.map([ASK] * 30) as results:
            assert [result.error async for result in results] == [None] * 30
        learned = one.limits[MODEL]
        assert learned.learned
        async with other.chat.completions.map([ASK]) as results:
            assert [result.error async for result in results] == [None]
        known = other.limits[MODEL]
        assert known.learned
        assert known.rpm is not None
        assert 15 <= known.rpm <= 25


async def test_redis_away_from_the_beginning(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Each goes on with its share, and says so once; as Redis comes, they share again."""
    redis_server.stop(save=False)
    async with sharing(redis_server.url) as (server, (one, other)):
        await asyncio.gather(ask(one, 10), ask(other, 10))
        assert server.meters[MODEL].peak_requests <= 10
        warnings = [text for text in caplog.messages if f"127.0.0.1:{redis_server.port}" in text]
        assert len(warnings) == 2
        assert all("rpm=5" in warning for warning in warnings)
        redis_server.start()
        await ask(one, 10)
        await until(lambda: len(redis_server.ask("KEYS", "*")) > 0)
        await ask(one, 20)
        assert server.meters[MODEL].refused == 0


async def test_redis_away_in_the_midst_stops_calls_that_may_not_go_on_alone(redis_server: RedisServer) -> None:
    """With an error that names Redis; they go on as it comes back."""
    async with sharing(redis_server.url, on_loss="stop") as (server, (one, _)):
        await ask(one)
        redis_server.stop(save=False)
        with pytest.raises(LimitsUnavailableError, match=rf"127\.0\.0\.1:{redis_server.port}"):
            await ask(one, 20)
        redis_server.start()
        async with asyncio.timeout(20):
            while True:
                try:
                    await ask(one)
                except LimitsUnavailableError:
                    await asyncio.sleep(0.05)
                else:
                    break
        assert server.meters[MODEL].refused == 0


async def test_a_wrong_password_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And not told; the right one is told nobody."""
    with RedisServer(tmp_path / "redis", password="the-password") as server:
        for url in (f"redis://127.0.0.1:{server.port}/0", f"redis://:not-the-password@127.0.0.1:{server.port}/0"):
            async with sharing(url, processes=1) as (service, (client,)):
                with pytest.raises(ConfigurationError, match="password") as caught:
                    await ask(client)
                assert "not-the-password" not in str(caught.value)
                assert service.requests == []
        async with sharing(server.url, processes=1) as (_, (client,)):
            await ask(client)
    assert "the-password" not in caplog.text


async def test_a_replica_is_named(redis_server: RedisServer, tmp_path: Path) -> None:
    """It can only be read."""
    primary = f"127.0.0.1 {redis_server.port}"
    with RedisServer(tmp_path / "replica", "--replicaof", primary) as replica:
        async with sharing(replica.url, processes=1) as (service, (client,)):
            with pytest.raises(ConfigurationError, match="read-only replica"):
                await ask(client)
            assert service.requests == []


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/0", "127.0.0.1:6379", "redis://127.0.0.1:nonsense", "", 5],
)
def test_what_is_no_url_is_refused(url: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, and without a word of it."""
    monkeypatch.delenv("SILICONFLOW_REDIS_URL", raising=False)
    with pytest.raises(ConfigurationError):
        RedisLimits(url, Limit(rpm=1), account="test")


@pytest.mark.parametrize(
    "options", [{"account": ""}, {"account": 5}, {"on_loss": "wait"}, {"processes": 0}, {"processes": True}]
)
def test_each_option_is_checked_by_name(options: dict[str, Any]) -> None:
    """As a ConfigurationError."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RedisLimits("redis://127.0.0.1", Limit(rpm=1), **{"account": "test", **options})


async def test_no_secret_goes_to_redis_or_to_a_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither key nor prompt nor the account's name, and the password only to log in, in the very worst of times."""
    caplog.set_level(logging.DEBUG)
    ask_secretly: dict[str, Any] = {"messages": [{"role": "user", "content": "the very prompt"}]}
    with RedisServer(tmp_path / "redis", password="the-password") as server:
        async with sharing(server.url) as (service, (one, other)):
            limits = repr(one.with_options().limits), repr(RedisLimits(server.url, account="the-very-account"))
            with server.overheard() as heard:
                await asyncio.gather(ask(one, 5, **ask_secretly), ask(other, 5, **ask_secretly))
                service.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.1"})
                await ask(one, **ask_secretly)
                await until(lambda: b"siliconflow:" in heard.read_bytes())
            server.stop(save=False)
            await ask(one, 2, **ask_secretly)
        told = heard.read_text("utf-8", "replace")
    assert "siliconflow:" in told
    for secret in (*SECRETS, "the-very-account"):
        assert secret not in told
        assert secret not in "".join(limits)
        assert secret not in caplog.text


@pytest.mark.parametrize(
    "url", ["redis://:the-password@127.0.0.1:1/0", "redis://127.0.0.1:1/0?password=the-password"], ids=["user", "query"]
)
def test_a_pickled_one_carries_no_password(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other side takes it from its environment."""
    limits = RedisLimits(url, Limit(rpm=1), account="test", on_loss="stop")
    pickled = pickle.dumps(limits)
    assert b"the-password" not in pickled
    monkeypatch.setenv("SILICONFLOW_REDIS_URL", "redis://:the-password@127.0.0.1:2/0")
    again = pickle.loads(pickled)
    assert (again.limits, again.on_loss, again.account) == (limits.limits, "stop", "test")
    assert "127.0.0.1:2" in repr(again)


def test_two_loops_in_threads_share_one_client(redis_server: RedisServer) -> None:
    """Each with its calls, and the limit holds for both."""
    with FakeSiliconFlow(limits={MODEL: (10, None)}, window=WINDOW).threaded() as server:
        limits = RedisLimits(redis_server.url, Limit(rpm=10, window=WINDOW), account="test")
        client = AsyncSiliconFlow("k", base_url=server.base_url, limits=limits)
        answers: list[Any] = []

        async def work() -> None:
            answers.extend(await ask(client, 15))

        threads = [threading.Thread(target=asyncio.run, args=(work(),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(answers) == 30
        assert (server.meters[MODEL].refused, server.meters[MODEL].peak_requests) == (0, 10)


FORKING = """
import asyncio, os, sys
from siliconflow_async import AsyncSiliconFlow, Limit
from siliconflow_async.integrations.redis import RedisLimits

base_url, redis, model = sys.argv[1:]
limits = RedisLimits(redis, Limit(rpm=10, window=0.5), account="test")
client = AsyncSiliconFlow("k", base_url=base_url, limits=limits)
ask = dict(model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=2)

async def work(times):
    await asyncio.gather(*(client.chat.completions.create(**ask) for _ in range(times)))

asyncio.run(work(3))
child = os.fork()
asyncio.run(work(12))
if child:
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
else:
    os._exit(0)
"""


def test_parent_and_child_of_a_fork_share_the_limits(redis_server: RedisServer) -> None:
    """As any two processes: what was lent to the parent is not the child's too."""
    with FakeSiliconFlow(limits={MODEL: (10, None)}, window=WINDOW).threaded() as server:
        program = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING]
        subprocess.run([*program, server.base_url, redis_server.url, MODEL], env=environment(), check=True, timeout=60)
        assert len(server.requests) == 27
        assert (server.meters[MODEL].refused, server.meters[MODEL].peak_requests) == (0, 10)


def test_a_program_that_ends_gives_back_what_it_held(redis_server: RedisServer) -> None:
    """Also what was under way: that may have been used, and counts as such."""
    program = FORKING.partition("child = os.fork()")[0]
    with FakeSiliconFlow().threaded() as server:
        command = [sys.executable, "-c", program, server.base_url, redis_server.url, MODEL]
        subprocess.run(command, env=environment(), check=True, timeout=60)
        with redis.Redis.from_url(redis_server.url) as client:
            (found,) = holdings(client)
    assert found.holdings == []
    assert found.requests == 3


async def test_a_client_that_is_forgotten_leaves_no_thread(redis_server: RedisServer) -> None:
    """Once nothing is held, and nothing was used lately."""
    before = set(threading.enumerate())
    async with sharing(redis_server.url, processes=1, limit=Limit(rpm=10, window=0.2)) as (_, (client,)):
        await ask(client)
        assert "siliconflow-limits" in {thread.name for thread in threading.enumerate() if thread not in before}
    del client
    gc.collect()
    await until(lambda: before.issuperset(threading.enumerate()))


async def test_a_client_of_redis_is_borrowed(redis_server: RedisServer) -> None:
    """It is used, and never closed; an async one is refused by name."""
    with redis.Redis.from_url(redis_server.url) as client:
        async with FakeSiliconFlow() as server:
            limits = RedisLimits(client, Limit(rpm=10), account="test")
            async with AsyncSiliconFlow("k", base_url=server.base_url, limits=limits) as asker:
                await ask(asker, 3)
        assert client.ping()
    with pytest.raises(ConfigurationError, match="not async"):
        RedisLimits(redis.asyncio.Redis(), Limit(rpm=1), account="test")  # type: ignore[arg-type]


async def test_a_call_that_was_refused_by_the_hour_fails_at_once(redis_server: RedisServer) -> None:
    """Shared limits change nothing of that."""
    async with sharing(redis_server.url, processes=1) as (server, (client,)):
        server.fail(429, {"code": 20042, "message": "RPD limit reached"})
        with pytest.raises(RateLimitError):
            await ask(client)
        async with asyncio.timeout(5):
            await ask(client)


@pytest.mark.skipif(os.environ.get("SILICONFLOW_REDIS") != "require", reason="takes seconds: SILICONFLOW_REDIS=require")
async def test_a_cluster_is_found_out(tmp_path: Path, redis_server: RedisServer) -> None:
    """By whichever of its nodes is named."""
    with cluster(tmp_path / "cluster") as nodes:
        for node in nodes:
            async with sharing(node.url) as (server, (one, other)):
                await asyncio.gather(ask(one, 8), ask(other, 8))
                assert server.meters[MODEL].refused == 0
