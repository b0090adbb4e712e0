"""What an outage of the service costs a run of `map`: requests asked in vain, requests lost, and time.

A third of the way through a run the stand-in goes away for some seconds: it answers each request with 503, or it closes
its socket and all connections, and comes back on the same port. Answers are short and come at once, which is the worst
case: whatever is asked meanwhile fails at once too. The same run without an outage is beside it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from siliconflow_async import AsyncSiliconFlow
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


async def _run(requests: int, away: Callable[[_Service], Awaitable[None]] | None) -> Sample:
    asks: Any = ({"messages": [{"role": "user", "content": f"Question {number}"}]} for number in range(requests))
    service = _Service()
    finished = lost = sent = 0
    outage: asyncio.Future[None] | None = None
    base_url = await service.start()
    async with AsyncSiliconFlow("key", base_url=base_url) as client:
        began = time.monotonic()
        async with client.chat.completions.map(asks, model="org/model", max_tokens=3) as results:
            async for result in results:
                finished += 1
                sent += result.attempts
                lost += result.error is not None
                if away is not None and outage is None and finished * 3 >= requests:
                    outage = asyncio.ensure_future(away(service))
        lasted = time.monotonic() - began
    if outage is not None:
        await outage
    await service.aclose()
    if finished != requests:
        raise WrongAnswer(f"{finished} results of {requests} requests")
    return {"seconds": lasted, IN_VAIN: sent - (requests - lost), LOST: lost}


async def outages(setting: Setting) -> list[Row]:
    """1,500 requests of `map` over outages of 1, 3 and 10 s: how many are asked in vain, and how many are lost."""
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
            runs: Any = {
                OURS: lambda away=away: _run(requests, away),
                f"{OURS}, no outage": lambda: _run(requests, None),
            }
            found = await compare(runs, rounds=setting.count(1), note=setting.noting(variant), warm_up=False)
            result += rows(found, case="outages", variant=variant, loop=setting.loop)
    return result
