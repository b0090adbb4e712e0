"""aiohttp's reader of a body, without what only its other users need.

Nearly every token of a stream is a read of its own, and for each aiohttp notes where the HTTP chunk ended, enters a
timer that never runs, takes bytes out piece by piece and tells the protocol to go on: a seventh of what a paced token
costs, on uvloop a fifth. The private names of `StreamReader` stand here alone. Should aiohttp rename them, its reader
is used as it is, and `tests/transport/test_reader.py` fails.
"""

from __future__ import annotations

from aiohttp import StreamReader
from aiohttp.base_protocol import BaseProtocol

__all__ = ["AnswerReader", "quicken"]

# A piece takes some 50 bytes besides its own: a server that sends byte by byte is held back before they are many.
_MOST_PIECES = 4096
_NAMES = {"_buffer", "_eof", "_exception", "_loop", "_protocol", "_size", "_waiter"}
_FITS = set(getattr(StreamReader, "__slots__", ())) >= _NAMES and hasattr(BaseProtocol, "_reading_paused")


class AnswerReader(StreamReader):
    """Reads all there is, and knows nothing of the chunks that it came in."""

    __slots__ = ()

    def begin_http_chunk_receiving(self) -> None:
        pass

    def end_http_chunk_receiving(self) -> None:
        if len(self._buffer) > _MOST_PIECES:
            self._protocol.pause_reading()

    async def readany(self) -> bytes:
        buffer = self._buffer
        while not buffer:
            if self._exception is not None:
                raise self._exception
            if self._eof:
                return b""
            if self._protocol.transport is None:
                raise ConnectionError("the connection is closed")
            waiter = self._waiter = self._loop.create_future()
            try:
                await waiter
            finally:
                self._waiter = None
        data = buffer.popleft() if len(buffer) == 1 else b"".join(buffer)
        buffer.clear()
        self._size = 0
        if self._protocol._reading_paused:
            self._protocol.resume_reading()
        return data


def quicken(content: StreamReader) -> None:
    """Make aiohttp's reader one of ours; bytes that it holds stay where they are."""
    # The parser makes the reader, and no option of aiohttp's says of which class.
    if _FITS and type(content) is StreamReader:
        content.__class__ = AnswerReader
