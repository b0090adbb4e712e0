"""Many requests at once: what `client.chat.completions.map(…)` returns."""

from __future__ import annotations

from collections.abc import Awaitable
from types import TracebackType
from typing import Generic, Self

from ..loops import on_loop
from .results import C, MapResult
from .workers import Workers

__all__ = ["MapResults"]


class MapResults(Generic[C]):
    """The results of a run, as an async context manager that is iterated; made by `map`.

    Leaving it, or letting go of the last reference, cancels what is left and closes its connections.
    """

    def __init__(self, workers: Workers[C]) -> None:
        self._workers = workers

    def __repr__(self) -> str:
        return f"<MapResults {self._workers.describe()}>"

    async def __aenter__(self) -> Self:
        self._workers.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._workers.leave()

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[MapResult[C]]:
        return self._workers.next()

    def __del__(self) -> None:
        # Not there if __init__ failed.
        workers: Workers[C] | None = getattr(self, "_workers", None)
        if workers is not None and workers.loop is not None and not workers.left:
            on_loop(workers.loop, workers.abandon)
