"""The loop that runs, and what finalizers have to do in the thread and at the turn of the loop that it belongs to.

The garbage collector runs a finalizer in whichever thread it likes, between any two steps of what that thread is doing:
it may be amid changing the queue or the gate that the finalizer would change too. So no `__del__` of this package acts
by itself. It hands a callback to a loop, and what that needs stays alive until then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from .errors import ConfigurationError

__all__ = ["any_running_loop", "on_any_loop", "on_loop", "running_loop"]


def running_loop() -> asyncio.AbstractEventLoop:
    """Return this thread's loop; raise ConfigurationError where none runs, or one of trio's."""
    loop = any_running_loop()
    if loop is None:
        raise ConfigurationError("siliconflow-async needs asyncio, and no event loop of asyncio is running")
    return loop


def any_running_loop() -> asyncio.AbstractEventLoop | None:
    """Return this thread's loop, None where none runs."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], object]) -> bool:
    """Have the loop call back at its next turn; False if it is closed, and never will."""
    try:
        loop.call_soon_threadsafe(callback)
    except RuntimeError:
        return False
    return True


def on_any_loop(callback: Callable[[], object]) -> None:
    """Have this thread's loop call back at its next turn; at once where none runs: there is nothing to disturb."""
    here = any_running_loop()
    if here is None:
        callback()
    else:
        on_loop(here, callback)
