"""The one task that reads upstream: it opens the stream if need be, fills a sink, and tells what had arrived.

It runs by itself, so that upstream is read, and aborted, whatever the client's side is doing. `stop()` ends it from
any place, also where nothing can be awaited. Nobody has to wait for it, but for what it raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from ..errors import ConfigurationError, SiliconFlowError
from ..loops import running_loop
from ..wire.events import ErrorEvent, Event, Snapshot
from ..wire.structs import ChatCompletion
from .frames import TooSlow

__all__ = ["Answer", "Describe", "OnFinish", "Pump", "Sink", "Source", "check_source"]


class Answer(Protocol):
    """An open answer: a ChatStream, or one reader of a Broadcast."""

    @property
    def partial(self) -> ChatCompletion | None: ...

    def events(self) -> AsyncIterator[Event | Snapshot]: ...

    def abort(self) -> None: ...


class Sink(Protocol):
    """Where events go."""

    @property
    def full(self) -> bool: ...

    def put(self, event: Event | Snapshot, seq: int | None = None) -> None: ...

    async def room(self) -> None: ...

    def close(self) -> None: ...


Source: TypeAlias = Answer | AbstractAsyncContextManager[Answer]
OnFinish: TypeAlias = Callable[[ChatCompletion | None, Exception | None], Awaitable[None] | None]
Describe: TypeAlias = Callable[[SiliconFlowError], ErrorEvent]


class Pump:
    """Reads `source` into `sink` until it ends, fails, or `stop()` is called; then calls `on_finish`, once.

    `completion` is what had arrived (None if the stream never opened), `error` why it is not whole (None where it is,
    and where someone merely stopped it), `too_slow` whether the sink gave up.
    """

    def __init__(self, source: Source, sink: Sink, *, describe: Describe, on_finish: OnFinish | None) -> None:
        check_source(source)
        self._source: Source | None = source
        self._sink = sink
        self._describe = describe
        self._on_finish = on_finish
        self._answer: Answer | None = None
        self._reading = False
        self._stopped = False
        self.completion: ChatCompletion | None = None
        self.error: Exception | None = None
        self.too_slow = False
        self.ended = False
        self.task = running_loop().create_task(self._run())

    @property
    def partial(self) -> ChatCompletion | None:
        """What has arrived so far; None until the stream is open."""
        return self.completion if self._answer is None else self._answer.partial

    def stop(self, error: Exception | None = None) -> None:
        """Abort upstream at the next turn of the loop; `error` is what kept the answer from being taken to its end."""
        if self._stopped or self.ended:
            return
        self._stopped = True
        self.error = error
        # A task that has not begun would never begin; it finds the word.
        if self._reading:
            self.task.cancel()

    async def _run(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        failure: Exception | None = None
        try:
            await self._read()
        except asyncio.CancelledError as error:
            if self._stopped:
                _uncancel()
            else:
                cancelled = error
        except TooSlow:
            self.too_slow = True
        except SiliconFlowError as error:
            # The traceback would hold this frame, and so the stream, for as long as the error is kept.
            self.error = error.with_traceback(None)
            self._sink.put(self._describe(error))
        except Exception as error:
            self.error = failure = error
        finally:
            self._conclude()
        if self._on_finish is not None:
            told = self._on_finish(self.completion, self.error)
            if told is not None:
                await told
        if cancelled is not None:
            raise cancelled
        if failure is not None:
            raise failure

    async def _read(self) -> None:
        # Told apart by what they can do: a ChatStream has both.
        source: Any = self._source
        if hasattr(source, "events"):
            self._answer = source
        if self._stopped:
            return
        self._reading = True
        if self._answer is not None:
            await self._read_answer(self._answer)
            return
        async with source as answer:
            self._answer = answer
            await self._read_answer(answer)

    async def _read_answer(self, answer: Answer) -> None:
        sink = self._sink
        events = answer.events()
        async for event in events:
            # Only readers of a Broadcast number their events: a stream of its own can't be resumed.
            sink.put(event, getattr(events, "seq", None))
            if sink.full:
                await sink.room()

    def _conclude(self) -> None:
        if self._answer is not None:
            self._answer.abort()
            self.completion = self._answer.partial
        else:
            self.completion = getattr(self.error, "partial", None)
        self.ended = True
        # on_finish may take its time: what is read no more is not kept by it.
        self._answer = self._source = None
        self._sink.close()


def check_source(source: object) -> None:
    """Raise ConfigurationError for what is no source."""
    if not hasattr(source, "events") and not hasattr(source, "__aenter__"):
        raise ConfigurationError(
            f"stream must be an open stream or what stream(…) returns, not {type(source).__name__}"
        )


def _uncancel() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.uncancel()
