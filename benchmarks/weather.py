"""What bad weather costs: how many calls fail, and how long the longest took.

No clock is shortened: where the network falls silent, a call that has not come back within `_BOUND` seconds counts as
failed, and all contestants wait for that at the same time. What is dropped is dropped by the kernel of this machine,
which only Linux can be told to do; elsewhere these rows are left out. The loss is that of packets to the service.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from siliconflow_async import AsyncSiliconFlow

from . import OURS
from .children import LINUX
from .clients import Chunks
from .contestants import Contestant, Take
from .fixtures import MESSAGES, MODEL, whole_answer
from .harm import Port
from .measure import Sample, Setting, Tally, WrongAnswer

FAILED = "failed"
CALLS = "calls"
_SLOWEST = "slowest, s"
_ASKED = "requests"
_NAMES = (OURS, "openai", "openai aiohttp")
_MAP = f"{OURS} map"
_RESUMED = f"{OURS} resume=1"
_BOUND = 80.0
_AWAY = 2.0
_SILENCES = {"quiet-reuse": "on reuse", "quiet-answer": "on a whole answer", "quiet-middle": "in mid-stream"}

# What happens to the service once so many calls have ended.
Plan = tuple[tuple[int, Callable[[Port], Coroutine[Any, Any, None]]], ...]


class _Tally(Tally):
    """Knows how long the longest call took, too."""

    _slowest = 0.0

    async def of(self, call: Callable[[], Awaitable[object]], bound: float = _BOUND) -> None:
        """Make a call, which must be back within so many seconds."""
        began = time.monotonic()
        failed = False
        try:
            async with asyncio.timeout(bound):
                await call()
        except WrongAnswer:
            raise
        except Exception:  # each client has exceptions of its own
            failed = True
        self._slowest = max(self._slowest, time.monotonic() - began)
        self.note(failed=failed)

    def sample(self) -> Sample:
        return {CALLS: self.calls, FAILED: self.failed, _SLOWEST: self._slowest}


class _Resumed(Chunks):
    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES, resume=1) as stream:
            await stream.completion()


async def _whole(client: Contestant) -> None:
    if await client.whole() != whole_answer()[1]:
        raise WrongAnswer("not what was sent")


async def _kill(away: float, port: Port) -> None:
    await port.kill()
    await asyncio.sleep(away)
    await port.start()


class _Weather(NamedTuple):
    """Many calls to `segment` of a service to which a share of the packets is lost, while it suffers `plan`."""

    segment: str
    plan: Plan = ()
    loss: float = 0.0

    def _tally(self, port: Port) -> _Tally:
        return _Tally((calls, partial(happen, port)) for calls, happen in self.plan)

    async def over(self, kind: type[Contestant], calls: int, concurrency: int, retries: bool) -> Sample:
        async with Port(self.loss) as port, kind(port.url(self.segment)) as client:
            if not retries:
                client.without_retries()
            tally, numbers = self._tally(port), iter(range(calls))

            async def work() -> None:
                for _ in numbers:
                    await tally.of(partial(_whole, client))

            await asyncio.gather(*(work() for _ in range(concurrency)))
            await tally.settle()
        return tally.sample()

    async def over_map(self, calls: int, concurrency: int) -> Sample:
        asks: Any = ({"messages": MESSAGES} for _ in range(calls))
        async with Port(self.loss) as port, AsyncSiliconFlow("key", base_url=port.url(self.segment)) as client:
            tally = self._tally(port)
            async with client.chat.completions.map(asks, model=MODEL, max_concurrency=concurrency) as results:
                async for result in results:
                    tally.note(failed=result.error is not None)
            await tally.settle()
        # What its requests wait for at the gate is not told apart.
        return {CALLS: tally.calls, FAILED: tally.failed}


def _weathers(calls: int, away: float) -> dict[str, _Weather]:
    restarts = tuple((calls * part // 4, Port.replace) for part in (1, 2, 3))
    found = {
        "rolling restart, three times": _Weather("whole.50", restarts),
        f"hard kill, back after {away:g} s": _Weather("whole.50", ((calls // 3, partial(_kill, away)),)),
        "keep-alive race, 1 of 10": _Weather("race.10"),
        "reset for an answer, 1 of 100": _Weather("reset.100"),
    }
    if LINUX:
        found["1 % of packets to the service lost"] = _Weather("whole.10", loss=0.01)
    return found


async def weather(setting: Setting) -> None:
    """Silent drops, stale connections, restarts, kills, races, losses: how many calls fail, retries on and off."""
    # Nobody is to read of each retry.
    logging.getLogger("siliconflow_async").addHandler(logging.NullHandler())
    kinds = {name: setting.contestants[name] for name in _NAMES if name in setting.contestants}
    if LINUX:
        await _silences(setting, kinds)
    calls, concurrency = setting.size(2_000, 40), setting.size(50, 5)
    for retries in setting.size((True, False), (True,)):
        words = f"retries {'on' if retries else 'off'}"
        async with Port() as port:
            for number in setting.size((2, 10, 50), (2,)):
                stale = {name: partial(_stale, name, kind, port, number, retries) for name, kind in kinds.items()}
                await setting.measure(f"one call after {number} connections went stale, {words}", stale)
        for name, weather in _weathers(calls, setting.size(_AWAY, 0.1)).items():
            runs: dict[str, Callable[[], Awaitable[Sample]]] = {
                contestant: partial(weather.over, kind, calls, concurrency, retries)
                for contestant, kind in kinds.items()
            }
            if retries and OURS in kinds:
                runs[_MAP] = partial(weather.over_map, calls, concurrency)
            await setting.measure(f"{name}, {calls:,} calls, {concurrency} at once, {words}", runs)


async def _silences(setting: Setting, kinds: dict[str, type[Contestant]]) -> None:
    bound = setting.size(_BOUND, 0.3)
    setting.note(f"silent drops: up to {bound:g} s")
    async with Port() as port:
        runs: dict[tuple[str, str], Coroutine[Any, Any, Sample]] = {
            (way, name): _silence(name, kind, port, way, bound) for way in _SILENCES for name, kind in kinds.items()
        }
        if OURS in kinds:
            runs["quiet-middle", _RESUMED] = _silence(_RESUMED, _Resumed, port, "quiet-middle", bound)
        samples = dict(zip(runs, await asyncio.gather(*runs.values()), strict=True))
    for way, words in _SILENCES.items():
        of_way = {name: [sample] for (which, name), sample in samples.items() if which == way}
        setting.add(f"silent drop {words}, waited for up to {bound:g} s", of_way)


async def _silence(name: str, kind: type[Contestant], port: Port, way: str, bound: float) -> Sample:
    tally = _Tally()
    async with kind(port.url(f"{way}.{_tag(name)}")) as client:
        if way == "quiet-reuse":
            await _whole(client)
            # Twice as long as it takes the service to fall silent.
            await asyncio.sleep(0.2)
        if way == "quiet-middle":
            await tally.of(partial(client.stream, lambda _: None), bound)
        else:
            await tally.of(partial(_whole, client), bound)
    return tally.sample()


async def _stale(name: str, kind: type[Contestant], port: Port, number: int, retries: bool) -> Sample:
    segment = f"stale.{number}.{_tag(name)}"
    tally = _Tally()
    async with kind(port.url(segment)) as client:
        if not retries:
            client.without_retries()
        await asyncio.gather(*(_whole(client) for _ in range(number)))
        await tally.of(partial(_whole, client))
        return tally.sample() | {_ASKED: await port.asked(segment) - number}


def _tag(name: str) -> str:
    return name.replace(" ", "-")
