"""Timing in turns: every contestant once per round, medians over the rounds, ratios within each round.

What is timed is CPU time of this process alone, so that neither the server nor a busy neighbour counts.
"""

from __future__ import annotations

import asyncio
import gc
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from . import UNIT

if TYPE_CHECKING:
    from .contestants import Contestant, Entrant
    from .server import Server

T = TypeVar("T")

# Says how far it is.
Note: TypeAlias = Callable[[str], None]
# metric: value, of one contestant in one round.
Sample: TypeAlias = dict[str, float]
# contestant: what is done in its turn
Runs: TypeAlias = Mapping[str, Callable[[], Awaitable[Sample]]]


class WrongAnswer(Exception):
    """A contestant did not receive what the server sent; its time is worth nothing."""


@dataclass
class Row:
    """One figure: the median of `samples`; `ratio` is the median of the ratios to the unit in the same round."""

    case: str
    variant: str
    metric: str
    contestant: str
    loop: str
    value: float
    ratio: float | None = None
    samples: list[float] = field(default_factory=list)


async def cpu_of(run: Callable[[], Awaitable[object]]) -> float:
    """Return the CPU seconds of this process while `run` runs."""
    began = time.process_time()
    await run()
    return time.process_time() - began


async def compare(runs: Runs, *, rounds: int, note: Note, warm_up: bool = True) -> dict[str, list[Sample]]:
    """Run each contestant once per round, in another order each time; the warm-up round is left out."""
    found: dict[str, list[Sample]] = {name: [] for name in runs}
    rng = random.Random(0)
    for number in range(rounds + warm_up):
        order = list(runs)
        rng.shuffle(order)
        for name in order:
            note(f"{'warm-up' if warm_up and number == 0 else f'round {number + 1 - warm_up}/{rounds}'} {name}")
            # Neither another contestant's garbage nor its modules are this one's to collect.
            gc.collect()
            gc.freeze()
            sample = await runs[name]()
            if number >= warm_up:
                found[name].append(sample)
    return found


def rows(
    found: Mapping[str, list[Sample]], *, case: str, variant: str, loop: str, ratios: tuple[str, ...] = ()
) -> list[Row]:
    """Sum up the rounds; `ratios` are the metrics for which the ratio to the unit means something."""
    summed = []
    unit = found.get(UNIT)
    metrics = dict.fromkeys(metric for samples in found.values() for sample in samples for metric in sample)
    for metric in metrics:
        for name, samples in found.items():
            values = [sample[metric] for sample in samples if metric in sample]
            if not values:
                continue
            ratio = None
            if metric in ratios and unit is not None:
                pairs = zip(samples, unit, strict=True)
                ratio = statistics.median(own[metric] / one[metric] for own, one in pairs if one[metric])
            summed.append(Row(case, variant, metric, name, loop, statistics.median(values), ratio, values))
    return summed


def percentile(values: list[int], share: float) -> float:
    """Return the value that this share of them does not exceed."""
    return float(sorted(values)[min(len(values) - 1, int(share * len(values)))]) if values else 0.0


class Tally:
    """Counts the calls of a run as they end, and has planned things happen, each when so many have ended."""

    def __init__(self, plan: Iterable[tuple[int, Callable[[], Coroutine[Any, Any, None]]]] = ()) -> None:
        self.calls = self.failed = self.attempts = 0
        self._plan = list(plan)
        self._happening: asyncio.Task[None] | None = None

    def note(self, *, failed: bool, attempts: int = 1) -> None:
        """Count one call."""
        self.calls += 1
        self.failed += failed
        self.attempts += attempts
        due = self._plan and self.calls >= self._plan[0][0]
        if due and (self._happening is None or self._happening.done()):
            self._happening = asyncio.create_task(self._plan.pop(0)[1]())

    async def settle(self) -> None:
        """Wait until what is happening has happened."""
        if self._happening is not None:
            await self._happening


@dataclass
class Setting:
    """What a case is given, and where it leaves its rows.

    `quick` asks for tiny counts: whether it runs, not how fast. `rounds` overrides the case's own number.
    """

    case: str
    loop: str
    server: Server
    contestants: dict[str, type[Contestant]]
    fanouts: dict[str, type[Entrant]]
    note: Note
    quick: bool = False
    rounds: int | None = None
    rows: list[Row] = field(default_factory=list)

    def size(self, full: T, quick: T) -> T:
        return quick if self.quick else full

    def count(self, rounds: int) -> int:
        return self.rounds or self.size(rounds, 1)

    def add(
        self, variant: str, found: Mapping[str, list[Sample]], *, loop: str | None = None, ratios: tuple[str, ...] = ()
    ) -> None:
        """Leave rows; `loop` is "" where no loop makes them better or worse."""
        loop = self.loop if loop is None else loop
        self.rows += rows(found, case=self.case, variant=variant, loop=loop, ratios=ratios)

    async def measure(
        self,
        variant: str,
        runs: Runs,
        rounds: int = 1,
        *,
        warm_up: bool = False,
        loop: str | None = None,
        ratios: tuple[str, ...] = (),
    ) -> None:
        """Run each contestant in turns, and leave the rows."""
        found = await compare(
            runs, rounds=self.count(rounds), note=lambda text: self.note(f"{variant}: {text}"), warm_up=warm_up
        )
        self.add(variant, found, loop=loop, ratios=ratios)
