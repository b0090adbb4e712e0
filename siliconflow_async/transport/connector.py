"""aiohttp's connector, with what it keeps to itself: how a request gets its connection, and whether an answer began.

Private names of aiohttp and asyncio stand here and in `reader`: `_factory`, `_get`, `_conns`, `_acquired`,
`_wait_for_available_connection`, `_create_connection` and `_resolve_host` of the connector, `_payload`, `_buffer` and
`feed_data` of its protocol, `max_size` of a socket's transport. `tests/transport/test_connector.py` fails when one of
them goes.
"""

from __future__ import annotations

import asyncio
import os
import socket
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import ResolveResult
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection
from aiohttp.http_exceptions import BadHttpMessage
from aiohttp.tracing import Trace

from .queue import Queue

__all__ = ["AnswerProtocol", "ConnectWatcher", "Connector", "connect_watcher", "process_id"]

# asyncio's own 256 KiB are mapped and unmapped by malloc for each receive, which costs a third of a paced token; and
# what is made of more bytes at once outgrows the processor's caches.
_RECEIVE_SIZE = 64 * 1024
# Each makes an object of twenty times its size, and uvloop reads up to 8 MiB of them in a turn, before any is taken.
_MOST_HEADS = 64
# aiohttp bounds each header field and their number; a server that used both to the full would take 40 MB.
MAX_HEAD = 1024 * 1024


class ConnectWatcher(Protocol):
    """Who waits for an answer, and wants to know how the request gets its connection.

    `distrusts` is set where a connection failed the request: to when that one was taken, by `time.monotonic()`, or to 0
    if none could be made. The request gets a new one, and those that have been idle since then are closed.
    """

    distrusts: float | None

    def queued(self) -> None:
        """All connections are in use: one has to come free."""

    def connecting(self) -> None:
        """A new connection is being made: name look-up, TCP, TLS."""

    def connected(self, protocol: AnswerProtocol) -> None:
        """The request has its connection, new or used before."""


# Weak, since aiohttp's keep-alive timer holds the context of the request that set it.
connect_watcher: ContextVar[weakref.ref[ConnectWatcher]] = ContextVar("connect_watcher")


def _watcher() -> ConnectWatcher:
    watcher = connect_watcher.get()()
    assert watcher is not None
    return watcher


# For each read of each stream: `super()` would cost as much again.
_receive = ResponseHandler.data_received


def _has_surplus(data: bytes, end: int) -> bool:
    """Whether more follows the headers, which stop at `end`, than they announce."""
    at = data.find(b"ength:", 0, end) + 6
    announced = data[at : data.find(b"\r", at)].strip() if at > 5 else b""
    return announced.isdigit() and len(announced) < 19 and int(announced) < len(data) - end


class AnswerProtocol(ResponseHandler):
    """Knows whether a byte of the present answer came, bounds its head, and leaves no reader of a body behind.

    It keeps `_MOST_HEADS` heads that were not taken yet, such as `103 Early Hints`; one more ends the connection.
    """

    # How many bytes more the present answer's head may have; 0 once it has come.
    head_left = MAX_HEAD
    # Until the connection is lost, which over TLS is later than aiohttp forgets it.
    wire: asyncio.Transport | None = None

    @property
    def answered(self) -> bool:
        """Whether a byte of the present answer came."""
        return self.head_left != MAX_HEAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.wire = self.transport
        # Not the transport: uvloop's for TLS takes no weak reference.
        _connected.add(weakref.ref(self, _connected.discard))
        socket_transport: Any = transport
        if hasattr(socket_transport, "max_size"):
            socket_transport.max_size = _RECEIVE_SIZE

    def data_received(self, data: bytes) -> None:
        if self.head_left and data:
            self.head_left -= len(data)
            # The headers apart: if the framing of chunks is broken, or more comes than the body was to have, aiohttp's
            # parser drops what it read with it.
            end = data.find(b"\r\n\r\n") + 4
            if 4 <= end < len(data) and (data.find(b"hunked", 0, end) > 0 or _has_surplus(data, end)):
                _receive(self, data[:end])
                data = data[end:]
            _receive(self, data)
            # Hints (1xx) come before it, and count.
            if self._buffer and self._buffer[-1][0][0].code >= 200:
                self.head_left = 0
            elif self.head_left <= 0:
                self.set_exception(BadHttpMessage(f"there are {MAX_HEAD} bytes of them, or more"))
                if self.transport is not None:
                    self.transport.abort()
            return
        _receive(self, data)

    def feed_data(self, data: Any, size: int = 0) -> None:
        if len(self) < _MOST_HEADS:
            super().feed_data(data, size)
        elif self.transport is not None and self.exception() is None:
            self.set_exception(BadHttpMessage(f"more than {_MOST_HEADS} of them came at once"))
            self.transport.abort()

    # Where it closes a connection, and after an error of its parser, aiohttp forgets the body, without a word to who
    # waits for it.

    def close(self) -> None:
        body = self._payload
        super().close()
        _end(body, "the connection was closed")

    def abort(self) -> None:
        body = self._payload
        super().abort()
        _end(body, "the connection was closed")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.wire = None
        body = self._payload
        super().connection_lost(exc)
        _end(body, "the framing of the body is broken")


