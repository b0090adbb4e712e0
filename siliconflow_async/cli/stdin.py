"""stdin, line by line, while everything else goes on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from queue import SimpleQueue

from .. import ConfigurationError
from ..batch.lines import LineBuffer

__all__ = ["stdin_lines"]

_STDIN = 0
_PIECE = 65536


async def stdin_lines() -> AsyncIterator[bytes]:
    """Yield the lines of stdin as they come, reading no further than is asked for.

    Raises ConfigurationError where stdin can't be read.
    """
    loop = asyncio.get_running_loop()
    asked: SimpleQueue[asyncio.Future[bytes] | None] = SimpleQueue()
    # A file can't be waited for by the loop, and a thread of a pool that waits for a terminal would hold up the exit.
    threading.Thread(target=_read, args=[asked, loop], daemon=True).start()
    lines = LineBuffer()
    try:
        while True:
            piece: asyncio.Future[bytes] = loop.create_future()
            asked.put(piece)
            data = await piece
            if not data:
                break
            for line in lines.feed(data):
                yield line
        for line in lines.rest():
            yield line
    except OSError as error:
        raise ConfigurationError(f"can't read stdin: {error.strerror}") from error
    finally:
        asked.put(None)


def _read(asked: SimpleQueue[asyncio.Future[bytes] | None], loop: asyncio.AbstractEventLoop) -> None:
    while (piece := asked.get()) is not None:
        data, failure = b"", None
        try:
            data = os.read(_STDIN, _PIECE)
        except OSError as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended, and nobody waits any more
            loop.call_soon_threadsafe(_settle, piece, data, failure)


def _settle(piece: asyncio.Future[bytes], data: bytes, failure: OSError | None) -> None:
    if piece.done():
        return
    if failure is not None:
        piece.set_exception(failure)
    else:
        piece.set_result(data)
