"""Rows for engines that call plain functions: a loop in a thread of its own, and one client for the whole process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from ..client import AsyncSiliconFlow
from ..errors import ClosedError, SiliconFlowError
from .rows import Rows
from .rowstore import RowStore

__all__ = ["RowWorker"]


class RowWorker:
    """Asks for rows from any thread: `Rows` behind plain calls.

    `make_client` and `make_store` are called in this process. The keywords are those of `Rows`. Raises what they raise.
    """

    def __init__(
        self,
        make_client: Callable[[], AsyncSiliconFlow],
        make_store: Callable[[], RowStore] | None = None,
        **options: Any,
    ) -> None:
        self._make_client = make_client
        self._make_store = make_store
        self._options = options
        self._stopped = asyncio.Event()
        self._failure: BaseException | None = None
        started: Future[tuple[asyncio.AbstractEventLoop, Rows]] = Future()
        # A daemon: an engine may end a process without a word, which nothing of ours is to hold up.
        self._thread = threading.Thread(target=self._serve, args=(started,), name="siliconflow-rows", daemon=True)
        self._thread.start()
        self._loop, self._rows = started.result()

    @property
    def refusal(self) -> SiliconFlowError | None:
        """That of `Rows`."""
        return self._rows.refusal

    def ask(self, rows: Iterable[Mapping[str, Any]]) -> list[bytes]:
        """Return the line of a batch's results for each row, in the order of the rows. Raises what `Rows.ask` does."""
        asking = self._rows.ask(rows)
        try:
            return asyncio.run_coroutine_threadsafe(asking, self._loop).result()
        except RuntimeError as error:
            asking.close()
            if self._loop.is_closed():
                raise ClosedError("this worker was closed") from error
            raise

    def close(self) -> None:
        """End what is under way, and wait until it is gone; a second time does nothing. Raises OSError of the store."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stopped.set)
            self._thread.join()
            if self._failure is not None:
                raise self._failure

    def _serve(self, started: Future[tuple[asyncio.AbstractEventLoop, Rows]]) -> None:
        try:
            asyncio.run(self._main(started))
        except BaseException as error:
            if started.done():
                self._failure = error
            else:
                started.set_exception(error)

    async def _main(self, started: Future[tuple[asyncio.AbstractEventLoop, Rows]]) -> None:
        store = None if self._make_store is None else self._make_store()
        async with self._make_client() as client, Rows(client, store, **self._options) as rows:
            started.set_result((asyncio.get_running_loop(), rows))
            await self._stopped.wait()
