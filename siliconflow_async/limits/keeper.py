"""The waiting at a model's gate: the asyncio side of `gate`."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..loops import any_running_loop, on_loop
from .estimate import count_by_hook, has_written_answer, weigh
from .gate import Gate
from .limit import Limit, LimitState
from .ticket import Ticket

__all__ = ["GateKeeper"]

# A timer of some loops fires up to a millisecond early.
_LEAST_WAIT = 0.001


class GateKeeper:
    """Lets calls through one model's gate as it opens; they may come from several loops, each in its thread."""

    def __init__(self, model: str, limit: Limit) -> None:
        self.gate = self._gate(model, limit)
        # One for each loop in which calls wait, as any of them may end before the others.
        self._timers: dict[asyncio.AbstractEventLoop, _Timer] = {}
        self._waiters: dict[Ticket, asyncio.Future[None]] = {}

    def _gate(self, model: str, limit: Limit) -> Gate:
        return Gate(model, limit, time.monotonic, self._open)

    def join(
        self, params: Mapping[str, Any], *, again: bool, patience: float | None = None, since: float = 0.0
    ) -> Ticket:
        """Return the ticket of a call: it may begin if that is `granted`, else `wait` for it.

        One that comes `again` goes before others. With `patience` the call waits out an outage for so many seconds,
        counted from the outage's beginning or from `since`, a time of `time.monotonic()`, whichever is later. Tell the
        gate when the call has `ended`. Raises InvalidRequestError where the user's `count_tokens` fails.
        """
        gate = self.gate
        max_tokens = _whole(params.get("max_tokens"))
        if max_tokens is not None:
            max_tokens *= _whole(params.get("n")) or 1
        elif not has_written_answer(params):
            max_tokens = 0
        hook = gate.limit.count_tokens
        prompt = None if hook is None else count_by_hook(hook, params)
        size, extra = weigh(params) if hook is None else (0, 0)
        with gate.lock:
            return gate.join(size, extra, max_tokens, prompt=prompt, again=again, patience=patience, since=since)

    async def wait(self, ticket: Ticket, deadline: float | None) -> None:
        """Wait until a call may begin, or has its patience behind it: then it is not `granted`.

        TimeoutError at `deadline`, a time of the loop, its ticket given back.
        """
        loop = asyncio.get_running_loop()
        lock = self.gate.lock
        with lock:
            waiter = self._waiters[ticket] = loop.create_future()
            timer = self._timers.get(loop)
            if timer is None:
                timer = self._timers[loop] = _Timer(loop, self._open)
            timer.waiting += 1
            self._open()
        try:
            # Another thread may have let it out, or given it up, since it joined.
            if not (ticket.granted or ticket.over):
                async with asyncio.timeout_at(deadline):
                    await waiter
        except BaseException:
            self.gate.give_back(ticket)
            raise
        finally:
            with lock:
                self._waiters.pop(ticket, None)
                timer.waiting -= 1
                if not timer.waiting:
                    timer.cancel()
                    self._timers.pop(loop, None)

    def state(self) -> LimitState:
        """Return how the model fares."""
        with self.gate.lock:
            return self.gate.state()

    def _open(self) -> None:
        """Let out who may go, and see to it that someone looks again when more may."""
        here = any_running_loop()
        with self.gate.lock:
            while True:
                lost = [ticket for ticket in self.gate.poll() if not _woken(self._waiters.pop(ticket, None), here)]
                if not lost:
                    break
                for ticket in lost:  # of a loop that was closed under them
                    self.gate.give_back(ticket)
            at = self.gate.next_at()
            if at is not None:
                for loop, timer in list(self._timers.items()):
                    if loop.is_closed():
                        del self._timers[loop]
                    else:
                        timer.set(at, here)

    def _open_from_outside(self) -> None:
        """Let out who may go, in a loop in which calls wait: from there most of them are woken without a word."""
        with self.gate.lock:
            loops = list(self._timers)
        for loop in loops:
            if on_loop(loop, self._open):
                return


class _Timer:
    """Looks at a gate at a time, in a loop in which calls wait. It is changed under the gate's lock."""

    def __init__(self, loop: asyncio.AbstractEventLoop, look: Callable[[], None]) -> None:
        self._loop = loop
        self._look = look
        self._at = math.inf
        self._handle: asyncio.TimerHandle | None = None
        self.waiting = 0

    def set(self, at: float, here: asyncio.AbstractEventLoop | None) -> None:
        """Look at this time, or at the earlier one that is set; after each look it is set anew."""
        if at < self._at:
            self._at = at
            _call_in(self._loop, here, self._arm)

    def cancel(self) -> None:
        """Look no more; for the loop's own thread."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        self.cancel()
        if self.waiting:
            self._handle = self._loop.call_later(max(_LEAST_WAIT, self._at - time.monotonic()), self._ring)

    def _ring(self) -> None:
        self._handle = None
        self._at = math.inf
        self._look()


def _call_in(
    loop: asyncio.AbstractEventLoop, here: asyncio.AbstractEventLoop | None, callback: Callable[[], object]
) -> bool:
    """Call back in a loop, at once if it runs `here`; False if it is closed."""
    if loop is here:
        callback()
        return True
    return on_loop(loop, callback)


def _woken(waiter: asyncio.Future[None] | None, here: asyncio.AbstractEventLoop | None) -> bool:
    """Wake whoever waits; False if nobody can be woken any more."""
    return waiter is None or _call_in(waiter.get_loop(), here, partial(_wake, waiter))


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _whole(value: Any) -> int | None:
    """Return a count that a request may hold; what else it holds is for the service to refuse."""
    return value if isinstance(value, int) and value > 0 else None
