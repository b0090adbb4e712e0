"""`sse_response`: an answer as a body of server-sent events, for whatever sends bytes that it iterates.

Each event is `id: N` and `data: {…}`, one JSON object with a `type`, without an `event:` line, so that a browser's
`EventSource.onmessage` gets them all. (HTML standard, section 9.2, "Server-sent events".)
"""

from __future__ import annotations

import asyncio
from typing import Self

from ..errors import BusyError, ConfigurationError
from ..loops import on_loop
from ..wire.events import error_event
from ..wire.structs import ChatCompletion
from .frames import BUFFER_BYTES, FrameQueue, Slow, check_seconds
from .lending import ListeningQueue
from .protocols import Dialect, ProtocolName, as_dialect
from .pump import Describe, OnFinish, Pump, Source

__all__ = ["SSEResponse", "sse_response"]

_COMMENT = b": keep-alive\n\n"
# What waits is joined into pieces of about this many bytes.
_PIECE = 64 * 1024


class SSEResponse:
    """The body of a response, and what goes before it: `status`, `media_type`, `headers`.

    Iterate it once for pieces of bytes, each of whole events. Upstream is read from the first piece on, so that a body
    which nobody takes asks for nothing; it is aborted as soon as the iteration is cancelled, `abort()` or `aclose()` is
    called, or the last reference goes.
    """

    def __init__(
        self, pump: Pump, queue: FrameQueue, dialect: Dialect, *, keep_alive: float | None, status: int
    ) -> None:
        self._pump = pump
        self._queue = queue
        self._is_numbered = dialect.is_numbered
        self._keep_alive = keep_alive
        self._reading = False
        self.status = status
        self.media_type = "text/event-stream"
        self.headers = {
            "Content-Type": "text/event-stream; charset=utf-8",
            # A proxy that compresses or buffers would hold tokens back.
            "Cache-Control": "no-cache, no-transform",
            "X-Accel-Buffering": "no",
            **dialect.headers,
        }

    @property
    def completion(self) -> ChatCompletion | None:
        """What had arrived when upstream ended; None before, and if it never opened."""
        return self._pump.completion

    @property
    def error(self) -> Exception | None:
        """Why the answer is not whole, once upstream has ended; None where it is, and where the client just left."""
        return self._pump.error

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._reading:
            raise BusyError("another task is waiting for this response")
        reading = self._pump.task
        self._reading = True
        try:
            if not await self._queue.wait(self._keep_alive):
                return _COMMENT
            piece = bytearray()
            while len(piece) < _PIECE and (frame := self._queue.take()) is not None:
                if frame.seq is not None and (frame.resumable or self._is_numbered):
                    piece += b"id: %d\n" % frame.seq
                piece += b"data: %b\n\n" % frame.part.json
            if piece:
                return bytes(piece)
            # Not `await task`, which would hand a cancellation on to on_finish.
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._reading = False
        if not reading.cancelled():
            reading.result()
        raise StopAsyncIteration

    def abort(self) -> None:
        """Abort upstream at once; what waits can still be iterated."""
        self._pump.stop()

    async def aclose(self) -> None:
        """Abort upstream, and wait until `on_finish` has saved what had arrived."""
        self.abort()
        await asyncio.wait([self._pump.task])

    def __del__(self) -> None:
        # Not there if __init__ failed.
        pump: Pump | None = getattr(self, "_pump", None)
        if pump is not None:
            on_loop(pump.loop, pump.stop)


def sse_response(
    stream: Source,
    *,
    protocol: ProtocolName | Dialect = "events",
    keep_alive: float | None = 15.0,
    slow: Slow = "merge",
    buffer: int = 64,
    buffer_bytes: int = BUFFER_BYTES,
    patience: float = 1.0,
    smooth: float = 0.0,
    describe: Describe = error_event,
    on_finish: OnFinish | None = None,
) -> SSEResponse:
    """Return a stream's events as the body of a response, with its headers.

    stream: an open ChatStream; or what `stream(…)` returns, which is opened when the first piece is taken; or a reader
        of a Broadcast, whose ids a client can resume from by its `Last-Event-ID`. `status` is then 204, by which a
        browser stops reconnecting, where there is nothing left to send.
    protocol: what the client is sent, as for `relay`.
    keep_alive: seconds of silence after which a comment is sent, so that no proxy takes it for the end; None: never.
    slow, buffer, buffer_bytes, patience, smooth, describe, on_finish: as for `relay`; a client that is dropped gets
        what waits for it and an error, and no more.

    Raises ConfigurationError for an argument that can't be. Iterating raises what `on_finish` raises.
    """
    if keep_alive is not None and not check_seconds(keep_alive, "keep_alive"):
        raise ConfigurationError("keep_alive must be above 0 seconds, or None")
    dialect = as_dialect(protocol)
    queue = ListeningQueue(dialect, buffer, buffer_bytes, slow=slow, patience=patience, smooth=smooth)
    pump = Pump(stream, queue, describe=describe, on_finish=on_finish)
    status = 204 if getattr(stream, "at_end", False) else 200
    return SSEResponse(pump, queue, dialect, keep_alive=keep_alive, status=status)
