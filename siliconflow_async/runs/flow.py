"""What flows through a run: requests from the user's iterable, and results to the one who takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Any, Generic

from ..checks import MAPPINGS
from ..errors import BusyError
from .results import C, MapDone, MapFailed, MapItem

__all__ = ["Flow"]


class Flow(Generic[C]):
    """Takes requests one after another, and holds results until they are given out: as they came, or by their index.

    At most `most` requests are under way whose results were not given out, for which the iterable has to wait. `error`
    is the first that ended the run: what the iterable raises ends the requests, not those that were taken.
    """

    def __init__(self, requests: Iterable[Any] | AsyncIterable[Any], most: int, *, ordered: bool) -> None:
        self.taken = 0
        self.given = 0
        self.error: BaseException | None = None
        self._most = most
        self._ordered = ordered
        self._ended = False
        self._sync: Iterator[Any] = iter(())
        self._async: AsyncIterator[Any] | None = None
        # An async iterable is waited for by one at a time.
        self._turn = asyncio.Lock()
        # Those who wait for room.
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._finished: deque[MapDone[C] | MapFailed] = deque()
        # Results that others have to come before.
        self._early: dict[int, MapDone[C] | MapFailed] = {}
        self._reader: asyncio.Future[None] | None = None
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

    def end(self, error: BaseException | None = None) -> None:
        """Take no more."""
        self._ended = True
        if self.error is None:
            self.error = error
        self._let_in(len(self._waiting))

    def put(self, result: MapDone[C] | MapFailed) -> None:
        """Take in a result."""
        if not self._ordered:
            self._finished.append(result)
        else:
            self._early[result.index] = result
            while (following := self._early.pop(self.given + len(self._finished), None)) is not None:
                self._finished.append(following)
        if self._finished:
            self.wake()

    def give(self) -> MapDone[C] | MapFailed | None:
        """Give out the next result, which makes room; None if no result has come yet."""
        if not self._finished:
            return None
        self.given += 1
        self._let_in(1)
        return self._finished.popleft()

    async def wait(self) -> None:
        """Wait until there may be a result, or no more will come; BusyError if another task waits."""
        if self._reader is not None:
            raise BusyError("another task is waiting for these results")
        self._reader = asyncio.get_running_loop().create_future()
        try:
            await self._reader
        finally:
            self._reader = None

    def wake(self) -> None:
        """Have whoever waits for a result look again."""
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def _take(self) -> MapItem | None:
        while not self._ended and self.taken - self.given >= self._most:
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
        custom_id = request.get("custom_id") if isinstance(request, MAPPINGS) else None
        return MapItem(index=index, custom_id=custom_id if isinstance(custom_id, str) else None, request=request)

    def _let_in(self, count: int) -> None:
        """Have up to so many of those who wait for room look again."""
        while count and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                count -= 1
