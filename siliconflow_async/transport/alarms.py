"""The alarms of one event loop's requests, all on a single timer of the loop.

Nearly every alarm is taken back before its time, and a request sets several: a timer of asyncio's own for each of them
would cost several times what an entry of this heap does.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, TypeAlias

__all__ = ["Alarm", "Alarms"]

# Its time, its number, which no two share, and whom to call: None once it has rung or was taken back.
Alarm: TypeAlias = list[Any]

# How many alarms that were taken back may lie in the heap beside as many that stand.
_MOST_VOID = 64


class Alarms:
    """Call back at times of the loop."""

    __slots__ = ("_heap", "_loop", "_number", "_timer", "_timer_at", "_void")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[Alarm] = []
        self._number = count()
        self._void = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf

    def set(self, at: float, callback: Callable[[], object]) -> Alarm:
        """Call `callback` at the time `at`, unless the alarm is taken back before."""
        alarm = [at, next(self._number), callback]
        heappush(self._heap, alarm)
        if at < self._timer_at:
            self._arm(at)
        return alarm

    def take_back(self, alarm: Alarm) -> None:
        """Forget an alarm, whether it has rung or not."""
        if alarm[2] is None:
            return
        alarm[2] = None
        self._void += 1
        if self._void > _MOST_VOID and self._void * 2 > len(self._heap):
            self._heap = [alarm for alarm in self._heap if alarm[2] is not None]
            heapify(self._heap)
            self._void = 0

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # Whoever is called may set another.
        self._timer_at = -math.inf
        now = self._loop.time()
        while self._heap and ((alarm := self._heap[0])[2] is None or alarm[0] <= now):
            heappop(self._heap)
            callback, alarm[2] = alarm[2], None
            if callback is None:
                self._void -= 1
            else:
                callback()
        self._timer_at = math.inf
        if self._heap:
            self._arm(self._heap[0][0])
