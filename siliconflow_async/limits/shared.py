"""Limits that several processes share: a store that all of them reach, and the thread that goes there.

Each model's gate decides by itself, on what it was lent; a thread of each `StoredLimits` reports for all of them, and
wakes the gates that were lent more. So it waits for no event loop and no loop waits for it, and there is nothing that a
cancelled call could leave half done. The thread ends when nothing is held and nothing was used lately, and gives back
what there is when the interpreter ends.
"""

from __future__ import annotations

import atexit
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from ..checks import is_count
from ..errors import ConfigurationError, LimitsUnavailableError, SiliconFlowError
from .given import Limits, SharedLimits, check_limits
from .keeper import GateKeeper
from .ledger import Ledger
from .limit import Limit
from .report import Reply, Report
from .sharedgate import SharedGate

__all__ = ["Ledgers", "MemoryLimits", "SharedKeeper", "StoredLimits"]

_log = logging.getLogger("siliconflow_async")

# How long the end of the interpreter waits for the store, in seconds.
_LAST_WORDS = 1.0


class SharedKeeper(GateKeeper):
    """Lets calls through one model's gate, whose limits others share."""

    gate: SharedGate

    def __init__(self, model: str, limit: Limit, limits: StoredLimits) -> None:
        self._limits = limits
        # Whether the loss of the store was, which is said once.
        self._was_said = False
        super().__init__(model, limit)

    def _gate(self, model: str, limit: Limit) -> SharedGate:
        return SharedGate(model, limit, time.monotonic, self._open, self._wake, processes=self._limits.processes)

    def renew(self) -> None:
        """Begin anew, in the child of a fork: what was lent is the parent's."""
        self.__init__(self.gate.model, self.gate.limit, self._limits)  # type: ignore[misc]  # with new locks, too

    def _wake(self) -> None:
        self._limits.wake(self)

    def due_at(self, now: float) -> float:
        """Return when to report next, by `time.monotonic()`; `now` is what that says."""
        with self.gate.lock:
            return self.gate.meters.due_at(now)

    def report(self, *, leaving: bool = False) -> Report:
        """Return what there is to say."""
        with self.gate.lock:
            return self.gate.report(leaving=leaving)

    def apply(self, report: Report, reply: Reply) -> None:
        """Take in the answer, and let out whom it lets out."""
        with self.gate.lock:
            self.gate.apply(report, reply)
        if self._was_said:
            self._was_said = False
            _log.info("%s: limits are shared again, by %d processes", self.gate.model, reply.peers)
        self._open_from_outside()

    def lost(self, error: SiliconFlowError, *, stops: bool) -> None:
        """The store can't be reached: calls that wait fail of it if it `stops` them, else the process goes on alone."""
        with self.gate.lock:
            self.gate.lost(error if stops else None)
            meters, concerns = self.gate.meters, self.gate.running or self.gate.waiting
            rpm, tpm = meters.rpm, meters.tpm
        if concerns and not stops and not self._was_said:
            self._was_said = True
            _log.warning("%s: %s; going on with a share of the limits, rpm=%s tpm=%s", meters.model, error, rpm, tpm)
        self._open_from_outside()


