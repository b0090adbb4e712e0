"""One aiohttp session for each event loop, and the streams that are open on them.

A client is made outside any loop and may serve several `asyncio.run()`s in a row. Each loop gets a session of its own
when it first needs one; an async generator, parked in the loop, closes that session when the loop shuts down.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl as ssl_module
import warnings
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any, NamedTuple, Protocol

import aiohttp
import anyio

from ..errors import ClosedError
from .alarms import Alarms
from .connector import Connector, process_id

__all__ = ["Abortable", "LoopSession", "SessionPool"]

# Closing waits for the peer's side of each connection; a peer that never answers must not hold up a shutdown.
_CLOSE_SECONDS = 1.0


class Abortable(Protocol):
    """What the pool ends before it closes the session underneath."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...

    def abort(self) -> None: ...


class LoopSession(NamedTuple):
    """What the requests of one loop share.

    `session` sends the pool's default headers by itself, `bare` none; they have one connector. `closer`, if they are
    the pool's own, closes them with the loop.
    """

    session: aiohttp.ClientSession
    bare: aiohttp.ClientSession
    alarms: Alarms
    closer: AsyncGenerator[None, None] | None


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
        # What most requests send: given to aiohttp once, they cost each of them nothing more.
        self.default_headers: Mapping[str, str] | None = None
        self._max_connections = max_connections
        self._ssl = ssl
        self._session = session
        self._pid = process_id()
        self._by_loop: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopSession] = weakref.WeakKeyDictionary()
        self._open: weakref.WeakSet[Any] = weakref.WeakSet()
        # What a forked child inherited: never used or closed there, since closing would reach the parent's peers.
        self._inherited: list[object] = []

    def get(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        """Return what the running `loop`'s requests share; raise ClosedError after `aclose()`."""
        if self.closed:
            raise ClosedError("the client is closed")
        if process_id() != self._pid:
            self._forget()
        entry = self._by_loop.get(loop)
        if entry is None or entry.session.closed:
            for ended in [known for known in self._by_loop if known.is_closed()]:
                del self._by_loop[ended]
            entry = self._by_loop[loop] = self._new_entry(loop)
        return entry

    def track(self, stream: Abortable) -> None:
        """Remember a stream that has to end before its session does."""
        self._open.add(stream)

    async def aclose(self) -> None:
        """Abort open streams, close the running loop's session, and refuse further use."""
        self.closed = True
        if process_id() != self._pid:
            self._forget()
        here = asyncio.get_running_loop()
        for stream in list(self._open):
            if stream.loop is here:
                stream.abort()
            elif not stream.loop.is_closed():
                stream.loop.call_soon_threadsafe(stream.abort)
        entry = self._by_loop.pop(here, None)
        if entry is not None and entry.closer is not None:
            await entry.closer.aclose()

    def __del__(self, _warn: Any = warnings.warn) -> None:
        # The loop itself closes the session when it finds the closer gone; here there is only a word to say.
        by_loop = getattr(self, "_by_loop", {})
        if process_id() == getattr(self, "_pid", 0) and any(
            not loop.is_closed() and entry.closer is not None and not entry.session.closed
            for loop, entry in list(by_loop.items())
        ):
            _warn("unclosed AsyncSiliconFlow: use `async with`, or await its aclose()", ResourceWarning, stacklevel=2)

    def _new_entry(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        if self._session is not None:
            if self._session.closed:
                raise ClosedError("the session that the client was given is closed")
            return LoopSession(self._session, self._session, Alarms(loop), None)
        connector = Connector(limit=self._max_connections, ssl=self._ssl or True)
        sessions = [
            aiohttp.ClientSession(
                connector=connector,
                connector_owner=headers is not None,
                headers=headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                # The clocks are ours.
                timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
                # Proxies are resolved once, in the client: aiohttp would ask a thread for each request.
                trust_env=False,
            )
            for headers in (self.default_headers or {}, None)
        ]
        closer = _close_with_loop(sessions, self._open)
        # Up to its yield it awaits nothing.
        with contextlib.suppress(StopIteration):
            closer.asend(None).send(None)
        return LoopSession(sessions[0], sessions[1], Alarms(loop), closer)

    def _forget(self) -> None:
        self._inherited.append((dict(self._by_loop), list(self._open)))
        self._by_loop = weakref.WeakKeyDictionary()
        self._open = weakref.WeakSet()
        self._pid = process_id()


async def _close_with_loop(
    sessions: list[aiohttp.ClientSession], streams: weakref.WeakSet[Any]
) -> AsyncGenerator[None, None]:
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        for stream in list(streams):
            if stream.loop is loop:
                stream.abort()
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            for session in sessions:
                await session.close()
