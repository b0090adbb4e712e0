"""stdin, line by line, while everything else goes on."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from concurrent.futures import Future

from .. import ConfigurationError
from ..batch.lines import LineBuffer

__all__ = ["stdin_lines"]

_STDIN = 0
_PIECE = 65536


async def stdin_lines() -> AsyncIterator[bytes]:
    """Yield the lines of stdin as they come, reading no further than is asked for.

    Raises ConfigurationError where stdin can't be read.
    """
    lines = LineBuffer()
    try:
        while piece := await _next_piece():
            for line in lines.feed(piece):
                yield line
    except OSError as error:
        raise ConfigurationError(f"can't read stdin: {error.strerror}") from error
    for line in lines.rest():
        yield line


async def _next_piece() -> bytes:
    """Read what there is, at least one byte before the end."""
    piece: Future[bytes] = Future()
    # From here on it can't be cancelled, so that the thread may always say what it got.
    piece.set_running_or_notify_cancel()

    def read() -> None:
        try:
            piece.set_result(os.read(_STDIN, _PIECE))
        except OSError as error:
            piece.set_exception(error)

    # A file can't be waited for by the loop, and a thread of a pool that waits for a terminal would hold up the exit.
    threading.Thread(target=read, daemon=True).start()
    return await asyncio.wrap_future(piece)
