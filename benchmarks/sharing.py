"""What limits cost that processes share through Redis, and what they are worth: `python -m benchmarks.sharing`.

It needs `redis-server`, and measures those beside this library that are installed: token-throttle, around this
library's calls, and litellm's router, which makes its own (its tokens and requests are counted by the minute of the
clock, and it raises an error where there is no room, which is tried again a little later here).

What it costs: CPU per request of the process that asks, one at a time and ten at a time, and the median seconds of a
request, beyond those of the same client without limits. `blocks` is a limit so high that a process is lent some of
it for calls to come, `single` one so low that each call has to ask; neither makes a call wait.

What it is worth: three processes with as much to ask as five windows take, and the stand-in as judge: how many requests
it refused, the most that a window held, and the time beside the ideal, which is the first window's worth at once and
then one as each further window has passed. Every answer is counted, and one that is missing is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias

from siliconflow_async import AsyncSiliconFlow, Limit, RateLimitError
from siliconflow_async.testing import FakeSiliconFlow

from .children import Child, ready
from .fixtures import MESSAGES, MODEL
from .server import Server

Ask: TypeAlias = Callable[[], Awaitable[object]]

_PROCESSES = 3
_AT_ONCE = 10
_WINDOWS = 5
# What a call is taken to use, and does where the stand-in answers.
_TOKENS = 8
_HIGH = 10_000_000
# Fewer than two calls for each process may lie free: each call asks. So short a window has room for all the same.
_SINGLE = {"rpm": 99, "window": 0.02}


# Ways to ask


@asynccontextmanager
async def _bare(url: str, server: str, limit: dict[str, Any]) -> AsyncIterator[Ask]:
    async with AsyncSiliconFlow("key", base_url=url) as client:
        yield lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=_TOKENS)


@asynccontextmanager
async def _own(url: str, server: str, limit: dict[str, Any]) -> AsyncIterator[Ask]:
    async with AsyncSiliconFlow("key", base_url=url, limits=Limit(**limit)) as client:
        yield lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=_TOKENS)


@asynccontextmanager
async def _shared(url: str, server: str, limit: dict[str, Any]) -> AsyncIterator[Ask]:
    from siliconflow_async.integrations.redis import RedisLimits

    limits = RedisLimits(server, Limit(**limit), account="benchmark")
    async with AsyncSiliconFlow("key", base_url=url, limits=limits) as client:
        yield lambda: client.chat.completions.create(model=MODEL, messages=MESSAGES, max_tokens=_TOKENS)


@asynccontextmanager
async def _token_throttle(url: str, server: str, limit: dict[str, Any]) -> AsyncIterator[Ask]:
    import redis.asyncio
    import token_throttle  # type: ignore[import-not-found,unused-ignore]

    client = redis.asyncio.Redis.from_url(server)
    quotas = [token_throttle.Quota(metric="requests", limit=limit["rpm"], per_seconds=max(1, round(limit["window"])))]
    usage = {"requests": 1}
    limiter = token_throttle.RateLimiter(
        token_throttle.PerModelConfig(quotas=token_throttle.UsageQuotas(quotas)),
        # With its default of a few seconds, calls fail where several processes are at its lock.
        backend=token_throttle.RedisBackendBuilder(client, key_prefix="benchmark", lock_blocking_timeout_seconds=60.0),
    )

    async with _bare(url, server, limit) as call:

        async def ask() -> object:
            while True:
                try:
                    async with limiter.reserve(usage, model=MODEL) as handle:
                        done = await call()
                        handle.set_actual_usage(usage)
                        return done
                except RateLimitError:
                    await asyncio.sleep(0.1)

        yield ask
    await limiter.aclose()
    await client.aclose()


@asynccontextmanager
async def _litellm(url: str, server: str, limit: dict[str, Any], *, shares: bool = True) -> AsyncIterator[Ask]:
    import litellm  # type: ignore[import-not-found,unused-ignore]

    litellm.suppress_debug_info = True
    given: dict[str, Any] = {"model": f"openai/{MODEL}", "api_base": url, "api_key": "key"}
    options: dict[str, Any] = {}
    if shares:
        given["rpm"] = limit["rpm"]
        host, port = server.removeprefix("redis://").partition("/")[0].split(":")
        options = {"routing_strategy": "usage-based-routing-v2", "redis_host": host, "redis_port": int(port)}
    router = litellm.Router(
        model_list=[{"model_name": MODEL, "litellm_params": given}], num_retries=0, disable_cooldowns=True, **options
    )

    async def ask() -> object:
        while True:
            try:
                return await router.acompletion(model=MODEL, messages=MESSAGES, max_tokens=_TOKENS)
            except litellm.RateLimitError:
                await asyncio.sleep(0.5)

    yield ask


@asynccontextmanager
async def _litellm_bare(url: str, server: str, limit: dict[str, Any]) -> AsyncIterator[Ask]:
    async with _litellm(url, server, limit, shares=False) as ask:
        yield ask


_BARE, _LITELLM_BARE = "siliconflow-async", "litellm's router"
_OWN, _BLOCKS, _SINGLES = "limits of its own", "shared limits, blocks", "shared limits, single"
_THROTTLE, _LITELLM = "token-throttle", "litellm's router, rpm"
_WAYS = {
    _BARE: _bare,
    _OWN: _own,
    _BLOCKS: _shared,
    _SINGLES: _shared,
    _THROTTLE: _token_throttle,
    _LITELLM_BARE: _litellm_bare,
    _LITELLM: _litellm,
}
_NEEDS = {_THROTTLE: "token_throttle", _LITELLM_BARE: "litellm", _LITELLM: "litellm"}


# In a process of its own


async def spend(way: str, url: str, server: str, requests: int) -> dict[str, float]:
    """Ask so many requests, one at a time and several at a time; return CPU and seconds, in microseconds each."""
    high = {"rpm": _HIGH, "window": 60.0}
    found: dict[str, float] = {}
    async with _WAYS[way](url, server, _SINGLE if way == _SINGLES else high) as ask:
        await _many(ask, 50, 10)
        for name, at_once in (("alone", 1), ("together", _AT_ONCE)):
            times: list[float] = []
            began = time.process_time()
            await _many(ask, requests, at_once, times)
            found[f"CPU {name}"] = (time.process_time() - began) * 1e6 / requests
            found[f"median {name}"] = statistics.median(times) * 1e6
    return found


async def keep(way: str, url: str, server: str, rpm: int, window: float, requests: int) -> int:
    """Ask so many requests under a limit, once told to; return how many were answered."""
    async with _WAYS[way](url, server, {"rpm": rpm, "window": window}) as ask:
        await ready()
        times: list[float] = []
        await _many(ask, requests, _AT_ONCE, times)
        return len(times)


async def _many(ask: Ask, count: int, at_once: int, times: list[float] | None = None) -> None:
    left = count

    async def work() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            began = time.perf_counter()
            if await ask() is None:
                raise RuntimeError("no answer")
            if times is not None:
                times.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(at_once)))


# In this process


async def _costs(ways: list[str], server: str, rounds: int, requests: int) -> None:
    found: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    async with Server() as service:
        for _ in range(rounds):
            for way in ways:
                # What takes milliseconds a request is given a fifth to do.
                each = requests // 5 if way in _NEEDS else requests
                async with Child("sharing.spend", way, service.url("whole"), server, each, loop="asyncio") as child:
                    found[way].append(await child.hear())
    print(f"\nmedians of {rounds} × {requests} requests, µs; + is beyond the same client without limits")
    print(f"{'':26}{'CPU alone':>18}{'CPU, 10 at once':>20}{'median alone':>20}")
    for way, samples in found.items():
        line = f"{way:26}"
        beside = found.get(_LITELLM_BARE if way == _LITELLM else _BARE, samples)
        for name in ("CPU alone", "CPU together", "median alone"):
            own = statistics.median(sample[name] for sample in samples)
            more = statistics.median(a[name] - b[name] for a, b in zip(samples, beside, strict=True))
            line += f"{own:10.0f} ({more:+6.0f})"
        print(line)


async def _worth(ways: list[str], server: str, rpm: int, window: float) -> None:
    print(f"\n{_PROCESSES} processes, {rpm} requests in {window:g} s, {_WINDOWS} windows' worth")
    for way in ways:
        async with FakeSiliconFlow(limits={MODEL: (rpm, None)}, window=window) as service:
            each = _WINDOWS * rpm // _PROCESSES
            arguments = (way, service.base_url, server, rpm, window, each)
            children = [Child("sharing.keep", *arguments, loop="asyncio") for _ in range(_PROCESSES)]
            for child in children:
                await child.start()
            for child in children:
                await child.hear()
            for child in children:
                child.say("go")
            answered = [await child.hear() for child in children]
            for child in children:
                await child.end()
            if answered != [each] * _PROCESSES:
                raise SystemExit(f"{way}: {answered} of {each} answers each")
            meter = service.meters[MODEL]
            times = [request.received_at for request in service.requests]
            taken, ideal = max(times) - min(times), (_WINDOWS - 1) * window
            print(
                f"{way:26}{meter.refused:6} refused, at most {meter.peak_requests / rpm:.2f} × the limit in a window, "
                f"{taken:.1f} s, {taken / ideal:.2f} × the ideal"
            )


@contextmanager
def _redis() -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("no redis-server on this machine")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            try:
                while process.poll() is None:
                    with suppress(ConnectionError), socket.create_connection(("127.0.0.1", port)):
                        break
                    time.sleep(0.01)
                yield f"redis://127.0.0.1:{port}/0"
            finally:
                process.terminate()


async def _measure(*, rounds: int, quick: bool, minutes: bool) -> None:
    ways = [way for way in _WAYS if way not in _NEEDS or importlib.util.find_spec(_NEEDS[way])]
    if skipped := [way for way in _WAYS if way not in ways]:
        print(f"skipped, as not installed: {', '.join(skipped)}")
    with _redis() as server:
        await _costs(ways, server, rounds, 100 if quick else 1_000)
        rivals = [way for way in (_BLOCKS, _THROTTLE) if way in ways]
        await _worth(rivals, server, 30 if quick else 60, 1.0 if quick else 2.0)
        if _LITELLM in ways and minutes:
            # It knows no other window.
            await _worth([_BLOCKS, _LITELLM], server, 300, 60.0)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="how often each has its turn")
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run? The figures mean nothing")
    parser.add_argument("--minutes", action="store_true", help="see too how litellm keeps to a limit, by the minute")
    options = parser.parse_args(arguments)
    # Read at import: without it litellm fetches its table of prices from the net.
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    asyncio.run(_measure(rounds=1 if options.quick else options.rounds, quick=options.quick, minutes=options.minutes))


if __name__ == "__main__":
    main(sys.argv[1:])
