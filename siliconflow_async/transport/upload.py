"""A large request body, which tells how much of it has been sent."""

from __future__ import annotations

import asyncio
import select
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import aiohttp

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

__all__ = ["LARGE", "Upload", "UploadWatcher"]

# The system takes what is smaller in one turn: how it gets on need not be watched.
LARGE = 64 * 1024
_PIECE = 64 * 1024
# How many bytes the system takes from us before the line does. Without it they are megabytes, for which a slow line
# takes minutes in the time of the first token.
_UNSENT = 128 * 1024


class UploadWatcher(Protocol):
    """Who wants to know how sending a large body gets on."""

    def sending(self, sent: int) -> None:
        """So many bytes have been sent: 0 at the beginning."""

    def sent(self) -> None:
        """The last byte has been sent."""


class Upload(aiohttp.Payload):
    """Sends `body` in pieces, the next when the system has taken the one before, and tells `watcher` of each."""

    def __init__(self, body: bytes, watcher: UploadWatcher) -> None:
        super().__init__(body, content_type="application/json")
        self._size = len(body)
        self._watcher = watcher

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return str(self._value, encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        transport = writer.transport
        if transport is None:
            raise ConnectionResetError("the connection was closed before the request was sent")
        wire = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with suppress(OSError):
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        # So that `drain` waits until nothing lies in this process; with 0, asyncio's TLS would wait for ever.
        transport.set_write_buffer_limits(high=1)
        body = memoryview(self._value)
        self._watcher.sending(0)
        for start in range(0, len(body), _PIECE):
            await _let_answer_in(wire)
            piece = body[start : start + _PIECE]
            await writer.write(piece)
            await writer.drain()
            self._watcher.sending(start + len(piece))
        self._watcher.sent()


async def _let_answer_in(wire: socket.socket) -> None:
    """Give the loop time to read what has come: who refuses a request may close at once, and a write would lose it."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLIN)
    if poll.poll(0):
        # The loop looks at the socket in one turn, reads it in the next, and TLS hands it on.
        for _ in range(3):
            await asyncio.sleep(0)
