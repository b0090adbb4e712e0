"""An event loop in a thread of its own, for callers that have none.

LangChain has each method twice, and this library's are async alone. So `invoke`, `stream` and `batch` hand what they do
to a loop in a thread, which begins with the first of them and goes with the model: connections stay open from one call
to the next, and what a caller leaves or interrupts is left at the service too. An `asyncio.run` for each call would
connect anew each time, and could not serve a caller that is inside a loop.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Coroutine
from concurrent import futures
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ...client import AsyncSiliconFlow
from ...errors import BusyError, ClosedError
from ...loops import on_loop

__all__ = ["LoopThread"]

T = TypeVar("T")
Started: TypeAlias = "futures.Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]]"

# Closing sessions takes a second at most; a program that ends must not wait for more.
_JOIN_SECONDS = 2.0


class _Running(NamedTuple):
    thread: threading.Thread
    loop: asyncio.AbstractEventLoop
    stopping: asyncio.Event
    pid: int

    def stop(self) -> None:
        """Have the loop end, from any thread; it is another process's in a forked child."""
        if self.pid == os.getpid():
            on_loop(self.loop, self.stopping.set)


class LoopThread:
    """A loop for one client's calls, from the first of them until this object is closed or forgotten.

    client: if `owned`, it is closed with this object, and aborted when this is forgotten.
    """

    def __init__(self, client: AsyncSiliconFlow, *, owned: bool) -> None:
        self._client = client
        self._owned = owned
        if owned:
            weakref.finalize(self, client.abort)
        self._lock = threading.Lock()
        self._running: _Running | None = None
        self._closed = False

    def __deepcopy__(self, memo: object) -> LoopThread:
        return self

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine there and wait for it; an exception while waiting, such as Ctrl-C, cancels it."""
        try:
            running = self._run()
        except BaseException:
            coroutine.close()
            raise
        future = asyncio.run_coroutine_threadsafe(coroutine, running.loop)
        try:
            return future.result()
        except futures.CancelledError as error:
            raise ClosedError("the model was closed while it was being waited for") from error
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what runs there, close its connections, and wait for the thread to end."""
        with self._lock:
            self._closed = True
            running = self._running
        if running is not None:
            running.stop()
            if running.thread is not threading.current_thread():
                running.thread.join(_JOIN_SECONDS)

    def _run(self) -> _Running:
        with self._lock:
            if self._closed:
                raise ClosedError("the model is closed")
            running = self._running
            # A forked child has the object, and not the thread.
            if running is None or running.pid != os.getpid():
                running = self._running = _start(self._client, owned=self._owned)
                weakref.finalize(self, running.stop)
        if running.thread is threading.current_thread():
            raise BusyError("a call that waits can't be made from within another, such as by an observer: await it")
        return running


def _start(client: AsyncSiliconFlow, *, owned: bool) -> _Running:
    started: Started = futures.Future()
    # A thread that is no daemon would keep a program from its end, which is when it is told to end.
    thread = threading.Thread(target=_main, args=(started, client, owned), name="siliconflow-langchain", daemon=True)
    thread.start()
    return _Running(thread, *started.result(), os.getpid())


def _main(started: Started, client: AsyncSiliconFlow, owned: bool) -> None:
    # The client is held up to here: its session in this loop is to be closed before the loop ends, not after.
    try:
        asyncio.run(_serve(started, client if owned else None))
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


async def _serve(started: Started, owned: AsyncSiliconFlow | None) -> None:
    stopping = asyncio.Event()
    started.set_result((asyncio.get_running_loop(), stopping))
    await stopping.wait()
    if owned is not None:
        await owned.aclose()
