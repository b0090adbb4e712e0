"""The body of one answer: every byte that reached this machine, then how it ended."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from .clock import ClockExpired, StreamClock
from .coding import Unzipped, is_zipped, left_encoded
from .connector import process_id
from .reader import quicken

if TYPE_CHECKING:
    from aiohttp import ClientResponse, StreamReader

    from ..timeouts import Timeouts

__all__ = ["Body", "BodyBroken"]


class BodyBroken(Exception):
    """The body ended early; the cause says why. Only for use inside this package."""


class Body:
    """Read an open answer's body under its clock, and leave it."""

    __slots__ = ("_clock", "_content", "_late", "_loop", "_pid", "_response", "_trouble", "unreadable")

    def __init__(self, response: ClientResponse, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = process_id()
        self._response = response
        quicken(response.content)
        self._content: StreamReader | Unzipped = response.content
        # How it is encoded, where that can't be undone: of no use but for its status.
        self.unreadable: str | None = None
        if (encoding := left_encoded(response.headers)) is not None:
            if is_zipped(encoding):
                self._content = Unzipped(response.content)
            else:
                self.unreadable = encoding
        self._clock: StreamClock | None = None
        self._trouble: Exception | None = None
        # How many bytes may still be fetched after a clock ran out.
        self._late: int | None = None

    def start_clock(self, timeouts: Timeouts, sent_at: float, deadline: float | None) -> StreamClock:
        """Put the body under the clocks of a stream."""
        self._clock = StreamClock(self._loop, self._content, timeouts, sent_at, deadline)
        return self._clock

    @property
    def is_compressed(self) -> bool:
        """Whether a few bytes on the wire can become any number."""
        headers = self._response.headers
        return headers.get("Content-Encoding", "identity") != "identity" or isinstance(self._content, Unzipped)

    async def read(self) -> bytes:
        """Wait for bytes and return all there are; b"" at the end.

        Raises `BodyBroken` or `ClockExpired`, but only once all that had arrived has been given out.
        """
        clock = self._clock
        if self._trouble is None and clock is not None and clock.expired is not None:
            self._trouble = ClockExpired(clock.expired)
        if self._trouble is None:
            if clock is not None:
                clock.wait_begins()
            try:
                return await self._content.readany()
            except Exception as error:  # whatever aiohttp stored: its own errors, OSError, our ClockExpired
                # Its traceback holds this frame, and so this body.
                self._trouble = error.with_traceback(None)
        data = self.take_buffered()
        if not data and isinstance(self._trouble, ClockExpired):
            data = await self._take_late()
        if data:
            return data
        if isinstance(self._trouble, ClockExpired):
            # Not the one that is kept, whose traceback would hold the frames that hold this body.
            raise ClockExpired(self._trouble.clock)
        # aiohttp's own words speak of a 400 that nobody sent; they are in the cause.
        raise BodyBroken(type(self._trouble).__name__) from self._trouble

    def at_end(self) -> bool:
        """Whether the end has come and all was read, so that there is no need to wait for it."""
        return self._content.at_eof()

    async def _take_late(self) -> bytes:
        """Return what waited in the kernel when a clock ran out, because a slow reader had paused the transport."""
        connection = self._response.connection
        transport = connection.transport if connection is not None else None
        if transport is None:
            return b""
        # The kernel can have held no more than its buffer: a server that goes on sending must not go on for ever.
        left = self._late
        if left is None:
            left = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        if left <= 0:
            return b""
        # The loop looks at the socket in one turn and reads it in the next.
        for _ in range(2):
            await asyncio.sleep(0)
        data = self.take_buffered()
        self._late = left - len(data)
        return data

    def take_buffered(self) -> bytes:
        """Return the bytes that have arrived and were not read, though the connection may be gone."""
        # aiohttp's reader raises its stored exception before it gives out what it holds.
        self._content.set_exception(None)  # type: ignore[arg-type]  # None is how it starts
        return self._content.read_nowait(-1)

    async def drain(self, max_bytes: int, seconds: float) -> None:
        """Read up to the end of the body, so that the connection can be used again; abort it if that takes too long."""
        if self.at_end():
            return
        try:
            async with asyncio.timeout(seconds):
                while max_bytes > 0:
                    data = await self._content.readany()
                    if not data:
                        return
                    max_bytes -= len(data)
        except Exception:  # the answer is complete: how the rest of its connection fares is nobody's concern
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection at once, TLS or not, unless the body has ended and given it back."""
        connection = self._response.connection
        if connection is None or self._loop.is_closed() or process_id() != self._pid:
            return
        transport = connection.transport
        if transport is not None:
            transport.abort()
        self._response.close()
