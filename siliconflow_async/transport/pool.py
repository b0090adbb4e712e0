"""One aiohttp session for each event loop, and the calls and streams that are under way on it.

A client is made outside any loop and may serve several, one after another or each in its thread. Each loop gets a
session of its own when it first needs one; an async generator, parked in the loop, closes that session when the loop
shuts down.

What belongs to a loop is used in its thread alone. The threads share `closed` and the table of loops, in which each
changes its own entry. Whoever goes through the table, or a set of what is under way, copies it first: that is one step
of C, which no other thread can interrupt.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
import warnings
import weakref
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

import aiohttp
import anyio
import msgspec

from ..errors import ClosedError
from ..loops import any_running_loop, on_loop
from .connector import Connector, process_id
from .sockets import new_socket

__all__ = ["Abortable", "Connections", "LoopSession", "SessionPool"]

# Closing waits for the peer's side of each connection; a peer that never answers must not hold up a shutdown.
_CLOSE_SECONDS = 1.0
# Of an answer's headers: bytes of name and value, and how many.
_MAX_HEADER_FIELD = 64 * 1024
_MAX_HEADER_FIELDS = 300


class Abortable(Protocol):
    """A call or a stream, which the pool ends before it closes the session underneath."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def abort(self) -> None: ...


# Not a WeakSet, of which the collector takes in any thread, also while another looks through it.
Abortables: TypeAlias = set[weakref.ref[Abortable]]


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """How a client's connections fare, at the moment of asking, in all event loops together.

    `in_use` are held by a call, or being made for one: by a stream until all of it has arrived or it is left.
    `waiting` counts the calls that wait for one of them. `max` is how many each loop may have: `max_connections`.
    """

    in_use: int
    waiting: int
    max: int


class LoopSession(NamedTuple):
    """What the requests of one loop share.

    `closer`, if the session is the pool's own, closes it with the loop, and before that ends what is `under_way`; `pid`
    is the process that made it all.
    """

    session: aiohttp.ClientSession
    under_way: Abortables
    closer: AsyncGenerator[None, None] | None
    pid: int

    def add(self, one: Abortable) -> None:
        """Have a call or stream end before the session does."""
        self.under_way.add(weakref.ref(one, self.under_way.discard))


class SessionPool:
    """Own a session for each loop, or borrow `session`, which is then never closed."""

    def __init__(
        self,
        *,
        max_connections: int,
        ssl: ssl_module.SSLContext | None,
        session: aiohttp.ClientSession | None,
    ) -> None:
        self.closed = False
        self.borrowed = session is not None
        self._max_connections = max_connections
        self._ssl = ssl
        self._session = session
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopSession] = {}

    def get(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        """Return what the running `loop`'s requests share; raise ClosedError after `aclose()`."""
        if self.closed:
            raise ClosedError("the client is closed")
        entry = self._by_loop.get(loop)
        if entry is None or entry.session.closed or entry.pid != process_id():
            self._forget_ended()
            entry = self._by_loop[loop] = self._new_entry(loop)
        return entry

    def connections(self) -> Connections | None:
        """Return how the connections fare; None where they are a borrowed session's, which tells nobody."""
        if self.borrowed:
            return None
        # Any thread may ask.
        live = [entry.session for entry in self._by_loop.copy().values() if entry.pid == process_id()]
        connectors = [session.connector for session in live if isinstance(session.connector, Connector)]
        return Connections(
            in_use=sum(connector.in_use for connector in connectors),
            waiting=sum(len(connector.queue) for connector in connectors),
            max=self._max_connections,
        )

    def at_most(self, concurrency: int) -> int:
        """Return how many of so many calls can have a connection at the same time."""
        return concurrency if self.borrowed else min(concurrency, self._max_connections)

    def track(self, stream: Abortable) -> None:
        """Have a stream end before its session does."""
        entry = self._by_loop.get(stream.loop)
        if entry is not None:
            entry.add(stream)
        # Looked at last: `aclose()` in another thread aborts what it finds after it has said so.
        if self.closed:
            stream.abort()

    def abort(self) -> None:
        """End what is under way, in each loop at its next turn, and refuse further use.

        From any thread, and from the handler of a signal, which may come in the midst of anything.
        """
        self.closed = True
        for loop, entry in self._by_loop.copy().items():
            # What a forked child inherited is never closed there: that would reach the parent's peers.
            if entry.pid == process_id():
                on_loop(loop, partial(_abort, entry.under_way))

    async def aclose(self) -> None:
        """`abort()`, at once in the running loop, and close its session; other loops close theirs as they end."""
        loop = any_running_loop()
        mine = None if loop is None else self._by_loop.pop(loop, None)
        self._forget_ended()
        self.abort()
        if mine is not None:
            _abort(mine.under_way)
            if mine.closer is not None:
                await mine.closer.aclose()

    def _forget_ended(self) -> None:
        """Let go of loops that are closed, also of those that were not run to the end of their async generators.

        What these leave open ends with its transports: nobody can close it any more. In development mode asyncio
        complains of it by itself.
        """
        for loop in [known for known in self._by_loop.copy() if known.is_closed()]:
            entry = self._by_loop.pop(loop, None)
            if entry is not None and entry.closer is not None and entry.session.connector is not None:
                # Else aiohttp would log a complaint for the session and one for the connector. It closes all at once.
                next(entry.session.connector.close().__await__(), None)

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # The loop itself closes the session when it finds the closer gone; here there is only a word to say.
        self._forget_ended()
        if not self.closed and any(
            entry.pid == process_id() and entry.closer is not None and not entry.session.closed
            for entry in self._by_loop.values()
        ):
            _warn("unclosed AsyncSiliconFlow: use `async with`, or await its aclose()", ResourceWarning, stacklevel=2)

    def _new_entry(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        if self._session is not None:
            if self._session.closed:
                raise ClosedError("the session that the client was given is closed")
            return LoopSession(self._session, set(), None, process_id())
        connector = Connector(limit=self._max_connections, ssl=self._ssl or True, socket_factory=new_socket)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            # The clocks are ours.
            timeout=aiohttp.ClientTimeout(total=None),
            # Some gateways send more than aiohttp's own 8 KiB and 128.
            max_field_size=_MAX_HEADER_FIELD,
            max_headers=_MAX_HEADER_FIELDS,
            # Proxies are resolved once, in the client: aiohttp would ask a thread for each request.
            trust_env=False,
        )
        under_way: Abortables = set()
        closer = _close_with_loop(session, under_way)
        # Up to its yield it awaits nothing.
        with contextlib.suppress(StopIteration):
            closer.asend(None).send(None)
        return LoopSession(session, under_way, closer, process_id())


def _abort(under_way: Abortables) -> None:
    for reference in under_way.copy():
        one = reference()
        if one is not None:
            one.abort()


async def _close_with_loop(session: aiohttp.ClientSession, under_way: Abortables) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        _abort(under_way)
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await session.close()
