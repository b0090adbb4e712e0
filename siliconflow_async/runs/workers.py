"""The tasks of a `map`: they take requests from the iterable, and put results where the consumer finds them.

Each takes its next request when it has finished the one before. How many requests have been taken whose results were
not given out is bounded, so a slow consumer holds up the tasks, the tasks the iterable, and memory stays as it is
however many requests there are. They know nothing of the `MapResults` that the consumer holds, which may be forgotten.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sized
from typing import TYPE_CHECKING, Any, Generic

from ..errors import BusyError, ClosedError, SiliconFlowError
from ..loops import running_loop
from .intake import Intake
from .outlet import Outlet
from .progress import Reporter, Tally
from .results import C, MapItem, MapResult, MapTimes, OnEvent, OnProgress, Requests

if TYPE_CHECKING:
    from ..calls.chat import ChatCall
    from ..stream.stream import ChatStream

__all__ = ["Workers"]


class Workers(Generic[C]):
    """One run. `begin` makes a request ready or raises a SiliconFlowError; the other keywords are those of `map`."""

    def __init__(
        self,
        requests: Requests,
        begin: Callable[[MapItem], Awaitable[ChatCall]],
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
        self._max_concurrency = max_concurrency
        self._fail_fast = fail_fast
        self._on_event = on_event
        self._on_progress = on_progress
        self.loop: asyncio.AbstractEventLoop | None = None
        self.left = False
        self._intake = Intake((), 0)
        self._outlet: Outlet[C] = Outlet(ordered=ordered)
        self._tally = Tally(max_concurrency, len(requests) if total is None and isinstance(requests, Sized) else total)
        self._reporter: Reporter | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._failure: BaseException | None = None

    def describe(self) -> str:
        """Return how far the run is."""
        state = "left" if self.left else "not entered" if self.loop is None else "running"
        return f"{state}, {self._intake.taken} taken, {self._outlet.given} given out"

    def start(self) -> None:
        """Begin to take requests."""
        if self.loop is not None:
            raise BusyError("these results were entered before; call map(…) again")
        self.loop = running_loop()
        self._intake = Intake(self._requests, 2 * self._max_concurrency)
        if self._on_progress is not None:
            self._reporter = Reporter(self._report, self._tally.tokens)
        self._add_tasks(1)

    async def leave(self) -> None:
        """Cancel what is left, and wait until it is gone."""
        self.abandon()
        cancelled: asyncio.CancelledError | None = None
        while self._tasks:
            try:
                await asyncio.wait(self._tasks)
            except asyncio.CancelledError as again:
                # The rest is over in a turn or two: nothing is left behind for being cancelled.
                cancelled = again
        self._outlet.wake()
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
            result = self._outlet.take()
            if result is not None:
                self._intake.make_room()
                return result
            if not self._tasks:
                failure = self._failure or self._intake.error
                if failure is None:
                    raise StopAsyncIteration
                raise _raisable(failure)
            await self._outlet.wait()

    # The tasks

    def _add_tasks(self, count: int) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(min(count, self._max_concurrency - len(self._tasks))):
            task = loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopping:
                # Not by us: its request would be lost without a word.
                self._fail(ClosedError("a task of this run was cancelled from outside"))
        elif (error := task.exception()) is not None:
            self._fail(error)
        if not self._tasks:
            self._outlet.wake()

    async def _work(self) -> None:
        take = self._intake.take
        item = await take()
        if item is not None:
            # Two, so that all of them work after a few turns of the loop, and not many have come for nothing.
            self._add_tasks(2)
        while item is not None:
            result = await self._run(item)
            if result is not None:
                self._put(result)
            # All that have just ended begin their next together, in the loop's next turn: the same steps, one task
            # after the other, find their code and data in the processor's caches.
            await asyncio.sleep(0)
            item = await take()

    def _fail(self, error: BaseException) -> None:
        """End the run: what has finished is given out, then `error` is raised, or what came before it."""
        if self._failure is None:
            self._failure = self._intake.error or error
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._intake.end()
        here = asyncio.current_task()
        for task in self._tasks:
            if task is not here:
                task.cancel()

    # One request

    async def _run(self, item: MapItem) -> MapResult[C] | None:
        """Return how it went; None if the run has failed over it."""
        started_at = time.monotonic()
        call: ChatCall | None = None
        completion: Any = None
        error: SiliconFlowError | None = None
        try:
            call = await self._begin(item)
            self._tally.begun(item.index, call.passage)
            stream = await call.stream()
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
            self._tally.ended(item.index)
        return MapResult(
            index=item.index,
            custom_id=item.custom_id,
            request=item.request,
            completion=completion,
            error=error,
            attempts=call.attempts if call is not None else 0,
            times=MapTimes(
                waited=call.passage.waited if call is not None else 0.0,
                first_token=call.passage.first_token if call is not None else None,
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
        self._tally.finished(failed=result.error is not None)
        if result.error is not None and self._fail_fast:
            named = f" (custom_id {result.custom_id!r})" if result.custom_id is not None else ""
            result.error.add_note(f"request {result.index}{named}")
            self._fail(result.error)
        else:
            self._outlet.put(result)

    def _report(self, elapsed: float, tokens: int, tokens_per_second: float) -> None:
        assert self._on_progress is not None
        try:
            self._on_progress(self._tally.progress(elapsed, tokens, tokens_per_second))
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
