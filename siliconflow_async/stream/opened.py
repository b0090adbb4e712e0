"""An open answer, whatever comes of it: how it ended, and how it is left.

Leaving it in any way closes its connection at once, and one that is forgotten closes its own: nothing here forms a
reference cycle, so the last reference is really the last.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Generic, NoReturn, Self, SupportsIndex, TypeVar

from ..errors import APIStatusError, APITimeoutError, BusyError, ClosedError, SiliconFlowError, StreamError
from ..loops import on_any_loop, on_loop
from .reading import End, Ended, Reading

__all__ = ["OpenAnswer", "Uncopyable", "first_chunk"]

C = TypeVar("C")


class Uncopyable:
    """One open connection: a copy of it would close it when it goes."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} can't be copied or pickled; the stream's `partial` can")


class OpenAnswer(Uncopyable, Generic[C]):
    """What every open answer can do."""

    __slots__ = ("__weakref__", "_busy", "_end", "_reading", "loop")

    def __init__(self, reading: Reading[C]) -> None:
        self.loop = reading.answer.loop
        self._reading = reading
        self._busy = False
        self._end: End | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.ended or 'open'} trace_id={self.trace_id!r}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def __del__(self) -> None:
        # Not there if __init__ failed.
        reading = getattr(self, "_reading", None)
        if reading is None or self._end is not None:
            return
        if not on_loop(self.loop, reading.forget) and reading.observer is not None:
            # Its connection has gone with its loop; its place at the gate belongs to no loop.
            on_any_loop(reading.tell_closed)

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it is open."""
        return None if self._end is None else self._end.ended

    @property
    def trace_id(self) -> str | None:
        """What SiliconFlow's support asks for; None if the answer has none."""
        return self._reading.answer.trace_id

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers under lower-case names."""
        return self._reading.answer.headers

    async def aclose(self) -> None:
        """Close the connection at once. What had arrived stays; further reading raises ClosedError."""
        self.abort()

    async def close(self) -> None:
        """`aclose()`, as the openai package names it."""
        self.abort()

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        if self._end is None:
            self._conclude("closed")

    async def _fill(self, lazily: bool = False) -> bool:
        """Wait for more, once all that was ready is given out; False at a good end, raise at any other.

        It may be `lazily` decoded, see `Reading.more`, where `_may_be_lazy`.
        """
        if self._end is not None:
            self._raise_end()
            return False
        if self._busy:
            raise BusyError("another task is waiting for this stream")
        self._busy = True
        self._settle()
        reading = self._reading
        try:
            found = await reading.more(lazily and self._may_be_lazy)
        except asyncio.CancelledError:
            self._busy = False
            if reading.is_done() and self._end is None:
                self._conclude("done")
            self.abort()
            raise
        finally:
            self._busy = False
        if self._end is not None:
            raise self._counted(ClosedError("the stream was closed while it was being read"))
        if found:
            self._take(found, lazily)
            return True
        return await self._at_end(*reading.judged(finished=self._finished, begun=self._begun))

    async def _at_end(self, ended: Ended, failure: SiliconFlowError | None) -> bool:
        """End as the reading has ended: return False if that was well, else raise."""
        self._conclude(ended, failure)
        self._raise_end()
        return False

    def _raise_end(self) -> None:
        """Raise what it ended with, if that was not well."""
        assert self._end is not None
        if self._end.ended == "closed":
            raise self._counted(ClosedError("the stream is closed"))
        if self._end.failure is not None:
            # Without a name here: the traceback holds this frame, and a name would close the circle.
            raise self._counted(self._end.error())

    # What the subclasses make of it

    _may_be_lazy = False
    # Whether an end without `[DONE]` would be whole, and whether anything has come.
    _finished: bool
    _begun: bool

    def _take(self, found: list[C], lazily: bool) -> None:
        """Have ready what a read has brought."""
        raise NotImplementedError

    def _settle(self) -> None:
        """Take into account what was given out."""

    def _so_far(self) -> Any:
        """Return what had come."""

    def _conclude(self, ended: Ended, failure: SiliconFlowError | None = None) -> None:
        self._settle()
        self._end = End(ended, self.loop.time(), failure)
        if isinstance(failure, APIStatusError):
            failure.headers = self.headers
        elif isinstance(failure, StreamError | APITimeoutError):
            failure.partial = self._so_far()
            failure.trace_id = self.trace_id
        self._reading.leave(failure)
        if self._reading.observer is not None:
            self._reading.observer.over(ended, failure, self._so_far)

    def _counted(self, error: SiliconFlowError) -> SiliconFlowError:
        """Return an error that says how many requests were made for this answer."""
        error.attempts = self._reading.attempts
        return error


S = TypeVar("S", bound=OpenAnswer[Any])


async def first_chunk(stream: S) -> S:
    """Return the stream once something of it is there, or it has ended well without; raise as reading would."""
    await stream._fill()
    return stream
