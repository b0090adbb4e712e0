"""What the page is told while no answer comes: what an attempt failed of, when the next is made, and waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec

from ... import AsyncSiliconFlow, CallState

__all__ = ["Notices"]


class _Failed(msgspec.Struct, tag_field="type", tag="failed"):
    """An attempt failed of `message`, and another is made in so many seconds."""

    message: str
    seconds: float


class _Retried(msgspec.Struct, tag_field="type", tag="retried"):
    """Attempt number `attempt` is sent; the one before it failed of `message`, so many seconds ago."""

    attempt: int
    message: str
    seconds: float


class _Waited(msgspec.Struct, tag_field="type", tag="waited"):
    """The request is sent after so many seconds at the gate of its model's limits, over all its attempts."""

    seconds: float


class Notices:
    """Sends these frames for one call, of a client that is `watched`, while its block runs.

    send: as `relay` takes it; what it raises is for the relay to notice, which sends by the same way.
    """

    def __init__(self, send: Callable[[str], Awaitable[Any]]) -> None:
        self._frames: asyncio.Queue[msgspec.Struct] = asyncio.Queue()
        self._send = send
        # The attempt that failed last, of what, and when.
        self._failure = (0, "", 0.0)

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *ended: object) -> None:
        self._sending.cancel()
        await asyncio.wait([self._sending])

    def watched(self, client: AsyncSiliconFlow) -> AsyncSiliconFlow:
        """Return a copy of a client whose calls are told of here, and to the client's own observers as before."""
        observers = client._options.get("observers") or ()
        return client.with_options(observers=[*observers, self])

    def retried(self, state: CallState) -> None:
        """Tell of an attempt that failed, and of the wait for another; called by the client."""
        message = "" if state.error is None else f"{type(state.error).__name__}: {state.error}"
        # A wait may be prolonged: the failure is the first one's.
        if self._failure[0] != state.attempt:
            self._failure = (state.attempt, message, time.monotonic())
        self._frames.put_nowait(_Failed(message, state.delay or 0.0))

    def sent(self, state: CallState) -> None:
        """Tell of another attempt; called by the client."""
        attempt, message, failed_at = self._failure
        if attempt:
            self._frames.put_nowait(_Retried(attempt + 1, message, time.monotonic() - failed_at))

    def waited(self, state: CallState) -> None:
        """Tell of a wait; called by the client."""
        self._frames.put_nowait(_Waited(state.waited))

    async def _send_all(self) -> None:
        while True:
            frame = await self._frames.get()
            try:
                await self._send(msgspec.json.encode(frame).decode())
            except Exception:
                return
