"""A call that has no stream yet: it may be waiting for its turn, for a connection, for an answer, or to try again."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from ..errors import ClosedError
from ..loops import running_loop
from .pool import SessionPool

__all__ = ["Underway"]


class Underway:
    """`with Underway(pool):` a call raises ClosedError, at once, when the client is closed while it is under way.

    Raises ConfigurationError where no loop runs, and ClosedError where the client was closed before.
    """

    def __init__(self, pool: SessionPool) -> None:
        self.loop = running_loop()
        self._pool = pool
        self._task: asyncio.Task[Any] | None = None
        self._aborted = False

    def __enter__(self) -> Self:
        self._pool.get(self.loop).add(self)
        # Looked at last, as the pool does: another thread ends what it finds after it has said so.
        if self._pool.closed:
            raise ClosedError("the client is closed")
        task = self._task = asyncio.current_task(self.loop)
        assert task is not None
        self._cancelling = task.cancelling()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        assert task is not None
        # As in asyncio.Timeout: a cancellation of the caller's own, in the same turn, is not swallowed.
        if self._aborted and task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise ClosedError("the client was closed during the call") from error

    def abort(self) -> None:
        """End the call."""
        if self._task is not None and not self._aborted:
            self._aborted = True
            self._task.cancel()
