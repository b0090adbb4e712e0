"""One aiohttp session for each event loop, and the streams that are open on them.

A client is made outside any loop and may serve several `asyncio.run()`s in a row. Each loop gets a session of its own
when it first needs one; an async generator, parked in the loop, closes that session when the loop shuts down.
"""

from __future__ import annotations

import asyncio
import os
import ssl as ssl_module
import warnings
import weakref
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import anyio
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ..errors import ClosedError

if TYPE_CHECKING:
    from aiohttp.client_proto import ResponseHandler

__all__ = ["Abortable", "ConnectWatcher", "SessionPool", "connect_watcher"]

# Closing waits for the peer's side of each connection; a peer that never answers must not hold up a shutdown.
_CLOSE_SECONDS = 1.0
_RECEIVE_SIZE = 64 * 1024


class Abortable(Protocol):
    """What the pool ends before it closes the session underneath."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def abort(self) -> None: ...


class ConnectWatcher(Protocol):
    """Who wants to know how a request gets its connection."""

    def connecting(self) -> None:
        """A new connection is being made: name look-up, TCP, TLS."""

    def connected(self, transport: asyncio.Transport | None) -> None:
        """The request has its connection, new or used before."""


connect_watcher: ContextVar[ConnectWatcher | None] = ContextVar("connect_watcher", default=None)


class _Connector(aiohttp.TCPConnector):
    """Tells the request's watcher what aiohttp's own limits lump together: waiting for a connection and making one."""

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        watcher = connect_watcher.get()
        if watcher is not None:
            watcher.connected(connection.transport)
        return connection

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        watcher = connect_watcher.get()
        if watcher is not None:
            watcher.connecting()
        protocol = await super()._create_connection(req, traces, timeout)
        _receive_in_small_pieces(protocol.transport)
        return protocol


def _receive_in_small_pieces(transport: asyncio.Transport | None) -> None:
    """Let asyncio allocate 64 KiB for each receive on a plain socket instead of 256, which malloc maps and unmaps."""
    if hasattr(transport, "max_size"):
        transport.max_size = _RECEIVE_SIZE  # type: ignore[union-attr]  # None has no such attribute


class _LoopSession:
    def __init__(self, session: aiohttp.ClientSession, closer: AsyncGenerator[None, None]) -> None:
        self.session = session
        self.closer = closer


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
        self._pid = os.getpid()
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopSession] = weakref.WeakKeyDictionary()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        # What a forked child inherited: never used or closed there, since closing would reach the parent's peers.
        self._inherited: list[object] = []

    async def get(self) -> aiohttp.ClientSession:
        """Return the running loop's session; raise ClosedError after `aclose()`."""
        if self.closed:
            raise ClosedError("the client is closed")
        if self._session is not None:
            if self._session.closed:
                raise ClosedError("the session that the client was given is closed")
            return self._session
        if os.getpid() != self._pid:
            self._forget()
        loop = asyncio.get_running_loop()
        entry = self._by_loop.get(loop)
        if entry is None or entry.session.closed:
            entry = self._by_loop[loop] = await self._new_entry()
        return entry.session

    def track(self, stream: Abortable) -> None:
        """Remember a stream that has to end before its session does."""
        self._open.add(stream)

    async def aclose(self) -> None:
        """Abort open streams, close the running loop's session, and refuse further use."""
        self.closed = True
        if os.getpid() != self._pid:
            self._forget()
        for stream in list(self._open):
            stream.abort()
        entry = self._by_loop.pop(asyncio.get_running_loop(), None)
        if entry is not None:
            await entry.closer.aclose()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # The loop itself closes the session when it finds the closer gone; here there is only a word to say.
        by_loop = getattr(self, "_by_loop", {})
        if any(not loop.is_closed() and not entry.session.closed for loop, entry in list(by_loop.items())):
            _warn("unclosed AsyncSiliconFlow: use `async with`, or await its aclose()", ResourceWarning, stacklevel=2)

    async def _new_entry(self) -> _LoopSession:
        connector = _Connector(limit=self._max_connections, ssl=self._ssl or True)
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
            # Proxies are resolved once, in the client: aiohttp would ask a thread for each request.
            trust_env=False,
        )
        closer = _close_with_loop(session, self._open)
        await anext(closer)
        return _LoopSession(session, closer)

    def _forget(self) -> None:
        self._inherited.append((dict(self._by_loop), list(self._open)))
        self._by_loop = weakref.WeakKeyDictionary()
        self._open = weakref.WeakSet()
        self._pid = os.getpid()


async def _close_with_loop(session: aiohttp.ClientSession, streams: weakref.WeakSet[Any]) -> AsyncGenerator[None, None]:
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        for stream in list(streams):
            if stream.loop is loop:
                stream.abort()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await session.close()
