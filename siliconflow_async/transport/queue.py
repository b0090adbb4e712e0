"""The requests of one event loop that wait for a free connection: how many, and a word when that takes long.

Streams that are held open and not read keep their connections. Code that holds all there are, and asks for one more,
would wait without a sign of why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Queue"]

_log = logging.getLogger("siliconflow_async")

_LONG = 5.0
# A thousand that wait are told of once in so many seconds.
_SILENT_FOR = 60.0


class Queue:
    """Those who wait for one of `limit` connections; a warning once one of them has waited for 5 seconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        # When each of them came, the first to come first.
        self._since: dict[object, float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._silent_until = 0.0

    def __len__(self) -> int:
        return len(self._since)

    @contextmanager
    def wait(self) -> Iterator[None]:
        """Be one of them."""
        who = object()
        self._since[who] = self._loop.time()
        if self._timer is None:
            self._set_timer()
        try:
            yield
        finally:
            del self._since[who]
            if not self._since and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def _set_timer(self) -> None:
        first = next(iter(self._since.values()))
        self._timer = self._loop.call_at(max(first + _LONG, self._silent_until), self._look)

    def _look(self) -> None:
        now = self._loop.time()
        waited = now - next(iter(self._since.values()))
        if waited >= _LONG:
            self._silent_until = now + _SILENT_FOR
            _log.warning(
                "waiting for one of max_connections=%d (calls: %d, the first for %.0f s); a stream keeps one until "
                "it is read to its end, or left",
                self._limit,
                len(self._since),
                waited,
            )
        self._set_timer()
