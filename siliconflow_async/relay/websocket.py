"""`relay`: one answer to one websocket, event by event, for as long as the client is there."""

from __future__ import annotations

import asyncio
import inspect
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import Any, Literal, TypeAlias

import anyio
import msgspec

from ..errors import ConfigurationError
from ..loops import running_loop
from ..wire.events import error_event
from ..wire.structs import ChatCompletion
from .frames import BUFFER_BYTES, Slow, check_seconds
from .lending import LendingQueue, Steps
from .peers import Left, Peer
from .protocols import Dialect, ProtocolName, as_dialect
from .pump import Describe, OnFinish, Pump, Source

__all__ = ["RelayEnded", "Relayed", "relay"]

RelayEnded: TypeAlias = Literal["done", "error", "stopped", "left", "dropped"]

_log = logging.getLogger("siliconflow_async")

# A cancelled relay waits no longer than this for on_finish to save what had arrived.
_SAVE_SECONDS = 10.0


class _Unset(Enum):
    UNSET = "what the peer has"


class Relayed(msgspec.Struct):
    """How a relay ended.

    `ended` is "done" (all was sent), "error" (upstream failed, and the client was told), "stopped" (the client asked
    for it, and was told), "left" (the client has gone) or "dropped" (it was too slow). `completion` is what had arrived
    from upstream, None if it never opened. `error` is what upstream raised, or `send` or `left` where the client did
    not leave in good order. `frames` counts those sent.
    """

    ended: RelayEnded
    completion: ChatCompletion | None
    error: Exception | None
    frames: int


async def relay(
    stream: Source,
    send: Peer | Callable[[str], Awaitable[Any]],
    *,
    left: Awaitable[Any] | _Unset | None = _Unset.UNSET,
    protocol: ProtocolName | Dialect = "events",
    slow: Slow = "merge",
    buffer: int = 64,
    buffer_bytes: int = BUFFER_BYTES,
    patience: float = 1.0,
    send_timeout: float | None = 60.0,
    smooth: float = 0.0,
    describe: Describe = error_event,
    on_finish: OnFinish | None = None,
) -> Relayed:
    """Send a stream's events to a client, each as one JSON object with a `type`; return how it ended.

    stream: an open ChatStream; or what `stream(…)` returns, which is then opened here; or what `run_tools(…)` returns;
        or a reader of a Broadcast. It is closed in the end, and aborted as soon as the client has gone, before its
        first token too.
    send: a peer (`starlette_peer(…)`, …), whose message `{"type": "stop"}` stops the answer; or what sends one text
        frame. It may take its time. Whatever it raises means that the client has gone.
    left: completes, or raises, when the client has gone; None if nothing can tell but `send`. Not for a peer, which
        has its own; a peer's `left` given here hears `stop` as well.
    protocol: what the client is sent: "events" (this library's own), "ai" (the UI message stream of Vercel's AI SDK),
        "ag-ui", "openai" (`chat.completion.chunk`); or one of them with what there is to say of it, `AISDK(…)`,
        `AGUI(…)`, `OpenAIChunks(…)`.
    slow: what to do when `buffer` frames wait for the client, or frames that take `buffer_bytes` bytes of memory,
        roughly: "wait" (upstream is read no further), "merge" (deltas of waiting frames are merged, and only if that
        makes no room it waits), "drop" (the relay ends, unless the client has caught up to the last frame within
        `patience` seconds).
    send_timeout: seconds that one frame may take before the client is dropped, whatever `slow` says; None: forever.
    smooth: deltas that come within so many seconds are merged into one frame; the first one goes at once.
    describe: makes the error event that the client gets; by default it has the error's class, words and code.
    on_finish: called once with what had arrived (None if the stream never opened) and the error (None where the answer
        is whole, or the client just left), however it ended, cancellation included; it may be async.

    Raises ConfigurationError for an argument that can't be, what `on_finish` raises, and what a stream that is none of
    this library's raises; upstream's own errors are told to the client and returned.
    """
    if isinstance(send, Peer):
        left = send.left if left is _Unset.UNSET else left
        send = send.send
    try:
        if left is _Unset.UNSET:
            raise ConfigurationError("left must be given where send is no peer; None if nothing can tell but send")
        if left is not None and not inspect.isawaitable(left):
            raise ConfigurationError(f"left must be awaitable or None, not {left!r}")
        if send_timeout is not None:
            check_seconds(send_timeout, "send_timeout")
        dialect = as_dialect(protocol)
        queue = LendingQueue(dialect, buffer, buffer_bytes, slow=slow, patience=patience, smooth=smooth)
        pump = Pump(stream, queue, describe=describe, on_finish=on_finish)
    except ConfigurationError:
        # Else it would complain that nobody awaited it.
        if inspect.iscoroutine(left):
            left.close()
        raise
    if isinstance(left, Left):
        left.on_stop = pump.stop
    gone: asyncio.Future[Any] = running_loop().create_future() if left is None else asyncio.ensure_future(left)
    relayed = Relayed("left", None, None, 0)
    sender = _Sender(queue, send, send_timeout, relayed)
    reading, sending = pump.task, asyncio.ensure_future(sender.run())
    ends: list[asyncio.Future[Any]] = [sending, sender.overdue, gone]
    # A future that the caller made is the caller's to cancel.
    own = [end for end in ends if end is not left]
    try:
        await _watch(pump, sender, sending, gone)
        if relayed.ended in ("left", "dropped"):
            pump.stop(_raised(ends))
        # Not `await reading`, which would hand a cancellation on to on_finish.
        await _wait(reading, own)
    except asyncio.CancelledError:
        # Upstream first.
        pump.stop()
        try:
            with anyio.move_on_after(_SAVE_SECONDS, shield=True):
                await _wait(reading, own)
        finally:
            reading.cancel()
        if (failure := _raised([reading])) is not None:
            _log.error("on_finish of a cancelled relay failed", exc_info=failure)
        raise
    finally:
        if isinstance(left, Left):
            left.on_stop = None
        error = _raised(ends)
    reading.result()
    relayed.completion = pump.completion
    relayed.error = pump.error or error
    return relayed


