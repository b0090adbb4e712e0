"""An open answer whose chunks fold into a whole one: what streams of chats and of texts have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import length_hint
from typing import Any, Generic, Protocol, Self, TypeVar

from ..errors import MalformedStreamError
from ..wire.plain import Headed, Timing
from .opened import OpenAnswer
from .reading import End, Ended, Reading

__all__ = ["NOTHING", "FoldedStream"]

# What was read, what is given out, and what it folds to.
C = TypeVar("C")
G = TypeVar("G")
W = TypeVar("W", bound=Headed)

F = TypeVar("F", contravariant=True)
D = TypeVar("D", covariant=True)

NOTHING: Iterator[Any] = iter(())


class Accumulating(Protocol[F, D]):
    """What folds the chunks of a stream."""

    @property
    def finished(self) -> bool: ...

    @property
    def begun(self) -> bool: ...

    # A chat's, or what has the names of one's.
    @property
    def usage(self) -> Any: ...

    def fold(self, chunks: Sequence[F], /) -> bool: ...

    def completion(self) -> D: ...


class FoldedStream(OpenAnswer[C], Generic[C, G, W]):
    """What every such stream can do."""

    __slots__ = ("_accumulator", "_batch", "_first_token_at", "_ready", "_rest", "_started_at")

    # How one ended of which all had come when it was left.
    _complete: Ended = "finish"

    def __init__(self, reading: Reading[C], started_at: float, accumulator: Accumulating[C, W]) -> None:
        super().__init__(reading)
        self._started_at = started_at
        self._first_token_at: float | None = None
        self._accumulator: Any = accumulator
        # The chunks of the last read that are not folded yet. Those of them that are still to be given out: as they
        # came, for texts and events, and whole, for who iterates the stream itself.
        self._batch: list[C] = []
        self._rest: Iterator[C] = NOTHING
        self._ready: Iterator[G] = NOTHING

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> G:
        for chunk in self._ready:
            return chunk
        if await self._fill():
            return next(self._ready)
        raise StopAsyncIteration

    @property
    def partial(self) -> W:
        """The answer so far: the chunks given out; all that had arrived, once the stream has ended."""
        self._settle()
        answer: W = self._accumulator.completion()
        answer.headers = self.headers
        answer.trace_id = self.trace_id
        answer.timing = self.timing
        return answer

    @property
    def timing(self) -> Timing:
        """Seconds from the call to the first token and to the end, None for what has not come; requests made for it."""
        first, end, started_at = self._first_token_at, self._end, self._started_at
        return Timing(
            None if first is None else first - started_at,
            None if end is None else end.at - started_at,
            self._reading.attempts,
        )

    async def completion(self) -> W:
        """Read what is left and return the whole answer; raise as iterating would."""
        self._ready = self._rest = NOTHING
        while await self._fill(True):
            self._ready = self._rest = NOTHING
        return self.partial

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        if self._end is not None:
            return
        self._settle()
        complete = self._accumulator.finished
        if not self._busy:
            self._batch += self._reading.arrived()
        self._ready = self._rest = NOTHING
        self._conclude(self._complete if complete else "closed")

    def release(self) -> tuple[Reading[C], list[C], End | None]:
        """Give up the reading, what it has brought and how it ended, for another stream to go on with."""
        end, self._end = self._end, End("closed", self.loop.time())
        return self._reading, self._batch, end

    @property
    def _finished(self) -> bool:  # type: ignore[override]  # a variable of the base
        finished: bool = self._accumulator.finished
        return finished

    @property
    def _begun(self) -> bool:  # type: ignore[override]
        begun: bool = self._accumulator.begun
        return begun

    def _take(self, found: list[C], lazily: bool) -> None:
        if self._first_token_at is None:
            self._first_token_at = self._reading.first_token_at
        self._batch = found
        rest: Iterator[Any] = iter(found)
        self._rest = rest
        self._ready = rest

    def _so_far(self) -> W:
        return self.partial

    def _settle(self) -> None:
        """Fold the chunks that were given out since the last time."""
        given = self._batch
        if left := length_hint(self._rest):
            given, self._batch = given[:-left], given[-left:]
        else:
            # Not kept while waiting, perhaps for long and beside thousands of others.
            self._batch = []
        if given:
            reading = self._reading
            try:
                if self._accumulator.fold(given):
                    reading.clock.waited = 0.0
            except MalformedStreamError as error:
                reading.spoil(error)
            if reading.observer is not None:
                reading.observer.progress(len(given), self._accumulator.usage)
