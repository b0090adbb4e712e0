"""The gates of a client's models, and the waiting at them: the asyncio side of `gate`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from typing import Any

from .estimate import count_by_hook, weigh
from .gate import Gate
from .limit import Limit, Limits, LimitState
from .ticket import Ticket

__all__ = ["GateKeeper", "ModelLimits"]

# A timer of some loops fires up to a millisecond early.
_LEAST_WAIT = 0.001


class GateKeeper:
    """Lets calls through one model's gate as it opens."""

    __slots__ = ("_handle", "_loop", "_wakes_at", "gate")

    def __init__(self, model: str, limit: Limit) -> None:
        self.gate = Gate(model, limit, time.monotonic)
        self.gate.changed = self._open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0

    def join(self, params: Mapping[str, Any], *, again: bool) -> Ticket:
        """Return the ticket of a call: it may begin if that is `granted`, else `wait` for it.

        One that comes `again` goes before others. Give the ticket `end`, `fail` or `give_back` when the call is over.
        Raises InvalidRequestError where the user's `count_tokens` fails.
        """
        gate = self.gate
        max_tokens = _whole(params.get("max_tokens"))
        if max_tokens is not None:
            max_tokens *= _whole(params.get("n")) or 1
        hook = gate.limit.count_tokens
        if hook is None:
            return gate.join(*weigh(params), max_tokens, again=again)
        return gate.join(0, 0, max_tokens, prompt=count_by_hook(hook, params), again=again)

    async def wait(self, ticket: Ticket, deadline: float | None) -> None:
        """Wait until a call may begin; TimeoutError at `deadline`, a time of the loop, its ticket given back."""
        self._open()
        if ticket.granted:
            return
        waiter = ticket.waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout_at(deadline):
                await waiter
        except BaseException:
            ticket.give_back()
            raise

    def _open(self) -> None:
        """Let out who may go, and look again when more may."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            # A forgotten stream's finalizer, in a thread without a loop or after its end.
            if self._loop is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._open)
            return
        for ticket in self.gate.poll():
            waiter = ticket.waiter
            if waiter is not None:
                _wake(waiter, loop)
        self._arm(loop)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        at = self.gate.next_at()
        if self._handle is not None:
            if loop is self._loop and at is not None and self._wakes_at <= at:
                return
            self._handle.cancel()
            self._handle = None
        if at is not None:
            self._loop = loop
            self._wakes_at = at
            self._handle = loop.call_later(max(_LEAST_WAIT, at - time.monotonic()), self._look)

    def _look(self) -> None:
        self._handle = None
        self._open()


def _wake(waiter: asyncio.Future[None], loop: asyncio.AbstractEventLoop) -> None:
    home = waiter.get_loop()
    if home is loop:
        if not waiter.done():
            waiter.set_result(None)
    elif not home.is_closed():
        home.call_soon_threadsafe(_wake, waiter, home)


def _whole(value: Any) -> int | None:
    """Return a count that a request may hold; what else it holds is for the service to refuse."""
    return value if isinstance(value, int) and value > 0 else None


class ModelLimits(Mapping[str, LimitState]):
    """How each model fares that has passed a gate of this client: `client.limits["org/model"]`."""

    def __init__(self, limits: Limits | None) -> None:
        self._limits = limits
        self._keepers: dict[str, GateKeeper] = {}

    def __getitem__(self, model: str) -> LimitState:
        return self._keepers[model].gate.state()

    def __iter__(self) -> Iterator[str]:
        return iter(self._keepers)

    def __len__(self) -> int:
        return len(self._keepers)

    def __repr__(self) -> str:
        return f"<limits of {', '.join(self) or 'no model yet'}>"

    def given(self, model: Any) -> GateKeeper | None:
        """Return the gate of a model for which limits were given, None for any other."""
        return self._keeper(model) if self._limit(model) is not None else None

    def always(self, model: Any) -> GateKeeper:
        """Return the gate of a model; one without limits finds its own."""
        keeper = self._keeper(model)
        limit = keeper.gate.limit
        if limit.rpm is None and limit.tpm is None:
            keeper.gate.pace.adapt()
        return keeper

    def _limit(self, model: Any) -> Limit | None:
        limits = self._limits
        return limits if limits is None or isinstance(limits, Limit) else limits.get(str(model))

    def _keeper(self, model: Any) -> GateKeeper:
        name = str(model)
        keeper = self._keepers.get(name)
        if keeper is None:
            keeper = self._keepers[name] = GateKeeper(name, self._limit(model) or Limit())
        return keeper
