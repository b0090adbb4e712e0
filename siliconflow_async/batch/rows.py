"""Rows in, rows out: the part of a batch that runs inside of an engine which has the rows, such as Ray Data or Spark.

An engine gives each of its processes some rows at a time, and gives them again to another process when one dies. So
each answer is written to a row store the moment it comes, and what is in the store is not asked again. No request makes
it raise: how one failed is in columns of its row.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from ..client import AsyncSiliconFlow
from ..errors import ClosedError, InvalidRequestError, SiliconFlowError
from ..runs.progress import MapProgress
from ..runs.results import MapFailed, MapResult, MapTimes
from .lines import as_params
from .records import record_line
from .refusals import Refusals
from .rowstore import RowStore, key_of_row

__all__ = ["Rows"]


class _Request(dict[str, Any]):
    """The parameters of one row, and its fingerprint."""

    __slots__ = ("key",)

    def __init__(self, params: Mapping[str, Any], key: str) -> None:
        super().__init__(params)
        self.key = key


class Rows:
    """Asks for rows as they come, from however many tasks at once, with one client and one store.

        async with Rows(client, RowStore(folder, run)) as rows:
            lines = await rows.ask([{"custom_id": "sky", "model": …, "messages": […]}, …])

    `max_concurrency` requests are under way at a time, of all the tasks together. `patience` is that of `map`: a row
    whose request has waited so many seconds for a service that is away fails. `on_progress` is told how it comes along.
    Without a `store` nothing is kept.
    """

    def __init__(
        self,
        client: AsyncSiliconFlow,
        store: RowStore | None = None,
        *,
        max_concurrency: int = 64,
        patience: float | None = 600.0,
        on_progress: Callable[[MapProgress], None] | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._max_concurrency = max_concurrency
        self._patience = patience
        self._on_progress = on_progress
        self._models: set[str] = set()
        self._refusals = Refusals(self._models)
        # Rows that are to be asked.
        self._queue: asyncio.Queue[_Request] = asyncio.Queue()
        # Their results to be, by fingerprint.
        self._asked: dict[str, asyncio.Future[bytes]] = {}
        # Results that are given out once the store has written them, where it writes many together.
        self._unwritten: list[tuple[str, bytes]] = []
        self._is_unwritten = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._ended: BaseException | None = None

    @property
    def refusal(self) -> SiliconFlowError | None:
        """The error by which the service turned the account away: from then on no row is asked, and all have it."""
        return self._refusals.refusal

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._run())]
        if self._store is not None and self._store.delay is not None:
            self._tasks.append(asyncio.create_task(self._write(self._store, self._store.delay)))
        for task in self._tasks:
            task.add_done_callback(self._task_ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._end(ClosedError("rows are asked for inside `async with` only"))
        if self._store is not None:
            await asyncio.to_thread(self._store.close)

    async def ask(self, rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """Return the line of a batch's results for each row, in the order of the rows.

        A row is what a line of a file is: `{"custom_id": …}` and the body of the request. Raises InvalidRequestError
        for an id that is no text, before a row is asked; ConfigurationError or OSError if the store can't be read or
        written.
        """
        rows = list(rows)
        for row in rows:
            if not _is_text(row.get("custom_id")):
                raise InvalidRequestError(f"custom_id must be text, not {row.get('custom_id')!r}", param="custom_id")
        if self._store is not None:
            await asyncio.to_thread(self._store.refresh)
        if self._ended is not None:
            raise self._ended
        results = [self._begin(row) for row in rows]
        waiting = {result for result in results if isinstance(result, asyncio.Future)}
        if waiting:
            await asyncio.wait(waiting)
        return [result.result() if isinstance(result, asyncio.Future) else result for result in results]

    def _begin(self, row: Mapping[str, Any]) -> bytes | asyncio.Future[bytes]:
        """Return the line of a row, or what will have it."""
        custom_id = row["custom_id"]
        params = as_params({name: value for name, value in row.items() if name != "custom_id"})
        try:
            key = key_of_row(custom_id, params)
        except InvalidRequestError as error:
            return _failed(custom_id, "0" * 32, error)
        found = self._asked.get(key)
        if found is not None:
            return found
        line = None if self._store is None else self._store.find(key)
        if line is not None:
            return line
        if self.refusal is not None:
            return _failed(custom_id, key, self.refusal)
        if len(self._models) < 2:
            self._models.add(str(params.get("model")))
        self._asked[key] = future = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Request(params | {"custom_id": custom_id}, key))
        return future

    async def _requests(self) -> AsyncIterator[_Request]:
        while True:
            request = await self._queue.get()
            if self.refusal is None:
                yield request
            else:
                self._give(request.key, _failed(request["custom_id"], request.key, self.refusal))

    async def _run(self) -> None:
        run = self._client.chat.completions.map(
            self._requests(),
            max_concurrency=self._max_concurrency,
            on_progress=self._on_progress,
            patience=self._patience,
        )
        run.kind = "batch"
        async with run as answers:
            async for answer in answers:
                self._take(answer)

    def _take(self, answer: MapResult[Any]) -> None:
        error = answer.error
        if error is None:
            retryable = False
            self._refusals.served()
        else:
            retryable = self._refusals.turns_away(error) or error.passing
        line = record_line(answer, answer.request.key, retryable=retryable)
        if self._store is not None:
            self._store.add(line, failed=error is not None)
        if self._store is not None and self._store.delay is not None:
            self._unwritten.append((answer.request.key, line))
            self._is_unwritten.set()
        else:
            self._give(answer.request.key, line)

    async def _write(self, store: RowStore, delay: float) -> None:
        """Give out results once they are written, all of about a second together."""
        while True:
            await self._is_unwritten.wait()
            await asyncio.sleep(delay)
            self._is_unwritten.clear()
            unwritten, self._unwritten = self._unwritten, []
            await asyncio.to_thread(store.cut())
            for key, line in unwritten:
                self._give(key, line)

    def _give(self, key: str, line: bytes) -> None:
        future = self._asked.pop(key, None)
        if future is not None and not future.done():
            future.set_result(line)

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(error)

    def _end(self, error: BaseException) -> None:
        """Let all rows that wait, and all that will come, fail with an error."""
        if self._ended is None:
            self._ended = error
        asked, self._asked = self._asked, {}
        for future in asked.values():
            if not future.done():
                future.set_exception(self._ended)
                # Whoever asked may have left.
                future.exception()


def _is_text(value: object) -> bool:
    try:
        return isinstance(value, str) and value.encode() is not None
    except UnicodeEncodeError:
        return False


def _failed(custom_id: str, key: str, error: SiliconFlowError) -> bytes:
    """Return the line of a row that was not asked."""
    times = MapTimes(waited=0.0, first_token=None, total=0.0)
    answer = MapFailed(
        index=0, custom_id=custom_id, request=None, completion=None, error=error, attempts=0, times=times
    )
    return record_line(answer, key, retryable=error.passing or error.refusal is not None)
