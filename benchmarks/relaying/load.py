"""A relay under load: one process between an upstream of paced streams and as many websocket clients.

Some clients are slow: they have small buffers and read a few KiB every two seconds, of tokens that are long (8 KiB),
since short ones would fit into the buffers of socket and server for minutes. Some leave midway, half of them with a
closing frame, half by closing the socket. All others read at once. The slow ones read the rest when the others have
ended: they too must get every token in order.

How late a token is: from when upstream wrote it until a client had it. That counts for clients which are neither slow
nor leave, from the second token on. CPU is that of the relay's process, from "go" until the others have ended, for
each token that any client got by then. Memory is that process's resident memory at most, and how much that is beyond
what it had after one stream. Left in time are clients' streams that upstream saw closed before it had sent them whole;
after says how long after their client. Slow got is the share of their tokens that they had read when the others ended.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from ..measure import Sample, percentile
from .children import Relay, Upstream
from .clients import WebSocketClient
from .upstream import STAMP_DIGITS, question

__all__ = ["Load", "run"]

_SLOW_SIZE = 8192
_MUST_MS = 250
_MIB = 2**20
_OPEN_AT_ONCE = 20


class Load(NamedTuple):
    """Clients, how many of them are slow and how many leave; tokens per second; seconds."""

    clients: int
    slow: int
    leaving: int
    rate: int
    seconds: float

    @property
    def tokens(self) -> int:
        return 1 + round(self.rate * self.seconds)


async def run(load: Load, name: str, loop: str) -> Sample:
    async with asyncio.timeout(120 + 3 * load.seconds), Upstream() as upstream, Relay(name, upstream, loop) as relay:
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
        f"late, median, ms, must ≤ {_MUST_MS}": percentile(late, 0.5) / 1e6,
        "late, p99, ms": percentile(late, 0.99) / 1e6,
        "CPU per token, µs": (flowed["cpu"] - began["cpu"]) * 1e6 / tokens,
    }
    if "peak" in ended:
        sample["peak, MiB"] = ended["peak"] / _MIB
        sample["growth, MiB"] = (ended["peak"] - before["resident"]) / _MIB
    noticed = [at - client.left for client in leaving if (at := upstream.closed.get(client.name)) is not None]
    sample[f"left in time, must be {load.leaving}"] = len(noticed)
    if noticed:
        sample["after, median, ms"] = percentile(noticed, 0.5) / 1e6
        sample["after, max, ms"] = max(noticed) / 1e6
    sample["slow got, %"] = 100 * taken / (load.slow * load.tokens)
    return sample


async def _warmed_up(relay: Relay) -> dict[str, float]:
    """What the relay's process needs after one stream, which brings modules and caches along."""
    client = await WebSocketClient.connect(relay.port, question("first", "now", 3, 100))
    await client.ended(3)
    return await relay.facts(begin=True)


async def _open(load: Load, port: int) -> list[WebSocketClient]:
    """Return the clients, the slow ones first, then those that will leave; each has its first token."""
    opening = asyncio.Semaphore(_OPEN_AT_ONCE)

    async def connect(number: int) -> WebSocketClient:
        size = _SLOW_SIZE if number < load.slow else STAMP_DIGITS
        asked = question(f"client{number}", "go", load.tokens, load.rate, size)
        async with opening:
            client = await WebSocketClient.connect(port, asked, size, slow=number < load.slow)
            await client.got(1)
        return client

    return await asyncio.gather(*map(connect, range(load.clients)))


async def _leave(load: Load, number: int, client: WebSocketClient) -> None:
    """Leave somewhen in the middle half of the time, each at a moment of its own."""
    await asyncio.sleep(load.seconds * (0.25 + 0.5 * number / load.leaving))
    client.check()
    client.leave("frame" if number % 2 else "socket")
