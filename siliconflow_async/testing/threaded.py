"""A server in a thread of its own, for tests without an event loop and for any async framework."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Server(Protocol):
    """What runs in the thread: it starts and closes in the thread's loop."""

    async def start(self) -> None: ...
    async def aclose(self) -> None: ...


S = TypeVar("S", bound=Server)


@contextmanager
def in_thread(server: S) -> Iterator[S]:
    """Run a server in a thread with its own loop while the block runs.

    Raises what `start` raises; what `aclose` raises comes at the end of the block.
    """
    started: Future[Callable[[], None]] = Future()
    with ThreadPoolExecutor(1, "siliconflow-stand-in") as pool:
        run = pool.submit(lambda: asyncio.run(_serve(server, started)))
        stop = started.result()
        try:
            yield server
        finally:
            stop()
            run.result()


async def _serve(server: Server, started: Future[Callable[[], None]]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    try:
        await server.start()
    except BaseException as error:
        started.set_exception(error)
        raise

    def stop() -> None:
        loop.call_soon_threadsafe(stopped.set)

    started.set_result(stop)
    try:
        await stopped.wait()
    finally:
        await server.aclose()
