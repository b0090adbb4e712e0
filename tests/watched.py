"""Every loop that is made in this process, watched: what it complains of, and the tasks that are left when it ends.

A loop's own exception handler is no place to listen: anyio sets one for each test, and so may a test. So each loop is
one of a subclass that hears before its handler does; `asyncio.run`, anyio and threads all make theirs by
`asyncio.new_event_loop`.
"""

from __future__ import annotations

import asyncio
import traceback
from asyncio import runners
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["complaints", "watch"]

# Texts, so that nothing is kept alive by being complained of.
complaints: list[str] = []
# Of a peer that broke off the handshake asyncio complains in debug mode only, and it is nobody's fault here.
_OF_PEERS = "Error on transport creation for incoming connection"
# anyio's own task for the fixtures and the test, which goes with the loop.
_OF_ANYIO = "TestRunner._run_tests_and_fixtures"


class _Watched:
    def call_exception_handler(self, context: dict[str, Any]) -> None:
        about = {name: value for name, value in context.items() if name not in ("message", "exception")}
        error = context.get("exception")
        if context.get("message") != _OF_PEERS or not isinstance(error, OSError):
            told = "" if error is None else "\n" + "".join(traceback.format_exception(error))
            complaints.append(f"the loop complains: {context.get('message')} {about}{told}")
        super().call_exception_handler(context)  # type: ignore[misc]  # the other base is a loop

    def close(self) -> None:
        _note_left(self)  # type: ignore[arg-type]  # the other base is a loop
        super().close()  # type: ignore[misc]


def _note_left(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        if getattr(task.get_coro(), "__qualname__", "") != _OF_ANYIO:
            complaints.append(f"a task is left when its loop ends: {task!r}")


def watch() -> None:
    """Watch every loop that is made from now on, of whichever kind the tests run on."""
    make: Callable[[], Any] = asyncio.new_event_loop
    example = make()
    kind = type("Watched", (_Watched, type(example)), {"__module__": type(example).__module__})
    example.close()
    asyncio.new_event_loop = asyncio.events.new_event_loop = kind
    # Before it closes a loop, asyncio's runner cancels what is left there.
    cancel = runners._cancel_all_tasks

    def note_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
        _note_left(loop)
        cancel(loop)

    runners._cancel_all_tasks = note_and_cancel