class _Sender:
    """Sends what is in the queue, one frame at a time. `overdue` fails when one has taken `timeout` seconds."""

    def __init__(
        self,
        queue: LendingQueue,
        send: Callable[[str], Awaitable[Any]],
        timeout: float | None,
        relayed: Relayed,
    ) -> None:
        self.relayed = relayed
        self._queue = queue
        self._send = send
        self._timeout = math.inf if timeout is None else timeout
        self._loop = running_loop()
        self.overdue: asyncio.Future[None] = self._loop.create_future()
        # Since when it waits for the client: inf where nothing is being sent, -inf where it has not had to wait yet.
        self._since = math.inf
        # One for many frames, else each would arm and cancel one; when it rings, it looks at the latest frame.
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        self._queue.reader = asyncio.current_task()
        try:
            await Steps(self._send_all(), self._waits)
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _send_all(self) -> None:
        queue, send = self._queue, self._send
        while (text := await queue.next()) is not None:
            self._since = -math.inf
            await send(text)
            self._since = math.inf
            self.relayed.frames += 1

    def _waits(self) -> None:
        if self._since == -math.inf:
            self._since = self._loop.time()
            if self._timer is None and self._timeout < math.inf:
                self._timer = self._loop.call_later(self._timeout, self._look)
        self._queue.pause(sending=self._since < math.inf)

    def _look(self) -> None:
        due = self._since + self._timeout
        self._timer = None
        if due <= self._loop.time():
            if not self.overdue.done():
                self.overdue.set_exception(TimeoutError())
        elif due < math.inf:
            self._timer = self._loop.call_at(due, self._look)


async def _watch(pump: Pump, sender: _Sender, sending: asyncio.Future[None], gone: asyncio.Future[Any]) -> None:
    """Wait until all is sent, or nobody is there to send it to, and note which."""
    relayed = sender.relayed
    waiting: set[asyncio.Future[Any]] = {sending, sender.overdue, gone, pump.task}
    # asyncio.wait takes a turn, in which upstream would be asked for a client that has gone before.
    while not gone.done():
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if pump.too_slow or sender.overdue.done():
            relayed.ended = "dropped"
            return
        if sending.done():
            if sending.exception() is None:
                relayed.ended = "stopped" if pump.stopped else "done" if pump.error is None else "error"
            return
        waiting.discard(pump.task)


async def _wait(reading: asyncio.Future[None], own: list[asyncio.Future[Any]]) -> None:
    """Cancel what is the relay's own, and wait for all of it to end."""
    for task in own:
        task.cancel()
    await asyncio.wait([*own, reading])


def _raised(futures: Iterable[asyncio.Future[Any]]) -> Exception | None:
    """Return what the first of them raised that did. All are looked at, else the loop would complain."""
    errors = [future.exception() for future in futures if future.done() and not future.cancelled()]
    return next((error for error in errors if isinstance(error, Exception)), None)
