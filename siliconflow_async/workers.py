"""The tasks of a `map`: they take requests from the iterable, and put results where the consumer finds them.

Each takes its next request when it has finished the one before. How many requests have been taken whose results were
not given out is bounded, so a slow consumer holds up the tasks, the tasks the iterable, and memory stays as it is
however many requests there are. They know nothing of the `MapResults` that the consumer holds, which may be forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sized
from typing import TYPE_CHECKING, Any, Generic

from .checks import MAPPINGS
from .errors import BusyError, ClosedError, SiliconFlowError
from .loops import running_loop
from .progress import MapProgress, Reporter, held_up
from .results import C, MapItem, MapResult, MapTimes, OnEvent, OnProgress, Requests

if TYPE_CHECKING:
    from random import Random

    from .call import Call
    from .stream import ChatStream

__all__ = ["Workers"]


class Workers(Generic[C]):
    """One run. `begin` makes a request ready or raises a SiliconFlowError; the other keywords are those of `map`."""

    def __init__(
        self,
        requests: Requests,
        begin: Callable[[MapItem], Awaitable[Call]],
        rng: Random,
        *,
        max_concurrency: int,
        ordered: bool,
        fail_fast: bool,
        on_event: OnEvent | None,
        on_progress: OnProgress | None,
        total: int | None,
    ) -> None:
        self._requests = requests
        self._begin = begin
        self._rng = rng
        self._max_concurrency = max_concurrency
        self._ordered = ordered
        self._fail_fast = fail_fast
        self._on_event = on_event
        self._on_progress = on_progress
        self._total = len(requests) if total is None and isinstance(requests, Sized) else total
        self.loop: asyncio.AbstractEventLoop | None = None
        self.left = False
        self._stopping = False
        self._sync: Iterator[Mapping[str, Any]] = iter(())
        self._async: AsyncIterator[Mapping[str, Any]] | None = None
        self._turn = asyncio.Lock()
        # Taken and not given out, finished ones included.
        self._most_held = 2 * max_concurrency
        self._taken = 0
        self._given = 0
        self._exhausted = False
        self._workers: set[asyncio.Task[None]] = set()
        self._idle: deque[asyncio.Future[None]] = deque()
        self._finished: deque[MapResult[C]] = deque()
        self._early: dict[int, MapResult[C]] = {}
        self._consumer: asyncio.Future[None] | None = None
        self._failure: BaseException | None = None
        self._done = self._failed = self._tokens = 0
        self._calls: dict[int, Call] = {}
        self._reporter: Reporter | None = None

    def describe(self) -> str:
        """Return how far the run is."""
        state = "left" if self.left else "not entered" if self.loop is None else "running"
        return f"{state}, {self._taken} taken, {self._given} given out"

    def start(self) -> None:
        """Begin to take requests."""
        if self.loop is not None:
            raise BusyError("these results were entered before; call map(…) again")
        self.loop = running_loop()
        if isinstance(self._requests, AsyncIterable):
            self._async = aiter(self._requests)
        else:
            self._sync = iter(self._requests)
        if self._on_progress is not None:
            self._reporter = Reporter(self._report, self._count_tokens)
        self._add_workers(1)

    async def leave(self) -> None:
        """Cancel what is left, and wait until it is gone."""
        self.abandon()
        cancelled: asyncio.CancelledError | None = None
        while self._workers:
            try:
                await asyncio.wait(self._workers)
            except asyncio.CancelledError as again:
                # The rest is over in a turn or two: nothing is left behind for being cancelled.
                cancelled = again
        if self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)
        if cancelled is not None:
            raise cancelled

    def abandon(self) -> None:
        """Cancel what is left."""
        self.left = True
        self._stop()
        if self._reporter is not None:
            reporter, self._reporter = self._reporter, None
            reporter.stop()

    async def next(self) -> MapResult[C]:
        """Return the next result; raise StopAsyncIteration at the end, or what ended the run."""
        while True:
            if self.left or self.loop is None:
                raise ClosedError("results are given out inside `async with` only")
            if self._finished:
                self._given += 1
                self._wake_idle()
                return self._finished.popleft()
            if not self._workers:
                if self._failure is None:
                    raise StopAsyncIteration
                raise _raisable(self._failure)
            if self._consumer is not None:
                raise BusyError("another task is waiting for these results")
            self._consumer = self.loop.create_future()
            try:
                await self._consumer
            finally:
                self._consumer = None

    # The pool

    def _add_workers(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(count, self._max_concurrency - len(self._workers))):
            task = loop.create_task(self._work())
            self._workers.add(task)
            task.add_done_callback(self._worker_ended)

    def _worker_ended(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if task.cancelled():
            if not self._stopping:
                # Not by us: its request would be lost without a word.
                self._fail(ClosedError("a task of this run was cancelled from outside"))
        elif (error := task.exception()) is not None:
            self._fail(error)
        if not self._workers:
            self._wake_consumer()

    async def _work(self) -> None:
        take = self._take if self._async is None else self._take_in_turn
        item = await take()
        if item is not None:
            # Two, so that all of them work after a few turns of the loop, and not many have come for nothing.
            self._add_workers(2)
        while item is not None:
            result = await self._run(item)
            if result is not None:
                self._put(result)
            # All that have just ended begin their next together, in the loop's next turn: the same steps, one worker
            # after the other, find their code and data in the processor's caches.
            await asyncio.sleep(0)
            item = await take()

    async def _take_in_turn(self) -> MapItem | None:
        """`_take` from an async iterable, which is waited for by one at a time."""
        async with self._turn:
            return await self._take()

    async def _take(self) -> MapItem | None:
        """Return the next request, once there is room for its result; None if there are no more."""
        while not self._exhausted and self._taken - self._given >= self._most_held:
            await self._room()
        if self._exhausted:
            return None
        try:
            request = next(self._sync) if self._async is None else await anext(self._async)
        except (StopIteration, StopAsyncIteration):
            self._end_of_requests(None)
            return None
        except Exception as error:  # the user's own: it ends the run once all results are given out
            self._end_of_requests(error)
            return None
        index = self._taken
        self._taken += 1
        custom_id = request.get("custom_id") if isinstance(request, MAPPINGS) else None
        return MapItem(index=index, custom_id=custom_id if isinstance(custom_id, str) else None, request=request)

    def _end_of_requests(self, error: Exception | None) -> None:
        self._exhausted = True
        if error is not None and self._failure is None:
            self._failure = error
        self._wake_idle(all_of_them=True)

    def _room(self) -> asyncio.Future[None]:
        """Return what is done once a result was given out, or there are no more requests."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(place)
        return place

    def _wake_idle(self, *, all_of_them: bool = False) -> None:
        while self._idle:
            place = self._idle.popleft()
            if not place.done():
                place.set_result(None)
                if not all_of_them:
                    return

    # One request

    async def _run(self, item: MapItem) -> MapResult[C] | None:
        """Return how it went; None if the run has failed over it."""
        started_at = time.monotonic()
        call: Call | None = None
        completion: Any = None
        error: SiliconFlowError | None = None
        try:
            call = self._calls[item.index] = await self._begin(item)
            stream = await call.begin(self._rng)
            try:
                if self._on_event is not None and not await self._tell(self._on_event, item, stream):
                    return None
                # Parsed, if the request has a type; a ParseError is its error.
                completion = await stream.completion()
            finally:
                stream.abort()
        except ClosedError as failure:
            # The client was closed: so it would go for all that are left.
            self._fail(failure)
            return None
        except SiliconFlowError as failure:
            error = failure
        finally:
            self._calls.pop(item.index, None)
            if call is not None:
                self._tokens += call.tokens
        return MapResult(
            index=item.index,
            custom_id=item.custom_id,
            request=item.request,
            completion=completion,
            error=error,
            attempts=call.attempts if call is not None else 0,
            times=MapTimes(
                waited=call.waited if call is not None else 0.0,
                first_token=call.first_token if call is not None else None,
                total=time.monotonic() - started_at,
            ),
        )

    async def _tell(self, on_event: OnEvent, item: MapItem, stream: ChatStream) -> bool:
        """Give out the events; False if the run has failed over it."""
        async for event in stream.events():
            try:
                waiting = on_event(item, event)
                if waiting is not None:
                    await waiting
            except Exception as error:  # the user's own, which must not be taken for the request's
                self._fail(error)
                return False
        return True

    def _put(self, result: MapResult[C]) -> None:
        if result.error is None:
            self._done += 1
        else:
            self._failed += 1
            if self._fail_fast:
                named = f" (custom_id {result.custom_id!r})" if result.custom_id is not None else ""
                result.error.add_note(f"request {result.index}{named}")
                self._fail(result.error)
                return
        if not self._ordered:
            self._finished.append(result)
        else:
            self._early[result.index] = result
            while (following := self._early.pop(self._given + len(self._finished), None)) is not None:
                self._finished.append(following)
        self._wake_consumer()

    def _wake_consumer(self) -> None:
        if (self._finished or not self._workers) and self._consumer is not None and not self._consumer.done():
            self._consumer.set_result(None)

    def _fail(self, error: BaseException) -> None:
        """End the run: what has finished is given out, then `error` is raised."""
        if self._failure is None:
            self._failure = error
        self._stop()

    def _stop(self) -> None:
        self._exhausted = self._stopping = True
        self._wake_idle(all_of_them=True)
        here = asyncio.current_task()
        for task in self._workers:
            if task is not here:
                task.cancel()

    # Progress

    def _count_tokens(self) -> int:
        return self._tokens + sum(call.tokens for call in self._calls.values())

    def _report(self, elapsed: float, tokens: int, tokens_per_second: float) -> None:
        assert self._on_progress is not None
        finished = self._done + self._failed
        total = self._total
        states = [k.state() for k in {call.keeper for call in self._calls.values()} if k is not None]
        progress = MapProgress(
            done=self._done,
            failed=self._failed,
            in_flight=len(self._calls),
            total=total,
            tokens=tokens,
            tokens_per_second=tokens_per_second,
            elapsed=elapsed,
            time_left=(total - finished) * elapsed / finished if total is not None and finished else None,
            **held_up(states, self._max_concurrency),
        )
        try:
            self._on_progress(progress)
        except Exception as error:  # the user's own
            if self.left:
                raise
            self._fail(error)


def _raisable(error: BaseException) -> BaseException:
    """Return what may be raised from `__anext__`, where StopAsyncIteration would look like a good end."""
    if isinstance(error, StopIteration | StopAsyncIteration):
        wrapped = RuntimeError(f"{type(error).__name__} from a callback or from the iterable of the requests")
        wrapped.__cause__ = error
        return wrapped
    return error
