"""What the page is told while no answer comes: what an attempt failed of, when the next is made, and waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import msgspec

from ... import AsyncSiliconFlow, CallState, RetryPolicy, SiliconFlowError

__all__ = ["Notices"]


class _Failed(msgspec.Struct, tag_field="type", tag="failed"):
    """An attempt failed of `message`, and another is made in so many seconds, if the retry budget has room for it."""

    message: str
    seconds: float


class _Retried(msgspec.Struct, tag_field="type", tag="retried"):
    """Attempt number `attempt` begins; the one before it failed of `message`, so many seconds ago."""

    attempt: int
    message: str
    seconds: float


class _Waited(msgspec.Struct, tag_field="type", tag="waited"):
    """The request is sent after so many seconds at the gate of its model's limits, over all its attempts."""

    seconds: float


class _TellingPolicy(RetryPolicy, frozen=True, kw_only=True):
    """A policy that tells of a wait as it begins; observers are told when it is over."""

    tell: Callable[[msgspec.Struct], None]

    def delay(self, attempt: int, error: SiliconFlowError) -> float | None:
        seconds = super().delay(attempt, error)
        if seconds is not None:
            self.tell(_Failed(_words(error), seconds))
        return seconds


class Notices:
    """Sends these frames for one call, of a client that is `watched`, while its block runs.

    send: as `relay` takes it; what it raises is for the relay to notice, which sends by the same way.
    """

    def __init__(self, send: Callable[[str], Awaitable[Any]]) -> None:
        self._frames: asyncio.Queue[msgspec.Struct] = asyncio.Queue()
        self._send = send

    async def __aenter__(self) -> Self:
        self._sending = asyncio.create_task(self._send_all())
        return self

    async def __aexit__(self, *ended: object) -> None:
        self._sending.cancel()
        await asyncio.wait([self._sending])

    def watched(self, client: AsyncSiliconFlow) -> AsyncSiliconFlow:
        """Return a copy of a client whose calls are told of here, and to the client's own observers as before."""
        policy = msgspec.structs.asdict(client._setup.retry)
        observers = client._options.get("observers") or ()
        return client.with_options(
            retry=_TellingPolicy(**policy, tell=self._frames.put_nowait), observers=[*observers, self]
        )

    def retried(self, state: CallState) -> None:
        """Tell of another attempt; called by the client."""
        message = "" if state.error is None else _words(state.error)
        self._frames.put_nowait(_Retried(state.attempt + 1, message, state.delay or 0.0))

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


def _words(error: SiliconFlowError) -> str:
    return f"{type(error).__name__}: {error}"
