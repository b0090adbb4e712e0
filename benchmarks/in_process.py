"""A connection without a socket: aiohttp asks, prebuilt bytes come back in the same process, block by block.

Nothing depends on the machine's timing here: how the bytes are cut into reads is fixed, so that work can be counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

__all__ = ["session"]

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class _Transport(asyncio.Transport):
    def __init__(self, protocol: ResponseHandler, reads: tuple[bytes, ...]) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._reads = reads
        self._left: Iterator[bytes] | None = None
        self._paused = False
        self._closing = False

    def write(self, data: Any) -> None:
        # The request may come in several writes: the answer begins in the turn after the first.
        if self._left is None:
            self._left = iter(self._reads)
            self._next = next(self._left)
            self._loop.call_soon(self._deliver)

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"")

    def _deliver(self) -> None:
        if self._paused or self._closing or self._left is None:
            return
        data, self._next = self._next, next(self._left, None)
        if self._next is None:
            # Whoever reads the end may ask again at once.
            self._left = None
        else:
            self._loop.call_soon(self._deliver)
        self._protocol.data_received(data)

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon(self._deliver)

    def is_reading(self) -> bool:
        return not self._paused

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        self.close()

    def get_write_buffer_size(self) -> int:
        return 0


class _Connector(aiohttp.BaseConnector):
    def __init__(self, reads: tuple[bytes, ...]) -> None:
        super().__init__(limit=0)
        self._answer = reads

    async def _create_connection(self, req: Any, traces: Any, timeout: Any) -> ResponseHandler:
        protocol = ResponseHandler(asyncio.get_running_loop())
        protocol.connection_made(_Transport(protocol, self._answer))
        return protocol


def session(blocks: Iterable[bytes]) -> aiohttp.ClientSession:
    """Return a session in which every request is answered with these blocks, each of them one read."""
    framed = tuple(b"%x\r\n%b\r\n" % (len(block), block) for block in blocks)
    return aiohttp.ClientSession(
        connector=_Connector((_HEAD, *framed, b"0\r\n\r\n")), timeout=aiohttp.ClientTimeout(total=None)
    )
