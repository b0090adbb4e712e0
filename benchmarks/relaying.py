"""Cases of a relay: one process between the server's paced streams and its own clients, by websocket and SSE.

Under load some clients are slow: they have small buffers and read a few KiB every two seconds, of tokens that are long
(8 KiB), since short ones would fit into the buffers of socket and server for minutes. Some leave midway, half of them
with a closing frame, half by closing the socket. All others read at once. The slow ones read the rest when the others
have ended: they too must get every token in order.

How late a token is: from when the server wrote it until a client had it. That counts for clients which are neither slow
nor leave, from the second token on. CPU is that of the relay's process, from "go" until the others have ended, for
each token that any client got by then. Memory is that process's resident memory at most, and how much that is beyond
what it had after one stream. Left in time are clients' streams that the server saw closed before it had sent them
whole; after says how long after their client. Slow got is the share of their tokens that they had read when the others
ended.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import random
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from . import OURS
from .children import Child
from .measure import Sample, Setting, percentile
from .server import STAMP_DIGITS, Server, question

if TYPE_CHECKING:
    from .relay_clients import Way, WebSocketClient

# relay: the contestant whose library it has
_RELAYS = {OURS: OURS, "openai": "openai", "openai async with": "openai"}


def _relays(setting: Setting) -> list[str]:
    """The relays that can run; a word if what all of them need is not installed."""
    if missing := [name for name in ("fastapi", "uvicorn", "websockets") if importlib.util.find_spec(name) is None]:
        setting.note(f"skipped: needs {', '.join(missing)}")
        return []
    return [name for name, contestant in _RELAYS.items() if contestant in setting.contestants]


class _Relay(Child):
    """One of the relays, on one of the event loops."""

    def __init__(self, name: str, upstream: Server, loop: str) -> None:
        super().__init__("relays.serve", name, upstream.url("relayed"), loop=loop)

    async def __aenter__(self) -> Self:
        await self.start()
        self.port: int = await self.hear()
        return self

    async def facts(self, *, begin: bool = False) -> dict[str, float]:
        """Return its CPU seconds, resident and peak bytes; the peak since the last time that said `begin`."""
        self.say("begin" if begin else "facts")
        found: dict[str, float] = await self.hear()
        return found


_RATE = 20
# A stream that nobody leaves would last much longer than any trial.
_TOKENS = 60 * _RATE
_BETWEEN_SECONDS = 0.02
_LEFT_MUST_MS = 50
# No two trials of a run have the same name.
_numbers = itertools.count()


class _Leaving(NamedTuple):
    client: Literal["websocket", "SSE"]
    way: Way
    midway: bool

    def __str__(self) -> str:
        how = {"frame": "a closing frame", "socket": "the socket closed"}[self.way]
        place = f"amid {_RATE} tokens/s" if self.midway else "before the first token"
        return f"{self.client}, {how} {place}"


_LEAVINGS = (
    _Leaving("websocket", "frame", midway=False),
    _Leaving("websocket", "frame", midway=True),
    _Leaving("websocket", "socket", midway=False),
    _Leaving("websocket", "socket", midway=True),
    _Leaving("SSE", "socket", midway=False),
    _Leaving("SSE", "socket", midway=True),
)


async def left(setting: Setting) -> None:
    """How soon upstream is aborted after a client has left a relay, by websocket and SSE."""
    async with AsyncExitStack() as stack:
        relays = {
            name: await stack.enter_async_context(_Relay(name, setting.server, setting.loop))
            for name in _relays(setting)
        }
        for leaving in _LEAVINGS if relays else ():
            runs = {name: partial(_trials, setting, relay, leaving) for name, relay in relays.items()}
            await setting.measure(f"{leaving}", runs)


async def _trials(setting: Setting, relay: _Relay, leaving: _Leaving) -> Sample:
    """Have clients leave one at a time or nearly so: trials overlap, each at a random moment between two tokens.

    What is measured is from the moment at which a client begins to leave until upstream sees its connection close: two
    readings of the one monotonic clock.
    """
    trials = setting.size(100, 3)
    # The first ones bring modules and caches along, and are left out.
    bound, warm_up = setting.size((2.0, 5), (0.2, 0))
    rng = random.Random(0)
    running = []
    async with asyncio.timeout(60 + trials):
        for _ in range(warm_up + trials):
            wait = rng.random() / _RATE
            running.append(asyncio.create_task(_trial(setting.server, relay, leaving, wait, bound)))
            await asyncio.sleep(_BETWEEN_SECONDS)
        lasted = await asyncio.gather(*running)
    noticed = [nanoseconds for nanoseconds in lasted[warm_up:] if nanoseconds is not None]
    sample = {f"closed within {bound:g} s, of {trials}": float(len(noticed))}
    if noticed:
        sample[f"median, ms, must ≤ {_LEFT_MUST_MS}"] = percentile(noticed, 0.5) / 1e6
        sample["max, ms"] = max(noticed) / 1e6
    return sample


async def _trial(upstream: Server, relay: _Relay, leaving: _Leaving, wait: float, bound: float) -> int | None:
    """Return the nanoseconds from leaving until upstream was closed; None if they were too many."""
    # Here, since a run without `websockets` skips the case.
    from .relay_clients import SSEClient, WebSocketClient

    name = f"trial{next(_numbers)}"
    kind = WebSocketClient if leaving.client == "websocket" else SSEClient
    client = await kind.connect(relay.port, question(name, "now" if leaving.midway else "never", _TOKENS, _RATE))
    if leaving.midway:
        await client.got(2)
    else:
        await upstream.asked(name)
    await asyncio.sleep(wait)
    client.check()
    began = client.leave(leaving.way)
    ended = await upstream.left(name, bound)
    return None if ended is None else ended - began


_SLOW_SIZE = 8192
_LATE_MUST_MS = 250
_OPEN_AT_ONCE = 20


class _Load(NamedTuple):
    """Clients, how many of them are slow and how many leave; tokens per second; seconds."""

    clients: int
    slow: int
    leaving: int
    rate: int
    seconds: float

    @property
    def tokens(self) -> int:
        return 1 + round(self.rate * self.seconds)


# A plain relay serves the lesser pace in one process.
_LOADS = (_Load(500, 20, 50, 3, 20.0), _Load(500, 20, 50, 10, 20.0))
_QUICK = (_Load(8, 1, 2, 20, 0.8),)


async def relay(setting: Setting) -> None:
    """A relay of 500 streams to 500 websockets, of which 20 are slow and 50 leave: lateness, CPU, memory."""
    relays = _relays(setting)
    for load in setting.size(_LOADS, _QUICK) if relays else ():
        variant = f"{load.clients} streams of {load.rate} tokens/s, {load.slow} slow clients, {load.leaving} leave"
        await setting.measure(variant, {name: partial(_under, load, name, setting.loop) for name in relays}, 3)


async def _under(load: _Load, name: str, loop: str) -> Sample:
    async with asyncio.timeout(120 + 3 * load.seconds), Server() as upstream, _Relay(name, upstream, loop) as relay:
        before = await _warmed_up(relay)
        clients = await _open(load, relay.port)
        slow, leaving = clients[: load.slow], clients[load.slow :][: load.leaving]
        steady = clients[load.slow + load.leaving :]
        began = await relay.facts()
        upstream.go()
        await asyncio.gather(
            *(client.ended(load.tokens) for client in steady),
            *(_leave(load, number, client) for number, client in enumerate(leaving)),
        )
        flowed = await relay.facts()
        # The first token of each came before "go".
        tokens = sum(len(client.sent) - 1 for client in clients)
        taken = sum(len(client.sent) for client in slow)
        for client in slow:
            client.hurry()
        await asyncio.gather(*(client.ended(load.tokens) for client in slow))
        ended = await relay.facts()
    late = [came - sent for client in steady for came, sent in zip(client.came[1:], client.sent[1:], strict=True)]
    sample = {
        f"late, median, ms, must ≤ {_LATE_MUST_MS}": percentile(late, 0.5) / 1e6,
        "late, p99, ms": percentile(late, 0.99) / 1e6,
        "CPU per token, µs": (flowed["cpu"] - began["cpu"]) * 1e6 / tokens,
    }
    if "peak" in ended:
        sample["peak, MiB"] = ended["peak"] / 2**20
        sample["growth, MiB"] = (ended["peak"] - before["resident"]) / 2**20
    noticed = [at - client.left for client in leaving if (at := upstream.closed.get(client.name)) is not None]
    sample[f"left in time, must be {load.leaving}"] = len(noticed)
    if noticed:
        sample["after, median, ms"] = percentile(noticed, 0.5) / 1e6
        sample["after, max, ms"] = max(noticed) / 1e6
    sample["slow got, %"] = 100 * taken / (load.slow * load.tokens)
    return sample


async def _warmed_up(relay: _Relay) -> dict[str, float]:
    """What the relay's process needs after one stream, which brings modules and caches along."""
    from .relay_clients import WebSocketClient

    client = await WebSocketClient.connect(relay.port, question("first", "now", 3, 100))
    await client.ended(3)
    return await relay.facts(begin=True)


async def _open(load: _Load, port: int) -> list[WebSocketClient]:
    """Return the clients, the slow ones first, then those that will leave; each has its first token."""
    from .relay_clients import WebSocketClient

    opening = asyncio.Semaphore(_OPEN_AT_ONCE)

    async def connect(number: int) -> WebSocketClient:
        size = _SLOW_SIZE if number < load.slow else STAMP_DIGITS
        asked = question(f"client{number}", "go", load.tokens, load.rate, size)
        async with opening:
            client = await WebSocketClient.connect(port, asked, size, slow=number < load.slow)
            await client.got(1)
        return client

    return await asyncio.gather(*map(connect, range(load.clients)))


async def _leave(load: _Load, number: int, client: WebSocketClient) -> None:
    """Leave somewhen in the middle half of the time, each at a moment of its own."""
    await asyncio.sleep(load.seconds * (0.25 + 0.5 * number / load.leaving))
    client.check()
    client.leave("frame" if number % 2 else "socket")
