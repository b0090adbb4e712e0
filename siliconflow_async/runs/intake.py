"""The requests of a run, taken from the user's iterable one after another while there is room for their results."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from typing import Any

from ..checks import MAPPINGS
from .results import MapItem, Requests

__all__ = ["Intake"]


class Intake:
    """Gives out items; at most `most` are held whose results were not given out, which the iterable has to wait for.

    `error` is what the iterable raised: it ends the requests, not those that were taken.
    """

    __slots__ = ("_async", "_ended", "_held", "_most", "_sync", "_turn", "_waiting", "error", "taken")

    def __init__(self, requests: Requests, most: int) -> None:
        self.taken = 0
        self.error: Exception | None = None
        self._most = most
        self._held = 0
        self._ended = False
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sync: Iterator[Mapping[str, Any]] = iter(())
        self._async: AsyncIterator[Mapping[str, Any]] | None = None
        # An async iterable is waited for by one at a time.
        self._turn = asyncio.Lock()
        if isinstance(requests, AsyncIterable):
            self._async = aiter(requests)
        else:
            self._sync = iter(requests)

    async def take(self) -> MapItem | None:
        """Return the next request, once there is room for its result; None if there are no more."""
        if self._async is None:
            return await self._take()
        async with self._turn:
            return await self._take()

    def make_room(self) -> None:
        """Note that a result was given out."""
        self._held -= 1
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return

    def end(self, error: Exception | None = None) -> None:
        """Take no more."""
        self._ended = True
        if self.error is None:
            self.error = error
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)

    async def _take(self) -> MapItem | None:
        while not self._ended and self._held >= self._most:
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            await place
        if self._ended:
            return None
        try:
            request = next(self._sync) if self._async is None else await anext(self._async)
        except (StopIteration, StopAsyncIteration):
            self.end()
            return None
        except Exception as error:  # the user's own
            self.end(error)
            return None
        index = self.taken
        self.taken += 1
        self._held += 1
        custom_id = request.get("custom_id") if isinstance(request, MAPPINGS) else None
        return MapItem(index=index, custom_id=custom_id if isinstance(custom_id, str) else None, request=request)
