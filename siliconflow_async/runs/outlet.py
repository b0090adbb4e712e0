"""The results of a run, from the tasks that have them to the one who takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic

from ..errors import BusyError
from .results import C, MapResult

__all__ = ["Outlet"]


class Outlet(Generic[C]):
    """Holds finished results until they are taken: as they came, or `ordered` by their index."""

    __slots__ = ("_early", "_finished", "_ordered", "_waiting", "given")

    def __init__(self, *, ordered: bool) -> None:
        self.given = 0
        self._ordered = ordered
        self._finished: deque[MapResult[C]] = deque()
        # Those that others have to come before.
        self._early: dict[int, MapResult[C]] = {}
        self._waiting: asyncio.Future[None] | None = None

    def put(self, result: MapResult[C]) -> None:
        """Take in a result."""
        if not self._ordered:
            self._finished.append(result)
        else:
            self._early[result.index] = result
            while (following := self._early.pop(self.given + len(self._finished), None)) is not None:
                self._finished.append(following)
        if self._finished:
            self.wake()

    def take(self) -> MapResult[C] | None:
        """Return the next result; None if there is none yet."""
        if not self._finished:
            return None
        self.given += 1
        return self._finished.popleft()

    async def wait(self) -> None:
        """Wait until there may be a result, or no more will come; BusyError if another task waits."""
        if self._waiting is not None:
            raise BusyError("another task is waiting for these results")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def wake(self) -> None:
        """Have whoever waits look again."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
