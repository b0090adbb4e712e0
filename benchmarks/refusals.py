"""Cases in which the service refuses: it keeps limits, or it is away. How long runs take, and what is lost.

Where limits are kept, the stand-in has a process of its own. It counts requests and tokens in a sliding window that is
shortened, so that a run is over soon. Of N requests of which L fit into a window, the last can't begin before
floor((N - 1) / L) windows have passed: that is the ideal.

In an outage, a third of the way through a run, the stand-in goes away for some seconds: it answers each request with
503, or it closes its socket and all connections, and comes back on the same port. Answers are short and come at once,
which is the worst case: whatever is asked meanwhile fails at once too. The same run without an outage is beside it.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, cast
from urllib.parse import urlsplit

import msgspec

from siliconflow_async import AsyncSiliconFlow, Limit, MapResult
from siliconflow_async.batch import run_batch
from siliconflow_async.testing import FakeSiliconFlow

from . import OURS
from .children import Child, heard, say
from .fixtures import MODEL
from .measure import Runs, Sample, Setting, Tally, WrongAnswer

GIVEN = f"{OURS}, limits given"
UNKNOWN = f"{OURS}, limits unknown"
RATIO = "of the ideal"
REFUSED = "429s"
IN_VAIN = "asked in vain"
LOST = "lost"
_ANSWER = 12
# So many that they hold up nothing.
_AT_ONCE = 256


def _asks(numbers: Iterable[int], max_tokens: int) -> Iterable[dict[str, Any]]:
    for number in numbers:
        question = {"role": "user", "content": f"Question {number}"}
        yield {"custom_id": f"{number}", "model": MODEL, "max_tokens": max_tokens, "messages": [question]}


class _Limits(NamedTuple):
    """What the service allows in a window of `window` seconds, and how fast it answers, in tokens per second."""

    rpm: int | None
    tpm: int | None
    window: float
    pace: float | None = None

    def __str__(self) -> str:
        allowed = [f"{limit:,} {name}" for limit, name in ((self.rpm, "requests"), (self.tpm, "tokens")) if limit]
        paced = f", answered in {_ANSWER / self.pace:g} s" if self.pace else ""
        return f"{' and '.join(allowed)} in {self.window:g} s{paced}"


# Each of them lets 450 requests through in a window.
_FULL = (
    _Limits(450, None, 6.0),
    _Limits(None, 9_000, 6.0),
    _Limits(500, 9_000, 6.0),
    _Limits(450, None, 6.0, 100),
    _Limits(None, 9_000, 6.0, 100),
)
_QUICK = (_Limits(30, None, 0.3),)


async def limits(setting: Setting) -> None:
    """2,000 requests to a service that keeps limits, given to `map` or unknown to it: time, and refusals."""
    if OURS not in setting.contestants:
        return
    requests = setting.size(2_000, 100)
    for kept in setting.size(_FULL, _QUICK):
        given = Limit(rpm=kept.rpm, tpm=kept.tpm, window=kept.window)
        runs = {
            GIVEN: partial(_limited, kept, given, requests),
            UNKNOWN: partial(_limited, kept, Limit(window=kept.window), requests),
        }
        await setting.measure(f"{requests:,} requests, {kept}", runs, loop="")


async def _limited(kept: _Limits, given: Limit, requests: int) -> Sample:
    asks: Any = _asks(range(10_000, 10_000 + requests), _ANSWER)
    answered: list[int] = []
    most = 0
    async with Child("refusals.serve", *kept, loop="asyncio") as stand_in:
        url = await stand_in.hear()
        async with AsyncSiliconFlow("key", base_url=url, limits=given, max_connections=_AT_ONCE) as client:
            began = time.monotonic()
            async with client.chat.completions.map(asks, max_concurrency=_AT_ONCE) as results:
                async for result in results:
                    if result.completion is None or result.completion.usage is None:
                        raise WrongAnswer(f"request {result.index} failed: {result.error!r}")
                    most = max(most, result.completion.usage.total_tokens)
                    answered.append(result.index)
            lasted = time.monotonic() - began
        stand_in.say("seen")
        came, refused = await stand_in.hear()
    if sorted(answered) != list(range(requests)) or came != requests + refused:
        raise WrongAnswer(f"{len(answered)} answers to {requests} requests, some lost or doubled: {came} came")
    fit = min(kept.rpm or requests, kept.tpm // most if kept.tpm else requests)
    ideal = (requests - 1) // fit * kept.window
    return {"seconds": lasted, "ideal, seconds": ideal, RATIO: lasted / ideal, REFUSED: refused}


async def serve(rpm: int | None, tpm: int | None, window: float, pace: float | None) -> None:
    """Serve at the URL said first; at each word say how many requests came, and how many of them were refused."""
    async with FakeSiliconFlow(limits={MODEL: (rpm, tpm)}, window=window, tokens_per_second=pace) as server:
        say(server.base_url)
        async for _ in await heard():
            say((len(server.requests), server.meters[MODEL].refused))


class _Watched:
    """Stands for a client where only its `map` is used, and tells a tally of what that gives out.

    Lines of results say nothing of attempts, and a server sees none of those that were refused.
    """

    def __init__(self, client: AsyncSiliconFlow, tally: Tally) -> None:
        self.chat = self.completions = self
        self._client = client
        self._tally = tally

    @asynccontextmanager
    async def map(self, requests: Any, **options: Any) -> AsyncIterator[AsyncIterator[MapResult[Any]]]:
        async with self._client.chat.completions.map(requests, **options) as results:
            yield self._told(results)

    async def _told(self, results: AsyncIterator[MapResult[Any]]) -> AsyncIterator[MapResult[Any]]:
        async for result in results:
            self._tally.note(failed=result.error is not None, attempts=result.attempts)
            yield result


# How a run is made of a client: asks so many requests, and returns how many were answered.
_Way: TypeAlias = Callable[[AsyncSiliconFlow, int], Awaitable[int]]


async def _map(client: AsyncSiliconFlow, requests: int) -> int:
    asks: Any = _asks(range(requests), 3)
    async with client.chat.completions.map(asks) as results:
        return sum([result.error is None async for result in results])


async def _batch(client: AsyncSiliconFlow, requests: int) -> int:
    """With files on both sides, as the command has it."""
    with tempfile.TemporaryDirectory() as folder:
        asks, results = Path(folder, "requests.jsonl"), Path(folder, "results.jsonl")
        _write(asks, _asks(range(requests), 3))
        report = await run_batch(client, asks, results)
        lines = _count_lines(results)
    if (lines, report.failed + report.open) != (report.done, requests - report.done):
        raise WrongAnswer(f"{report}, and {lines} lines, of {requests} requests")
    return report.done


def _write(path: Path, asks: Iterable[dict[str, Any]]) -> None:
    path.write_bytes(msgspec.json.Encoder().encode_lines(asks))


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


_WAYS: dict[str, _Way] = {"map()": _map, "batch": _batch}


async def outages(setting: Setting) -> None:
    """1,500 requests over outages of 1, 3 and 10 s, by `map` and by `batch`: how many are asked in vain, or lost."""
    if OURS not in setting.contestants:
        return
    requests = setting.size(1_500, 60)
    lengths: tuple[float, ...] = setting.size((1.0, 3.0, 10.0), (0.1,))
    for kind in ("503", "refused"):
        for seconds in lengths:
            runs: Runs = {
                f"{OURS} {name}{words}": partial(_over_outage, way, requests, outage)
                for name, way in _WAYS.items()
                for words, outage in (("", (kind, seconds)), (", no outage", None))
            }
            await setting.measure(f"{requests:,} requests, {seconds:g} s of {kind}", runs)


async def _over_outage(way: _Way, requests: int, outage: tuple[str, float] | None) -> Sample:
    server = FakeSiliconFlow()
    await server.start()

    async def leave(kind: str, seconds: float) -> None:
        nonlocal server
        if kind == "503":
            server.fail(503, times=None)
            await asyncio.sleep(seconds)
            server.reset()
        else:
            port = urlsplit(server.base_url).port or 0
            await server.aclose()
            await asyncio.sleep(seconds)
            server = FakeSiliconFlow(port=port)
            await server.start()

    tally = Tally([(requests // 3, partial(leave, *outage))] if outage else ())
    async with AsyncSiliconFlow("key", base_url=server.base_url) as client:
        began = time.monotonic()
        # Nothing else of the client is used.
        done = await way(cast("AsyncSiliconFlow", _Watched(client, tally)), requests)
        lasted = time.monotonic() - began
    await tally.settle()
    await server.aclose()
    if (tally.calls, done) != (requests, requests - tally.failed):
        raise WrongAnswer(f"{tally.calls} results of {requests} requests, {done} answered, {tally.failed} lost")
    return {"seconds": lasted, IN_VAIN: tally.attempts - done, LOST: tally.failed}
