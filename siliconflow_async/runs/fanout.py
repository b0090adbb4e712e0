"""Many requests at once: what `client.chat.completions.map(…)` returns, and the tasks behind it.

Each task takes its next request when it has finished the one before. How many requests have been taken whose results
were not given out is bounded, so a slow consumer holds up the tasks, the tasks the iterable, and memory stays as it is
however many requests there are. Tasks know nothing of the `MapResults` that the consumer holds, which may be forgotten.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Sized
from types import TracebackType
from typing import Any, Generic, Self, cast

from ..calls.observers import Observers, RunKind, RunState
from ..checks import is_count, is_finite
from ..errors import BusyError, ClosedError, ConfigurationError, SiliconFlowError
from ..loops import on_any_loop, on_loop, running_loop
from .flow import Flow
from .progress import MapProgress, Tally
from .results import Asking, C, CallbackFailed, MapDone, MapFailed, MapItem, MapTimes, OnProgress

__all__ = ["MapResults", "Workers", "check_run"]


class MapResults(Generic[C]):
    """The results of a run, as an async context manager that is iterated; made by `map`.

    Leaving it, or letting go of the last reference, cancels what is left and closes its connections.
    """

    def __init__(self, start: Callable[..., Workers[C]]) -> None:
        # What the client's observers are told that it is.
        self.kind: RunKind = "map"
        self._start = start
        self._workers: Workers[C] | None = None

    def __repr__(self) -> str:
        state = "not entered, 0 taken, 0 given out" if self._workers is None else self._workers.state
        return f"<MapResults {state}>"

    async def __aenter__(self) -> Self:
        if self._workers is not None:
            raise BusyError("these results were entered before; call map(…) again")
        self._workers = self._start(kind=self.kind)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._workers is not None:
            await self._workers.leave()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[MapDone[C] | MapFailed]:
        if self._workers is None:
            raise _outside()
        return self._workers.next()

    def __del__(self) -> None:
        # Not there if __init__ failed.
        workers: Workers[C] | None = getattr(self, "_workers", None)
        if workers is None or workers.left:
            return
        if not on_loop(workers.loop, workers.abandon) and workers.watch is not None:
            # Its tasks have gone with its loop, and can tell of no end.
            on_any_loop(functools.partial(workers.watch.over, closed=True))


class Workers(Generic[C]):
    """One run, which begins at once, and of which `observers` are told as one of that `kind`.

    `begin` makes a request of it ready or raises a SiliconFlowError; the other keywords are those of `map`.
    """

    def __init__(
        self,
        requests: Iterable[Any] | AsyncIterable[Any],
        begin: Callable[[MapItem, RunState | None], Awaitable[Asking[C]]],
        *,
        observers: Observers,
        kind: RunKind,
        max_concurrency: int,
        ordered: bool,
        fail_fast: bool,
        on_progress: OnProgress | None,
        total: int | None,
    ) -> None:
        self.loop = running_loop()
        self.left = False
        self._begin = begin
        self._max_concurrency = max_concurrency
        self._fail_fast = fail_fast
        self._on_progress = on_progress
        self._flow: Flow[C] = Flow(requests, 2 * max_concurrency, ordered=ordered)
        if total is None and isinstance(requests, Sized):
            total = len(requests)
        self._tally = Tally(max_concurrency, total, None if on_progress is None else self._tell_progress)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self.watch = observers.run(kind)
        self._add_tasks(1)

    @property
    def state(self) -> str:
        """How far the run is, in words."""
        return f"{'left' if self.left else 'running'}, {self._flow.taken} taken, {self._flow.given} given out"

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
        self._flow.wake()
        if cancelled is not None:
            raise cancelled

    def abandon(self) -> None:
        """Cancel what is left."""
        self.left = True
        self._stop()
        self._tally.stop()

    async def next(self) -> MapDone[C] | MapFailed:
        """Return the next result; raise StopAsyncIteration at the end, or what ended the run."""
        while not self.left:
            result = self._flow.give()
            if result is not None:
                return result
            if not self._tasks:
                raise StopAsyncIteration if self._flow.error is None else _raisable(self._flow.error)
            await self._flow.wait()
        raise _outside()

    # The tasks

    def _add_tasks(self, count: int) -> None:
        for _ in range(min(count, self._max_concurrency - len(self._tasks))):
            task = self.loop.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._task_ended)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            if not self._stopping:
                # Not by us: its request would be lost without a word.
                self._stop(ClosedError("a task of this run was cancelled from outside"))
        elif (error := task.exception()) is not None:
            self._stop(error)
        if not self._tasks:
            self._flow.wake()
            if self.watch is not None:
                self.watch.over(self._flow.error, closed=self.left)

    async def _work(self) -> None:
        take = self._flow.take
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

    def _stop(self, error: BaseException | None = None) -> None:
        """End the run: what has finished is given out, then `error` is raised, or what came before it."""
        self._stopping = True
        self._flow.end(error)
        here = asyncio.current_task()
        for task in self._tasks:
            if task is not here:
                task.cancel()

    # One request

    async def _run(self, item: MapItem) -> MapDone[C] | MapFailed | None:
        """Return how it went; None if it has ended the run."""
        started_at = time.monotonic()
        call: Asking[C] | None = None
        completion: Any = None
        error: SiliconFlowError | None = None
        try:
            call = await self._begin(item, None if self.watch is None else self.watch.state)
            self._tally.begun(item.index, call.passage, self._size(item))
            # Parsed, if the request has a type; a ParseError is its error.
            completion = await call.answer()
        except CallbackFailed as failure:
            self._stop(failure.error)
            return None
        except ClosedError as failure:
            # The client was closed: so it would go for all that are left.
            self._stop(failure)
            return None
        except SiliconFlowError as failure:
            error = failure
        finally:
            self._tally.ended(item.index)
        first_token = None if call is None else call.passage.first_token
        total = time.monotonic() - started_at
        # Cast, since the checkers don't see that the class goes by the error.
        make = cast("Callable[..., MapDone[C] | MapFailed]", MapDone if error is None else MapFailed)
        return make(
            index=item.index,
            custom_id=item.custom_id,
            request=item.request,
            completion=completion,
            error=error,
            attempts=0 if call is None else call.attempts,
            times=MapTimes(
                waited=0.0 if call is None else call.passage.waited,
                # The time of uvloop's loops goes by whole milliseconds.
                first_token=first_token if first_token is None else min(first_token, total),
                total=total,
            ),
        )

    # How many of what the run's total counts an item is, and how many of these have failed.

    def _size(self, item: MapItem) -> int:
        return 1

    def _failures(self, result: MapDone[C] | MapFailed) -> int:
        return int(result.error is not None)

    def _put(self, result: MapDone[C] | MapFailed) -> None:
        failed = self._failures(result)
        self._tally.finished(self._size(result) - failed, failed)
        if result.error is not None and self._fail_fast:
            named = f" (custom_id {result.custom_id!r})" if result.custom_id is not None else ""
            result.error.add_note(f"request {result.index}{named}")
            self._stop(result.error)
        else:
            self._flow.put(result)

    def _tell_progress(self, progress: MapProgress) -> None:
        assert self._on_progress is not None
        try:
            self._on_progress(progress)
        except Exception as error:  # the user's own
            if self.left:
                raise
            self._stop(error)


def check_run(*, max_concurrency: int, total: int | None, patience: float | None) -> None:
    """Raise ConfigurationError for what can't be a run's."""
    if not is_count(max_concurrency, 1):
        raise ConfigurationError(f"max_concurrency must be an integer >= 1, not {max_concurrency!r}")
    if total is not None and not is_count(total, 0):
        raise ConfigurationError(f"total must be an integer >= 0 or None, not {total!r}")
    if patience is not None and (not is_finite(patience) or patience < 0):
        raise ConfigurationError(f"patience must be a number of seconds >= 0 or None, not {patience!r}")


def _outside() -> ClosedError:
    return ClosedError("results are given out inside `async with` only")


def _raisable(error: BaseException) -> BaseException:
    """Return what may be raised from `__anext__`, where StopAsyncIteration would look like a good end."""
    if isinstance(error, StopIteration | StopAsyncIteration):
        wrapped = RuntimeError(f"{type(error).__name__} from a callback or from the iterable of the requests")
        wrapped.__cause__ = error
        return wrapped
    return error
