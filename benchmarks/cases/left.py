"""How soon upstream is aborted when a client leaves its relay, one client at a time or nearly so.

From the moment at which the client begins to leave until upstream sees its connection close: two readings of the one
monotonic clock. Trials overlap, a few at a time; each leaves at a random moment between two tokens.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import random
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Literal, NamedTuple

from ..measure import Row, Sample, compare, percentile, rows
from ..relaying.children import Relay, Upstream, missing, relays
from .setting import Setting

if TYPE_CHECKING:
    from ..relaying.clients import Way

__all__ = ["left"]

RATE = 20
# A stream that nobody leaves would last much longer than any trial.
TOKENS = 60 * RATE
BETWEEN_SECONDS = 0.02
BOUND_SECONDS = 2.0
MUST_MS = 50
# The first ones bring modules and caches along, and are left out.
WARM_UP = 5

# No two trials of a run have the same name.
_numbers = itertools.count()


class _Leaving(NamedTuple):
    client: Literal["websocket", "SSE"]
    way: Way
    midway: bool

    @property
    def words(self) -> str:
        how = {"frame": "a closing frame", "socket": "the socket closed"}[self.way]
        place = f"amid {RATE} tokens/s" if self.midway else "before the first token"
        return f"{self.client}, {how} {place}"


LEAVINGS = (
    _Leaving("websocket", "frame", midway=False),
    _Leaving("websocket", "frame", midway=True),
    _Leaving("websocket", "socket", midway=False),
    _Leaving("websocket", "socket", midway=True),
    _Leaving("SSE", "socket", midway=False),
    _Leaving("SSE", "socket", midway=True),
)


async def left(setting: Setting) -> list[Row]:
    """How soon upstream is aborted after a client has left a relay, by websocket and SSE."""
    if lacking := missing():
        setting.note(f"skipped: needs {', '.join(lacking)}")
        return []
    trials = setting.size(100, 3)
    result = []
    async with AsyncExitStack() as stack:
        runs = {}
        for name in relays(setting.contestants):
            upstream = await stack.enter_async_context(Upstream())
            relay = await stack.enter_async_context(Relay(name, upstream, setting.loop))
            runs[name] = functools.partial(_trials, setting, upstream, relay, trials)
        for leaving in LEAVINGS:
            found = await compare(
                {name: functools.partial(run, leaving) for name, run in runs.items()},
                rounds=setting.count(1),
                note=setting.noting(leaving.words),
                warm_up=False,
            )
            result += rows(found, case="left", variant=leaving.words, loop=setting.loop)
    return result


async def _trials(setting: Setting, upstream: Upstream, relay: Relay, trials: int, leaving: _Leaving) -> Sample:
    bound, warm_up = setting.size((BOUND_SECONDS, WARM_UP), (0.2, 0))
    rng = random.Random(0)
    running = []
    async with asyncio.timeout(60 + trials):
        for _ in range(warm_up + trials):
            running.append(asyncio.create_task(_trial(upstream, relay, leaving, rng.random() / RATE, bound)))
            await asyncio.sleep(BETWEEN_SECONDS)
        lasted = await asyncio.gather(*running)
    noticed = [nanoseconds for nanoseconds in lasted[warm_up:] if nanoseconds is not None]
    sample = {f"closed within {bound:g} s, of {trials}": float(len(noticed))}
    if noticed:
        sample[f"median, ms, must ≤ {MUST_MS}"] = percentile(noticed, 0.5) / 1e6
        sample["max, ms"] = max(noticed) / 1e6
    return sample


async def _trial(upstream: Upstream, relay: Relay, leaving: _Leaving, wait: float, bound: float) -> int | None:
    """Return the nanoseconds from leaving until upstream was closed; None if they were too many."""
    # Here, since a run without `websockets` skips the case.
    from ..relaying.clients import SSEClient, WebSocketClient
    from ..relaying.upstream import question

    name = f"trial{next(_numbers)}"
    kind = WebSocketClient if leaving.client == "websocket" else SSEClient
    asked = question(name, "now" if leaving.midway else "never", TOKENS, RATE)
    client = await kind.connect(relay.port, asked)
    if leaving.midway:
        await client.got(2)
    else:
        await upstream.asked(name)
    await asyncio.sleep(wait)
    client.check()
    began = client.leave(leaving.way)
    ended = await upstream.left(name, bound)
    return None if ended is None else ended - began
