"""The event loops to measure on."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["available", "run", "serve"]

T = TypeVar("T")


def available() -> tuple[str, ...]:
    return ("asyncio", "uvloop") if importlib.util.find_spec("uvloop") else ("asyncio",)


def run(main: Coroutine[Any, Any, T], loop: str) -> T:
    """Run `main` on a new loop of that kind."""
    factory = None
    if loop == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


def serve(main: Coroutine[Any, Any, None], loop: str | None = None) -> None:
    """Run a server until its parent closes its standard input; on the quickest loop unless one is named."""
    # An interrupt of the terminal reaches it before the parent can.
    with contextlib.suppress(KeyboardInterrupt):
        run(main, loop or available()[-1])
