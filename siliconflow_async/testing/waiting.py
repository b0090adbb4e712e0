"""Waiting for something to happen, from any event loop and from any thread.

The stand-in may live in the test's own loop or in a thread of its own. A test waits for it in the same words in both
cases, so every wait goes through a `concurrent.futures.Future`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
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
        self._waits: list[tuple[Callable[[], bool], Future[None]]] = []
        self._closed: str | None = None

    def until(self, holds: Callable[[], bool]) -> Future[None]:
        """Return a future that is done as soon as `holds()` is true; it is asked under the lock."""
        wait: Future[None] = Future()
        with self.lock:
            if holds():
                wait.set_result(None)
            elif self._closed is not None:
                wait.set_exception(RuntimeError(self._closed))
            else:
                self._waits.append((holds, wait))
        return wait

    def changed(self) -> None:
        """Look at every wait again."""
        with self.lock:
            due = [wait for holds, wait in self._waits if wait.cancelled() or holds()]
            if due:
                self._waits = [entry for entry in self._waits if entry[1] not in due]
        for wait in due:
            if wait.set_running_or_notify_cancel():
                wait.set_result(None)

    def close(self, reason: str) -> None:
        """End every wait that can't come true any more with a `RuntimeError`."""
        self.changed()
        with self.lock:
            self._closed = reason
            left, self._waits = self._waits, []
        for _, wait in left:
            if wait.set_running_or_notify_cancel():
                wait.set_exception(RuntimeError(reason))


class Gate:
    """An event that may be set in one thread and awaited in another.

    Pass it to `Until` where the server runs in a thread of its own (the `siliconflow_server` fixture); an
    `asyncio.Event` serves where server and test share a loop.
    """

    def __init__(self) -> None:
        self._watch = Watch()
        self._open = False

    def is_set(self) -> bool:
        """Tell whether the gate is open."""
        return self._open

    def set(self) -> None:
        """Open the gate, for good. Safe from any thread."""
        with self._watch.lock:
            self._open = True
        self._watch.changed()

    async def wait(self) -> None:
        """Return once the gate is open."""
        await asyncio.wrap_future(self._watch.until(self.is_set))
