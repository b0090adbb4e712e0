"""Asking again and again for what the service takes long to do, and goes on with whether or not anybody asks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..checks import is_finite
from ..errors import InvalidRequestError, SiliconFlowError

__all__ = ["Pauses", "check_poll", "outlast", "poll"]

T = TypeVar("T")

_FIRST = 1.0
_GROWTH = 1.5
# Not all that wait at once ask at once.
_jitter = random.SystemRandom()


class Pauses:
    """Pauses of `interval` seconds; where that is None, ever longer ones, from 1 s to the `longest`."""

    def __init__(self, interval: float | None, longest: float) -> None:
        self._interval = interval
        self._longest = longest
        self._next = _FIRST

    async def pause(self) -> None:
        """Sleep for the next of them."""
        seconds = self._interval
        if seconds is None:
            seconds = _jitter.uniform(0.8, 1.0) * self._next
            self._next = min(self._longest, self._next * _GROWTH)
        await asyncio.sleep(seconds)

    def anew(self) -> Pauses:
        """Return the same from the beginning."""
        return Pauses(self._interval, self._longest)


def check_poll(**seconds: float | None) -> None:
    """Raise InvalidRequestError that names what is no number of seconds, nor None."""
    for name, value in seconds.items():
        if value is not None and (not is_finite(value) or value < 0):
            raise InvalidRequestError(f"{name} must be seconds from 0, or None, not {value!r}", param=name)


async def outlast(ask: Callable[[], Awaitable[T]], patience: float | None, pauses: Pauses) -> T:
    """Return what `ask` returns, also where the service is away for up to `patience` seconds, None for any time.

    Each question has the client's own retries first. Raises the error of the last one.
    """
    now = asyncio.get_running_loop().time
    since: float | None = None
    while True:
        try:
            return await ask()
        except SiliconFlowError as error:
            if not error.passing:
                raise
            since = now() if since is None else since
            if patience is not None and now() - since >= patience:
                raise
        await pauses.pause()


async def poll(
    ask: Callable[[], Awaitable[T]],
    has_ended: Callable[[T], bool],
    *,
    pauses: Pauses,
    patience: float | None,
    timeout: float | None,
    late: Callable[[], SiliconFlowError],
    on_progress: Callable[[T], object] | None,
) -> T:
    """Ask until it has ended, and tell of each answer; raise what is `late` after `timeout` seconds."""
    clock = asyncio.timeout(timeout)
    try:
        async with clock:
            while True:
                found = await outlast(ask, patience, pauses.anew())
                if on_progress is not None:
                    on_progress(found)
                if has_ended(found):
                    return found
                await pauses.pause()
    except TimeoutError as error:
        if not clock.expired() or isinstance(error, SiliconFlowError):
            raise
        raise late() from error
