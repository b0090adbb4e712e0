"""The one task that reads upstream: it opens the stream if need be, fills a sink, and tells what had arrived.

It runs by itself, so that upstream is read, and aborted, whatever the client's side is doing. A sink may have it wait
while another task reads, see `lending`. `stop()` ends it from any place, also where nothing can be awaited. Nobody has
to wait for it, but for what it raises.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, Protocol, TypeAlias

from ..errors import ConfigurationError, SiliconFlowError
from ..loops import running_loop
from ..wire.events import ErrorEvent
from ..wire.structs import ChatCompletion
from .frames import Room, TooSlow
from .protocols.part import AnyEvent

__all__ = ["Describe", "OnFinish", "Pump", "Sink", "Source", "Upstream"]

_STOPPED = ErrorEvent(0, "ClosedError", "the answer was stopped before its end")
_TOO_SLOW = ErrorEvent(0, "TooSlow", "the client did not keep up with the answer")
# Its words may be nothing for a client to know.
_BROKEN = ErrorEvent(0, "Error", "the answer broke off")


class Upstream(Protocol):
    """An open answer: a ChatStream, a run of tools, or one reader of a Broadcast."""

    @property
    def partial(self) -> ChatCompletion | None: ...

    def events(self) -> AsyncIterator[AnyEvent]: ...

    def abort(self) -> None: ...


class Sink(Protocol):
    """Where events go."""

    def events(self, upstream: Upstream) -> AsyncIterator[Any]:
        """Return what is to be put of it, which may be the events or what was made of them."""
        ...

    def put(self, event: Any, seq: int | None = None) -> Room | None:
        """Take in an event; return what is to be awaited before the next one, if anything is."""

    def close(self, error: ErrorEvent | None) -> None:
        """Nothing more will be put: the answer is whole, or why it is not."""

    def recall(self) -> asyncio.Task[Any] | None:
        """Return the task that waits for upstream in the pump's place, if one does: to be cancelled in its place."""


Source: TypeAlias = Upstream | AbstractAsyncContextManager[Upstream]
OnFinish: TypeAlias = Callable[[ChatCompletion | None, Exception | None], Awaitable[None] | None]
Describe: TypeAlias = Callable[[SiliconFlowError], ErrorEvent]


class Pump:
    """Reads `source` into `sink` until it ends, fails, or `stop()` is called; then calls `on_finish`, once.

    The sink is told of every end but a good one by an error: what just ends would pass for the whole.

    `completion` is what had arrived (None if the stream never opened), `error` why it is not whole (None where it is,
    and where someone merely stopped it), `stopped` whether that was so, `too_slow` whether the sink gave up. Raises
    ConfigurationError for what is no source.
    """

    def __init__(self, source: Source, sink: Sink, *, describe: Describe, on_finish: OnFinish | None) -> None:
        if not hasattr(source, "events") and not hasattr(source, "__aenter__"):
            raise ConfigurationError(
                f"stream must be an open stream or what stream(…) returns, not {type(source).__name__}"
            )
        self.loop = running_loop()
        self._source: Source | None = source
        self._sink = sink
        self._describe = describe
        self._on_finish = on_finish
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None
        self._reading = False
        self.stopped = False
        self.completion: ChatCompletion | None = None
        self.error: Exception | None = None
        self.too_slow = False

    @property
    def task(self) -> asyncio.Task[None]:
        """What reads; it is made, and begins, when it is first asked for."""
        if self._task is None:
            self._task = self.loop.create_task(self._run())
        return self._task

    @property
    def partial(self) -> ChatCompletion | None:
        """What has arrived so far; None until the stream is open."""
        return self.completion if self._upstream is None else self._upstream.partial

    def stop(self, error: Exception | None = None) -> None:
        """Abort upstream at the next turn of the loop; `error` is what kept the answer from being taken to its end."""
        if self.stopped or self._source is None:
            return
        self.stopped = True
        self.error = error
        task = self.task
        # One that is cancelled before it has begun would never begin; so it finds the word.
        if self._reading:
            (self._sink.recall() or task).cancel()

    async def _run(self) -> None:
        failure: BaseException | None = None
        end: ErrorEvent | None = _BROKEN
        try:
            await self._read()
            end = _STOPPED if self.stopped else None
        except asyncio.CancelledError as error:
            if self.stopped:
                self.task.uncancel()
                end = _STOPPED
            else:
                failure = error
        except TooSlow:
            self.too_slow = True
            end = _TOO_SLOW
        except SiliconFlowError as error:
            # The traceback would hold this frame, and so the stream, for as long as the error is kept.
            self.error = error.with_traceback(None)
            end = self._describe(error)
        except Exception as error:
            self.error = failure = error
        finally:
            self._conclude(end)
        if self._on_finish is not None:
            told = self._on_finish(self.completion, self.error)
            if told is not None:
                await told
        if failure is not None:
            raise failure

    async def _read(self) -> None:
        source: Any = self._source
        # Told apart by what they can do: a ChatStream is a context manager too.
        if hasattr(source, "events"):
            self._upstream = source
            source = nullcontext(source)
        if self.stopped:
            return
        self._reading = True
        async with source as upstream:
            self._upstream = upstream
            put = self._sink.put
            events = self._sink.events(upstream)
            async for event in events:
                # Only readers of a Broadcast number their events: a stream of its own can't be resumed.
                room = put(event, getattr(events, "seq", None))
                if room is not None:
                    await room()

    def _conclude(self, end: ErrorEvent | None) -> None:
        if self._upstream is not None:
            self._upstream.abort()
            self.completion = self._upstream.partial
        else:
            self.completion = getattr(self.error, "partial", None)
        # on_finish may take its time: what is read no more is not kept by it.
        self._upstream = self._source = None
        self._sink.close(end)
