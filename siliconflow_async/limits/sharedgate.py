"""One model's gate whose limits others share: what it lets out was lent to it, and a pause of theirs is its own."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from itertools import islice

from ..errors import SiliconFlowError
from .gate import Gate
from .leases import LeasedMeters
from .limit import Limit
from .report import Demand, Pause, Reply, Report
from .ticket import Ticket

__all__ = ["SharedGate"]

_log = logging.getLogger("siliconflow_async")

# So many calls that wait are looked at for one report; those behind them come with the next.
_MOST_ASKED_FOR = 512


class SharedGate(Gate):
    """The gate of `model` under shared limits; `wake` is called when there is a report to make."""

    meters: LeasedMeters

    def __init__(
        self,
        model: str,
        limit: Limit,
        now: Callable[[], float],
        changed: Callable[[], None] = lambda: None,
        wake: Callable[[], None] = lambda: None,
        *,
        processes: int = 1,
    ) -> None:
        super().__init__(model, limit, now, changed, LeasedMeters(model, limit, wake, processes=processes))
        self._refused_here: list[Ticket] = []

    def report(self, *, leaving: bool = False) -> Report:
        """Return what to tell the store."""
        return self.meters.report(self.now(), self._demand(), self.running, leaving=leaving)

    def apply(self, report: Report, reply: Reply) -> None:
        """Take in what the store answered: a pause of others, and its end; `poll` then lets out who may go."""
        now, meters, outage = self.now(), self.meters, self.outage
        before = meters.pause
        began = meters.apply(report, reply, now)
        if began:
            self._pause(began, now)
        elif meters.pause:
            self.pace.paused_until = meters.paused_until(now)
        elif before:
            outage.end()
            self.pace.resume(now)

    def lost(self, error: SiliconFlowError | None) -> None:
        """The store can't be reached. With an `error` calls that wait fail of it."""
        for ticket in self._queue if error is not None else ():
            if not ticket.over:
                ticket.over, ticket.refused_by = True, error
                self._gone += 1
                self._refused_here.append(ticket)
        self.meters.lost(self.now(), stops=error is not None)

    def poll(self) -> list[Ticket]:
        """Let out the calls that may begin now; with them are those that never will."""
        refused, self._refused_here = self._refused_here, []
        return [*super().poll(), *refused]

    def _pause(self, kind: Pause, now: float) -> None:
        until = self.meters.paused_until(now)
        bore = self.pace.cap if kind == "outage" else None
        self.pace.refuse(self.pace.generation, now, until - now, bore=bore)
        if kind == "outage":
            self.outage.begin(self._let_out_so_far, now, self.pace.generation, self.pace.cap)
        _log.info("%s: another process met %s, all calls wait %.2f s", self.model, kind, until - now)

    def _demand(self) -> Demand:
        """Return what those that wait would have, as far as the pace lets them go."""
        now, pace = self.now(), self.pace
        most = 0 if now < pace.paused_until else min(pace.cap - pace.in_flight, _MOST_ASKED_FOR)
        waiting = (ticket.owed for ticket in self._queue if not ticket.over)
        owed = list(islice(waiting, math.ceil(max(0.0, most))))
        return Demand(len(owed), sum(owed), owed[0] if owed else 0)
