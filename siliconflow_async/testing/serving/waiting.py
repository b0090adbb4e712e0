"""Waiting for something to happen, from any event loop and from any thread.

The stand-in may live in the test's own loop or in a thread of its own. A test waits for it in the same words in both
cases, so every wait goes through a `concurrent.futures.Future`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Protocol

__all__ = ["Gate", "Waitable", "Watch"]


class Waitable(Protocol):
    """Whatever `Until` can wait for: a `Gate`, an `asyncio.Event`, an `anyio.Event`."""

    async def wait(self) -> object: ...


class Watch:
    """A lock over some state, and the waits for that state.

    Change the state while holding `lock`, then call `changed`.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._waits: dict[Future[None], Callable[[], bool]] = {}
        self._closed: str | None = None

    def until(self, holds: Callable[[], bool]) -> Future[None]:
        """Return a future that is done as soon as `holds()` is true; it is asked under the lock."""
        wait = _uncancellable()
        with self.lock:
            self._waits[wait] = holds
        self.changed()
        return wait

    def changed(self) -> None:
        """Look at every wait again."""
        with self.lock:
            found = {wait: holds() for wait, holds in self._waits.items()}
            ended = {wait: held for wait, held in found.items() if held or self._closed is not None}
            for wait in ended:
                del self._waits[wait]
        for wait, held in ended.items():
            if held:
                wait.set_result(None)
            else:
                wait.set_exception(RuntimeError(self._closed))

    def close(self, reason: str) -> None:
        """End every wait that can't come true any more with a RuntimeError."""
        self._closed = reason
        self.changed()


class Gate:
    """An event that may be set in one thread and awaited in another.

    Pass it to `Until` where the server runs in a thread of its own (the `siliconflow_server` fixture); an
    `asyncio.Event` serves where server and test share a loop.
    """

    def __init__(self) -> None:
        self._opened = _uncancellable()

    def is_set(self) -> bool:
        """Tell whether the gate is open."""
        return self._opened.done()

    def set(self) -> None:
        """Open the gate, for good. Safe from any thread."""
        with suppress(InvalidStateError):
            self._opened.set_result(None)

    async def wait(self) -> None:
        """Return once the gate is open."""
        await asyncio.wrap_future(self._opened)


def _uncancellable() -> Future[None]:
    """Return a future that is not cancelled with the asyncio future that waits for it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future
