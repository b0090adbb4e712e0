"""Embeddings of any number of texts: what `client.embeddings.map(…)` returns, and what it does for each batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from ..calls.call import Call
from ..calls.observers import RunState
from ..errors import (
    BadRequestError,
    ClosedError,
    ContentFlaggedError,
    PayloadTooLargeError,
    SiliconFlowError,
)
from .embedding import EmbeddingAsk
from .fanout import MapResults, Workers
from .results import MapDone, MapFailed, MapItem
from .texts import Batch

if TYPE_CHECKING:
    from ..calls.passage import Passage

__all__ = ["EmbeddingResults", "EmbeddingWorkers", "Faults", "MapEmbeddings"]

E = TypeVar("E")

# What may be the fault of one text among those of a request.
_OF_A_TEXT = (BadRequestError, ContentFlaggedError, PayloadTooLargeError)


class Faults:
    """What a run knows of refusals that may be the fault of one text among those of a request.

    Such a request is cut in halves, and these again, until the text is found. Until the service has taken any text of
    the run, it may as well be the fault of all, so one request alone is cut up to see. With `hunt` False none is, and
    an error is that of the whole request.
    """

    def __init__(self, *, hunt: bool) -> None:
        self.hunt = hunt
        self.proved = False
        self.hopeless = False
        self.turn = asyncio.Lock()


class MapEmbeddings(Generic[E]):
    """The request of a run for the texts of one batch; what answers it is a vector or an error for each."""

    def __init__(
        self, ask: EmbeddingAsk, batch: Batch, patience: float, parent: RunState | None, faults: Faults
    ) -> None:
        self._ask = ask
        self._batch = batch
        self._patience = patience
        self._parent = parent
        self._faults = faults
        self._before = 0
        self._call = self._next(batch.texts)

    @property
    def passage(self) -> Passage:
        return self._call.passage

    @property
    def attempts(self) -> int:
        return self._before + self._call.attempts

    async def answer(self) -> list[E | SiliconFlowError]:
        """Ask for the vectors, and for those of fewer texts where that is refused; raise what all have failed by."""
        texts, faults = self._batch.texts, self._faults
        try:
            vectors = await self._fetched(texts)
        except _OF_A_TEXT as error:
            most = self._ask.learn(error, len(texts))
            if most is None and (len(texts) == 1 or not faults.hunt):
                raise
            refusal = error
        else:
            faults.proved = True
            return vectors
        if most is not None:
            return [found for at in range(0, len(texts), most) for found in await self._apart(texts[at : at + most])]
        if faults.proved:
            return await self._halves(texts)
        async with faults.turn:
            if not faults.hopeless or faults.proved:
                found = await self._halves(texts)
                faults.hopeless = not faults.proved
                return found
        try:
            raise refusal
        finally:
            # This frame, which the traceback holds, is not to hold the error.
            del refusal

    async def _apart(self, texts: list[str]) -> list[E | SiliconFlowError]:
        """Return what becomes of some of the texts."""
        self._before, self._call = self.attempts, self._next(texts)
        try:
            found = await self._fetched(texts)
        except _OF_A_TEXT as error:
            if not self._faults.hunt:
                raise
            if len(texts) == 1:
                return [error]
        except ClosedError:
            raise
        except SiliconFlowError as error:
            if not self._faults.hunt:
                raise
            # The others of the batch have their vectors, perhaps.
            return [error] * len(texts)
        else:
            self._faults.proved = True
            return found
        return await self._halves(texts)

    async def _halves(self, texts: list[str]) -> list[E | SiliconFlowError]:
        half = len(texts) // 2
        return [*await self._apart(texts[:half]), *await self._apart(texts[half:])]

    def _next(self, texts: list[str]) -> Call:
        return self._ask.call(texts, patience=self._patience, parent=self._parent)

    async def _fetched(self, texts: list[str]) -> list[E | SiliconFlowError]:
        answer = await self._call.fetch(self._ask.decode(len(texts)))
        return list(answer.data)


class EmbeddingWorkers(Workers[list[Any]]):
    """A run for embeddings, whose total counts texts."""

    def _size(self, item: MapItem) -> int:
        return len(item.request.texts)

    def _failures(self, result: MapDone[list[Any]] | MapFailed) -> int:
        if result.error is not None:
            return self._size(result)
        return sum(isinstance(found, SiliconFlowError) for found in result.completion)


class EmbeddingResults(Generic[E]):
    """The vectors of a run, text by text, as an async context manager that is iterated; made by `embeddings.map`.

    Leaving it, or letting go of the last reference, cancels what is left and closes its connections.
    """

    def __init__(self, batches: MapResults[list[Any]]) -> None:
        self._batches = batches
        self._ready: Iterator[MapDone[E] | MapFailed] = iter(())

    def __repr__(self) -> str:
        return f"<EmbeddingResults of batches: {self._batches!r}>"

    async def __aenter__(self) -> Self:
        await self._batches.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ready = iter(())
        await self._batches.__aexit__(kind, error, traceback)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MapDone[E] | MapFailed:
        for result in self._ready:
            return result
        self._ready = _each(await anext(self._batches))
        return next(self._ready)


def _each(batch: MapDone[list[Any]] | MapFailed) -> Iterator[Any]:
    """Yield a batch's result as those of its texts."""
    for at, text in enumerate(batch.request.texts):
        found: Any = batch.error if batch.error is not None else batch.completion[at]
        failed = isinstance(found, SiliconFlowError)
        index = batch.request.first + at
        if not failed:
            found.index = index
        # Cast, since the checkers don't see that the class goes by the error.
        make = cast("Callable[..., Any]", MapFailed if failed else MapDone)
        yield make(
            index=index,
            custom_id=None,
            request=text,
            completion=None if failed else found,
            error=found if failed else None,
            attempts=batch.attempts,
            times=batch.times,
        )