def _end(body: aiohttp.StreamReader | None, words: str) -> None:
    if body is not None and not body.is_eof() and body.exception() is None:
        body.set_exception(aiohttp.ClientPayloadError(words))


class Connector(aiohttp.TCPConnector):
    """Tells the request's watcher what aiohttp's own limits lump together: waiting for a connection and making one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._factory = partial(AnswerProtocol, loop=self._loop)  # type: ignore[assignment]  # partial is invariant
        self.queue = Queue(self._loop, self.limit)

    @property
    def in_use(self) -> int:
        """How many connections requests have, or are making."""
        return len(self._acquired)

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        protocol = connection.protocol
        assert isinstance(protocol, AnswerProtocol)
        protocol.head_left = MAX_HEAD
        _watcher().connected(protocol)
        return connection

    async def _wait_for_available_connection(self, key: ConnectionKey, traces: list[Trace]) -> None:
        _watcher().queued()
        with self.queue.wait():
            await super()._wait_for_available_connection(key, traces)

    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        distrusts = _watcher().distrusts
        if distrusts is None:
            return await super()._get(key, traces)
        # One that broke without a word is seldom alone: each of the others would cost a request its connection.
        idle = self._conns.pop(key, ())
        for protocol, since in idle:
            if since < distrusts:
                protocol.abort()
            else:
                self._conns[key].append((protocol, since))
        return None

    async def _create_connection(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> ResponseHandler:
        _watcher().connecting()
        try:
            return await super()._create_connection(req, traces, timeout)
        except BaseException:  # our clocks cancel
            # The name may have moved; its address would be kept for ten seconds.
            peer = req.proxy or req.url
            self.clear_dns_cache(peer.raw_host, peer.port)
            raise

    async def _resolve_host(self, host: str, port: int, traces: Sequence[Trace] | None = None) -> list[ResolveResult]:
        try:
            return await super()._resolve_host(host, port, traces)
        except KeyError:
            # We awaited another request's look-up, and before our turn came another yet had the address forgotten.
            return await super()._resolve_host(host, port, traces)


# Whatever may have a connection of this process, for a forked child to cut. The loops of several threads add to it at
# once, which a set takes, and a WeakSet does not.
_connected: set[weakref.ref[AnswerProtocol]] = set()
_process_id = os.getpid()


def process_id() -> int:
    """Return what `os.getpid()` does, without asking the kernel, as each request would several times."""
    return _process_id


def _cut_inherited() -> None:
    """In a forked child: put a dead socket in the place of each that it inherited.

    Whatever closes one there later, a finalizer or the end of the interpreter, would otherwise disturb the parent: its
    event loop, whose epoll the two share, or over TLS its peer.
    """
    with socket.socket() as dead:
        for reference in _connected.copy():
            protocol = reference()
            inherited = None if protocol is None or protocol.wire is None else protocol.wire.get_extra_info("socket")
            if inherited is not None and inherited.fileno() != -1:
                os.dup2(dead.fileno(), inherited.fileno(), inheritable=False)
    _connected.clear()
    global _process_id
    _process_id = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_inherited)
