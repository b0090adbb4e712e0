"""What an outage of the service costs a run of `map` or of `batch`: requests asked in vain, requests lost, and time.

A third of the way through a run the stand-in goes away for some seconds: it answers each request with 503, or it closes
its socket and all connections, and comes back on the same port. Answers are short and come at once, which is the worst
case: whatever is asked meanwhile fails at once too. The same run without an outage is beside it.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import msgspec

from siliconflow_async import AsyncSiliconFlow, MapResult
from siliconflow_async.batch import run_batch
from siliconflow_async.testing import FakeSiliconFlow

from ..contestants import OURS
from ..measure import Row, Sample, WrongAnswer, compare, rows
from .setting import Setting

__all__ = ["IN_VAIN", "LOST", "outages"]

IN_VAIN = "asked in vain"
LOST = "lost"
_KINDS = ("503", "refused")


class _Service:
    """A stand-in that can go away."""

    def __init__(self) -> None:
        self._server = FakeSiliconFlow()

    async def start(self) -> str:
        await self._server.start()
        return self._server.base_url

    async def away(self, kind: str, seconds: float) -> None:
        """Be away for some seconds, from now on."""
        if kind == "503":
            self._server.fail(503, times=None)
            await asyncio.sleep(seconds)
            self._server.reset()
        else:
            port = int(self._server.base_url.split(":")[2].split("/")[0])
            await self._server.aclose()
            await asyncio.sleep(seconds)
            self._server = FakeSiliconFlow(port=port)
            await self._server.start()

    async def aclose(self) -> None:
        await self._server.aclose()


class _Tally:
    """Counts the results of a run, of which it sees each, and has the service go away after a third of them."""

    def __init__(self, requests: int, away: Callable[[], Awaitable[None]] | None) -> None:
        self.finished = self.lost = self.sent = 0
        self.outage: asyncio.Future[None] | None = None
        self._requests = requests
        self._away = away

    def note(self, result: MapResult[Any]) -> None:
        self.finished += 1
        self.sent += result.attempts
        self.lost += result.error is not None
        if self._away is not None and self.outage is None and self.finished * 3 >= self._requests:
            self.outage = asyncio.ensure_future(self._away())


# How a run is made of a client: asks so many requests, and tells the tally of each result.
_Way: TypeAlias = Callable[[AsyncSiliconFlow, int, _Tally], Awaitable[None]]


async def _map(client: AsyncSiliconFlow, requests: int, tally: _Tally) -> None:
    async with client.chat.completions.map(_asks(requests), model="org/model", max_tokens=3) as results:
        async for result in results:
            tally.note(result)


async def _batch(client: AsyncSiliconFlow, requests: int, tally: _Tally) -> None:
    """With files on both sides, as the command has it."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder, "results.jsonl")
        watched = cast("AsyncSiliconFlow", _Watched(client, tally))  # of which nothing else is used
        report = await run_batch(watched, _written(Path(folder, "requests.jsonl"), requests), results)
        lines = _count_lines(results)
    if (report.done, lines, report.failed + report.open) != (requests - tally.lost, report.done, tally.lost):
        raise WrongAnswer(f"{report}, {lines} lines, and {tally.lost} lost of {requests}")


def _written(path: Path, requests: int) -> Path:
    asks = (
        {"custom_id": f"{n}", "model": "org/model", "max_tokens": 3, **ask} for n, ask in enumerate(_asks(requests))
    )
    path.write_bytes(b"".join(msgspec.json.encode(ask) + b"\n" for ask in asks))
    return path


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


class _Watched:
    """Stands for a client where only its `map` is used, and tells a tally of what that gives out.

    Lines of results say nothing of attempts, and a server sees none of those that were refused.
    """

    def __init__(self, client: AsyncSiliconFlow, tally: _Tally) -> None:
        self.chat = self.completions = self
        self._client = client
        self._tally = tally

    @asynccontextmanager
    async def map(self, requests: Any, **options: Any) -> AsyncIterator[AsyncIterator[MapResult[Any]]]:
        async with self._client.chat.completions.map(requests, **options) as results:
            yield self._told(results)

    async def _told(self, results: AsyncIterator[MapResult[Any]]) -> AsyncIterator[MapResult[Any]]:
        async for result in results:
            self._tally.note(result)
            yield result


_WAYS: dict[str, _Way] = {"map()": _map, "batch": _batch}


def _asks(count: int) -> Iterable[dict[str, Any]]:
    return ({"messages": [{"role": "user", "content": f"Question {number}"}]} for number in range(count))


async def _run(way: _Way, requests: int, away: Callable[[_Service], Awaitable[None]] | None) -> Sample:
    service = _Service()
    tally = _Tally(requests, None if away is None else lambda: away(service))
    base_url = await service.start()
    async with AsyncSiliconFlow("key", base_url=base_url) as client:
        began = time.monotonic()
        await way(client, requests, tally)
        lasted = time.monotonic() - began
    if tally.outage is not None:
        await tally.outage
    await service.aclose()
    if tally.finished != requests or (away is not None and tally.outage is None):
        raise WrongAnswer(f"{tally.finished} results of {requests} requests")
    return {"seconds": lasted, IN_VAIN: tally.sent - (requests - tally.lost), LOST: tally.lost}


async def outages(setting: Setting) -> list[Row]:
    """1,500 requests over outages of 1, 3 and 10 s, by `map` and by `batch`: how many are asked in vain, or lost."""
    if OURS not in setting.contestants:
        return []
    requests = setting.size(1_500, 60)
    lengths: tuple[float, ...] = setting.size((1.0, 3.0, 10.0), (0.1,))
    result = []
    for kind in _KINDS:
        for seconds in lengths:

            def away(service: _Service, kind: str = kind, seconds: float = seconds) -> Awaitable[None]:
                return service.away(kind, seconds)

            variant = f"{requests:,} requests, {seconds:g} s of {kind}"
            runs: Any = {}
            for name, way in _WAYS.items():
                runs[f"{OURS} {name}"] = functools.partial(_run, way, requests, away)
                runs[f"{OURS} {name}, no outage"] = functools.partial(_run, way, requests, None)
            found = await compare(runs, rounds=setting.count(1), note=setting.noting(variant), warm_up=False)
            result += rows(found, case="outages", variant=variant, loop=setting.loop)
    return result
