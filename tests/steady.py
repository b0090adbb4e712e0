"""Tests of what lies within a window of a second, on machines that now and then stand still for longer.

A request is taken to have reached the service's meter a second after it was sent, whatever happens to its answer (see
`limits.meters`). Where the stand-in itself stood still for longer, its meter is right to refuse, and nothing is shown.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import ParamSpec

__all__ = ["steady"]

_P = ParamSpec("_P")
_TRIES = 3
_TICK = 0.05
# In seconds; two such in a row come to what a request is given.
_STILL = 0.5


def steady(test: Callable[_P, Awaitable[None]]) -> Callable[_P, Awaitable[None]]:
    """Try a test again that failed while its loop stood still. What it fails of on a steady machine is its failure."""

    @functools.wraps(test)
    async def tried(*args: _P.args, **given: _P.kwargs) -> None:
        for _ in range(_TRIES - 1):
            pulse = _Pulse()
            try:
                return await test(*args, **given)
            except AssertionError:
                if pulse.longest < _STILL:
                    raise
                print(f"once more: the loop stood still for {pulse.longest:.2f} s")
            finally:
                pulse.stop()
        return await test(*args, **given)

    return tried


class _Pulse:
    """Notes the longest time, in seconds, in which a loop turned no more."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time()
        self._late = 0.0
        self._beat()

    @property
    def longest(self) -> float:
        return max(self._late, self._loop.time() - self._due)

    def stop(self) -> None:
        self._handle.cancel()

    def _beat(self) -> None:
        now = self._loop.time()
        self._late = max(self._late, now - self._due)
        self._due = now + _TICK
        self._handle = self._loop.call_at(self._due, self._beat)
