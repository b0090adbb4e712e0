"""Ctrl-C: the command is cancelled, which closes its connections, and the process is gone at once."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

__all__ = ["diverted", "run"]

_GRACE = 1.0


def run(command: Coroutine[Any, Any, int], *, interrupted: int = 130) -> int:
    """Run a command in a loop of its own and return its exit code.

    interrupted: the exit code after Ctrl-C, with which the process ends here and now.
    """
    return asyncio.run(_interruptible(command, interrupted))


async def _interruptible(command: Coroutine[Any, Any, int], code: int) -> int:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(command)
    interrupts = 0

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts > 1:
            _leave(code)
        # Nothing may hold the user up: not a blocked write to a pipe that nobody reads, where no callback runs.
        watchdog = threading.Timer(_GRACE, _leave, [code])
        watchdog.daemon = True
        watchdog.start()
        loop.call_soon_threadsafe(task.cancel)

    with _handled(loop, interrupt):
        try:
            return await task
        except asyncio.CancelledError:
            if interrupts:
                _leave(code)
            raise


@contextmanager
def diverted(stop: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C call `stop` in the loop while the block runs, rather than end the command."""
    loop = asyncio.get_running_loop()
    with _handled(loop, lambda number, frame: loop.call_soon_threadsafe(stop)):
        yield


@contextmanager
def _handled(loop: asyncio.AbstractEventLoop, handler: Callable[[int, FrameType | None], object]) -> Iterator[None]:
    """Call `handler` on Ctrl-C, at once, while the block runs.

    The system may hand a signal to any thread, or to the main one just before it waits for its sockets: then Python
    would call the handler when something else had woken it. What the loop does with a signal of its own wakes it.
    """
    before = signal.getsignal(signal.SIGINT)
    # A process in the background of a script ignores SIGINT, and goes on doing so.
    if before == signal.SIG_IGN:
        yield
        return
    with suppress(NotImplementedError):  # on Windows, whose loop looks for signals itself
        loop.add_signal_handler(signal.SIGINT, bool)
    signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(code: int) -> NoReturn:
    # A regular exit waits for the thread that looks up a name, for as long as that takes. All output was flushed, and
    # the kernel closes every socket that is still open.
    os._exit(code)