class StoredLimits(SharedLimits):
    """Limits that all processes of an account share, in a store that `exchange` reaches; the base of each kind of it.

    A client takes one as its `limits=`. `limits` is one Limit for every model, or one for each. Where the store can't
    be reached, `on_loss="share"` goes on with this process's last share of the limits, and `on_loss="stop"` fails calls
    with LimitsUnavailableError; `processes` are taken to share them until the store has said how many do.
    """

    def __init__(
        self,
        limits: Mapping[str, Limit] | Limit | None = None,
        *,
        on_loss: Literal["share", "stop"] = "share",
        processes: int = 1,
    ) -> None:
        if on_loss not in ("share", "stop"):
            raise ConfigurationError(f'on_loss must be "share" or "stop", not {on_loss!r}')
        if not is_count(processes, 1):
            raise ConfigurationError(f"processes must be an integer >= 1, not {processes!r}")
        self.limits = _plain(check_limits(limits))
        self.on_loss = on_loss
        self.processes = processes
        self._keepers: weakref.WeakSet[SharedKeeper] = weakref.WeakSet()
        self._begin()
        _ALL.add(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._active: set[SharedKeeper] = set()
        self._thread: threading.Thread | None = None
        self._leaving = False
        self._was_reached = False

    # What a store does

    def exchange(self, reports: Sequence[Report], models: Sequence[str]) -> list[Reply]:
        """Take the reports of these models to the store, and return its replies; called in a thread of its own.

        Raises ConfigurationError where the store can never work as it is set up, LimitsUnavailableError or OSError
        where it can't be reached now.
        """
        raise NotImplementedError

    def disconnect(self) -> None:
        """Close what `exchange` opened; it may open it again."""

    # What a client does

    def limit_of(self, model: str) -> Limit | None:
        """Return the limit given for a model."""
        limits = self.limits
        return limits if limits is None or isinstance(limits, Limit) else limits.get(model)

    def window_of(self, model: str) -> int:
        """Return the length of a model's window in milliseconds."""
        return round(1000 * (self.limit_of(model) or Limit()).window)

    def keeper(self, model: str) -> SharedKeeper:
        """Return a new gate of a model."""
        keeper = SharedKeeper(model, self.limit_of(model) or Limit(), self)
        self._keepers.add(keeper)
        return keeper

    def wake(self, keeper: SharedKeeper) -> None:
        """Have a gate report soon."""
        with self._lock:
            self._active.add(keeper)
            self._event.set()
            if self._thread is None and not self._leaving:
                self._thread = threading.Thread(target=self._run, name="siliconflow-limits", daemon=True)
                self._thread.start()

    # The thread

    def _run(self) -> None:
        while True:
            with self._lock:
                self._event.clear()
                leaving, active = self._leaving, list(self._active)
            now, due, next_at = time.monotonic(), list[SharedKeeper](), math.inf
            for keeper in active:
                at = keeper.due_at(now)
                if at <= now or leaving:
                    due.append(keeper)
                next_at = min(next_at, at)
            if due:
                self._report(due, leaving=leaving)
            if due and not leaving:
                continue
            if next_at < math.inf and not leaving:
                self._event.wait(next_at - now)
                continue
            with self._lock:
                if leaving or not self._event.is_set():
                    self._active.clear()
                    self._thread = None
                    break
        self.disconnect()

    def _report(self, keepers: list[SharedKeeper], *, leaving: bool) -> None:
        reports = [keeper.report(leaving=leaving) for keeper in keepers]
        try:
            replies = self.exchange(reports, [keeper.gate.model for keeper in keepers])
        except Exception as error:
            self._lost(keepers, error)
            return
        self._was_reached = True
        for keeper, report, reply in zip(keepers, reports, replies, strict=True):
            keeper.apply(report, reply)

    def _lost(self, keepers: list[SharedKeeper], error: Exception) -> None:
        if not isinstance(error, SiliconFlowError):
            error, cause = LimitsUnavailableError(f"{self!r} failed: {type(error).__name__}: {error}"), error
            error.__cause__ = cause
        # What never worked is a setting to mend; what did is waited for.
        stops = self.on_loss == "stop" or (isinstance(error, ConfigurationError) and not self._was_reached)
        for keeper in keepers:
            keeper.lost(error, stops=stops)

    def renew(self) -> None:
        """Begin anew, in the child of a fork, which has no thread of its parent's."""
        self._begin()
        for keeper in list(self._keepers):
            keeper.renew()

    def leave(self) -> None:
        """Give back what is held, as the process ends."""
        with self._lock:
            self._leaving = True
            self._event.set()
            thread = self._thread
        if thread is not None:
            thread.join(_LAST_WORDS)


class Ledgers:
    """The ledgers of one account, wherever they are kept, by this machine's clock."""

    def __init__(self) -> None:
        self._ledgers: dict[tuple[str, int], Ledger] = {}

    def exchange(self, reports: Sequence[Report], models: Sequence[str], windows: Sequence[int]) -> list[Reply]:
        """Take the reports of these models, each with its window in milliseconds, and return the replies."""
        now = time.monotonic_ns() // 1_000_000
        return [
            self._ledgers.setdefault((model, window), Ledger(window)).exchange(report, now)
            for report, model, window in zip(reports, models, windows, strict=True)
        ]


class MemoryLimits(StoredLimits):
    """Limits that several clients of one process share, each with a key, an observer or options of its own."""

    def __init__(self, limits: Mapping[str, Limit] | Limit | None = None, **options: Any) -> None:
        super().__init__(limits, **options)
        self._ledgers = Ledgers()

    def exchange(self, reports: Sequence[Report], models: Sequence[str]) -> list[Reply]:
        return self._ledgers.exchange(reports, models, [self.window_of(model) for model in models])


_ALL: weakref.WeakSet[StoredLimits] = weakref.WeakSet()


@atexit.register
def _leave_all() -> None:
    for limits in list(_ALL):
        limits.leave()


def _renew_all() -> None:
    for limits in list(_ALL):
        limits.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


def _plain(limits: Limits | None) -> Mapping[str, Limit] | Limit | None:
    if isinstance(limits, SharedLimits):
        raise ConfigurationError("limits must be a Limit or a mapping of models to Limits: these are shared already")
    return limits
