"""Several requests for one answer, side by side."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

__all__ = ["side_by_side"]

T = TypeVar("T")


async def side_by_side(asks: Sequence[Callable[[], Awaitable[T]]], most: int) -> list[T]:
    """Return what each of them returns, in their order, `most` of them under way at once.

    The first that raises ends the others, and is raised as it is.
    """
    if len(asks) == 1:
        return [await asks[0]()]
    results: list[Any] = [None] * len(asks)
    waiting = iter(enumerate(asks))
    failures: list[Exception] = []

    async def work() -> None:
        for at, ask in waiting:
            try:
                results[at] = await ask()
            except Exception as error:
                failures.append(error)
                raise

    loop = asyncio.get_running_loop()
    # No TaskGroup: the first failure is wanted alone, and a cancellation before all else.
    tasks = [loop.create_task(work()) for _ in range(min(most, len(asks)))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        lost = any(task.cancelled() for task in tasks)
        await _end(tasks)
        # This frame, which a traceback holds, is not to hold the error.
        tasks.clear()
    if failures:
        try:
            raise failures[0]
        finally:
            failures.clear()
    if lost:
        raise asyncio.CancelledError  # one was cancelled from outside, and its answer is missing
    return results


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancel what is left, and wait until it is gone."""
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while left := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as again:
            # The rest is over in a turn or two: nothing is left behind for being cancelled.
            cancelled = again
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen
    if cancelled is not None:
        raise cancelled
