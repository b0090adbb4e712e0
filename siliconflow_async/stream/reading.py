"""One connection's part of an answer: the chunks that it brings, and how it ends.

It knows nothing of the stream that a user holds, so that a forgotten stream can go while the loop still has this to
leave; and a stream that resumes takes the next one in its place.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from ..errors import (
    APIStatusError,
    APITimeoutError,
    EventTooLargeError,
    MalformedStreamError,
    SiliconFlowError,
    StreamError,
    TruncatedStreamError,
)
from ..timeouts import Timeouts
from ..transport.answer import Answer
from ..transport.body import BodyBroken
from ..transport.clock import ClockExpired
from ..wire.structs import Usage

__all__ = ["ENDED_BY", "Decoding", "End", "Ended", "Observer", "Reading"]

C = TypeVar("C")

Ended: TypeAlias = Literal["done", "finish", "truncated", "error", "malformed", "too_large", "timeout", "closed"]

ENDED_BY: dict[type[SiliconFlowError], Ended] = {
    APITimeoutError: "timeout",
    TruncatedStreamError: "truncated",
    MalformedStreamError: "malformed",
    EventTooLargeError: "too_large",
}

# After `[DONE]` the last bytes of the HTTP body may lag: reading them lets the connection serve again.
_DRAIN_BYTES = 64 * 1024
_DRAIN_SECONDS = 0.05


class Decoding(Protocol[C]):
    """What makes chunks of bytes; `wire.protocol` says how."""

    done: bool
    whole: bool
    failure: StreamError | APIStatusError | None

    def feed(self, data: bytes, lazily: bool = False) -> list[C]: ...

    def eof(self) -> list[C]: ...

    def cut_short(self) -> list[C]: ...

    def cut_off(self, why: str | None, *, begun: bool) -> TruncatedStreamError: ...

    def has_progress(self, chunks: list[C]) -> bool:
        """Whether there is in them what the first token's clock waits for."""
        ...


class Observer(Protocol):
    """Who wants to know how an answer comes along: the gate of its model, and those whom a client was given."""

    def answered(self, answer: Answer) -> None:
        """The headers have come, with a status below 300."""

    def first_token(self, at: float | None) -> None:
        """The first token has come, at a time of the loop; None for a whole answer, of which nobody knows when."""

    def progress(self, chunks: int, usage: Usage | None) -> None:
        """So many more chunks were given out; the usage so far, if it was told."""

    def ended(self, error: BaseException | None) -> None:
        """This attempt has ended, with an error, or well, or because it was left; another may follow."""

    def over(self, ended: Ended, error: SiliconFlowError | None, answer: Callable[[], Any] | None) -> None:
        """The call has ended; `answer` returns what had come, None where nobody can tell."""


class End(NamedTuple):
    """How an answer ended, and `at` what time of the loop."""

    ended: Ended
    at: float
    # Never raised itself: it would hold the frames that it passed, and they the stream.
    failure: SiliconFlowError | None = None

    def error(self) -> SiliconFlowError:
        """Return the failure as an error to raise, made anew each time."""
        assert self.failure is not None
        error = copy(self.failure)
        error.__cause__ = self.failure.__cause__
        return error


class Reading(Generic[C]):
    """Read an open answer under its clocks; `attempts` is how many requests were made for it."""

    __slots__ = (
        "_body",
        "_protocol",
        "_timeouts",
        "_trouble",
        "answer",
        "attempts",
        "clock",
        "first_token_at",
        "observer",
    )

    def __init__(
        self,
        answer: Answer,
        protocol: Decoding[C],
        *,
        timeouts: Timeouts,
        deadline: float | None,
        observer: Observer | None = None,
        attempts: int = 1,
    ) -> None:
        self.answer = answer
        self.attempts = attempts
        self.observer = observer
        # When the first event came that counts, a time of the loop.
        self.first_token_at: float | None = None
        self._timeouts = timeouts
        self._body = answer.body
        self.clock = answer.body.start_clock(timeouts, answer.sent_at, deadline)
        self._protocol = protocol
        # What ended the body: b"" for its end, or the exception, without the frames that hold this.
        self._trouble: bytes | BodyBroken | ClockExpired | None = None

    async def more(self, lazily: bool) -> list[C]:
        """Wait for chunks and return them, lazy ones if they may be; none once it has ended, and `judged` says how."""
        protocol = self._protocol
        while self._trouble is None and protocol.failure is None and not protocol.done:
            try:
                data = await self._body.read()
            except (BodyBroken, ClockExpired) as trouble:
                self._trouble = self.answer.mask.clean(trouble).with_traceback(None)
                chunks = protocol.cut_short()
            else:
                if data:
                    chunks = protocol.feed(data, lazily)
                else:
                    self._trouble = data
                    chunks = protocol.eof()
            if chunks:
                self.clock.wait_ends()
                if self.first_token_at is None and protocol.has_progress(chunks):
                    self.first_token_at = self.clock.first_token()
                    if self.observer is not None:
                        self.observer.first_token(self.first_token_at)
                return chunks
        if self.is_done():
            await self._body.drain(_DRAIN_BYTES, _DRAIN_SECONDS)
        return []

    def is_done(self) -> bool:
        """Whether `[DONE]` came, and no failure before it."""
        return self._protocol.done and self._protocol.failure is None

    def arrived(self) -> list[C]:
        """Return the chunks that have arrived and were not read."""
        if self._trouble is not None:
            return []
        return self._protocol.feed(self._body.take_buffered()) + self._protocol.cut_short()

    def spoil(self, failure: MalformedStreamError) -> None:
        """Take for malformed what was decoded well, and can't be folded."""
        # Its traceback would hold the stream in a cycle.
        self._protocol.failure = failure.with_traceback(None)

    def judged(self, *, finished: bool, begun: bool) -> tuple[Ended, SiliconFlowError | None]:
        """Return how it ended, and by which failure; `finished` if every choice did, `begun` if one came."""
        protocol = self._protocol
        failure: SiliconFlowError | None = protocol.failure
        trouble = self._trouble
        if failure is None:
            if protocol.done:
                return "done", None
            # What an end without `[DONE]` means.
            if finished or protocol.whole:
                return "finish", None
            if isinstance(trouble, ClockExpired):
                seconds = self._timeouts.limit(trouble.clock, streaming=True)
                failure = APITimeoutError(clock=trouble.clock, seconds=seconds)
            else:
                failure = protocol.cut_off(str(trouble) if isinstance(trouble, BodyBroken) else None, begun=begun)
            failure.__cause__ = trouble if isinstance(trouble, Exception) else None
        return ENDED_BY.get(type(failure), "error"), failure

    def leave(self, error: SiliconFlowError | None = None) -> None:
        """Close the connection at once, unless the body has ended and given it back, and tell the observer."""
        self.clock.stop()
        self._body.abort()
        if self.observer is not None:
            self.observer.ended(error)

    def forget(self) -> None:
        """Leave an answer that nobody holds any more."""
        self.leave()
        self.tell_closed()

    def tell_closed(self) -> None:
        """Tell the observer that attempt and call have ended, and nobody knows with what."""
        if self.observer is not None:
            self.observer.ended(None)
            self.observer.over("closed", None, None)
