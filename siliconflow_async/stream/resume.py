"""A stream that goes on where it broke off: what `resume=` makes of a `ChatStream`.

Where a text answer breaks after output, the request is sent again with what has arrived as `prefix`, and what comes is
appended as it is: one answer to whoever reads it, its usage added up, the place in `events()` as a `Seam`. Only text
can be continued so. Where reasoning or a tool call has come, or an error of a kind that stays, the stream ends as any
other would, and so it does when the attempts, the client's retry budget or the total clock allow no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeAlias

import msgspec

from ..errors import (
    APITimeoutError,
    ClosedError,
    SiliconFlowError,
    StreamAPIError,
    TruncatedStreamError,
)
from ..wire.events import Event, EventBuilder, Seam
from ..wire.lazy import Chunk, whole
from ..wire.structs import ChatCompletion, Usage
from .reading import Ended, Reading
from .stream import ChatStream, EventIterator

__all__ = ["Break", "ResumingStream"]


class Break(NamedTuple):
    """Where an answer broke off.

    `attempt` is the continuation to come, from 1; `text` the content so far; `tokens` what it took, None if not told.
    """

    attempt: int
    error: SiliconFlowError
    text: str
    tokens: int | None


Reopen: TypeAlias = Callable[[Break], Coroutine[Any, Any, ChatStream | None]]
"""Open the continuation, up to its first chunk; None where none may be asked for."""


class ResumingStream(ChatStream):
    """A ChatStream that goes on with the next reading where the one before broke off."""

    __slots__ = ("_allowed", "_attempts", "_left", "_opening", "_reopen", "_seams", "_spent", "_tokens")

    def __init__(
        self, reading: Reading[Chunk], started_at: float, *, reopen: Reopen, allowed: int, attempts: Callable[[], int]
    ) -> None:
        super().__init__(reading, started_at)
        self._allowed = allowed
        self._left = allowed
        self._reopen = reopen
        # The requests that were made, for continuations that came to nothing as well.
        self._attempts = attempts
        self._opening: asyncio.Task[ChatStream | None] | None = None
        self._seams: list[Seam] = []
        # What the readings before this one took.
        self._spent: list[Usage | None] = []
        self._tokens: int | None = 0

    @property
    def partial(self) -> ChatCompletion:
        answer = super().partial
        if self._spent:
            answer.usage = _sum([*self._spent, answer.usage])
        return answer

    def events(self) -> EventIterator:
        return _SeamIterator(self)

    def abort(self) -> None:
        if self._opening is not None and self._end is None:
            self._opening.cancel()
        super().abort()

    async def _at_end(self, ended: Ended, failure: SiliconFlowError | None) -> bool:
        """Go on with the next reading where this one broke off; where none may be had, end as it has ended."""
        self._settle()
        answer = super().partial
        if failure is None or not self._left or not _can_go_on(failure, answer):
            return await super()._at_end(ended, failure)
        self._reading.leave(failure)
        text = answer.content or ""
        if self._tokens is not None:
            before = self._seams[-1].at if self._seams else 0
            if answer.usage is not None:
                self._tokens += answer.usage.completion_tokens
            elif len(text) > before:
                self._tokens = None
        self._left -= 1
        attempt = self._allowed - self._left
        stream = await self._opened(Break(attempt, failure, text, self._tokens))
        if stream is None:
            self._left = 0
            return await super()._at_end(ended, failure)
        self._seams.append(Seam(0, attempt, type(failure).__name__, str(failure), len(text), self.trace_id))
        self._spent.append(self._accumulator.take_usage())
        self._reading, self._batch, self._end = stream.release()
        self._rest = iter(self._batch)
        self._ready = map(whole, self._rest)
        return bool(self._batch) or await self._fill()

    async def _opened(self, broken: Break) -> ChatStream | None:
        """Return the continuation, None if there is none; raise if this stream has ended meanwhile."""
        self._busy = True
        opening = self._opening = self.loop.create_task(self._reopen(broken))
        stream = None
        try:
            stream = await opening
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled():
                opening.exception()  # or the loop's handler would tell of it
            task = asyncio.current_task()
            if self._end is None or (task is not None and task.cancelling()):
                self.abort()
                raise
        except SiliconFlowError as failure:
            # Without its traceback, which would hold this stream.
            broken.error.__cause__ = failure.with_traceback(None)
            if isinstance(failure, APITimeoutError) and failure.clock == "total" and self._end is None:
                self._conclude("timeout", failure)
        finally:
            self._opening = None
            self._busy = False
            self._reading.attempts = self._attempts()
            # It may hold an exception, whose traceback holds this frame.
            del opening
        if self._end is None:
            return stream
        if stream is not None:
            stream.abort()
        if self._end.failure is None:
            raise self._counted(ClosedError("the stream was closed while it was being read"))
        raise self._counted(self._end.error())


class _SeamBuilder(EventBuilder):
    """Tell of each seam before what follows it."""

    __slots__ = ("_seams", "_told")

    def __init__(self, seams: list[Seam]) -> None:
        super().__init__()
        self._seams = seams
        self._told = len(seams)

    def feed(self, chunk: Chunk) -> list[Event]:
        return [*self._news(), *super().feed(chunk)]

    def finish(self, usage: Usage | None) -> list[Event]:
        return [*self._news(), *super().finish(usage)]

    def _news(self) -> list[Seam]:
        news = self._seams[self._told :]
        self._told += len(news)
        return news


class _SeamIterator(EventIterator):
    __slots__ = ()

    def __init__(self, stream: ResumingStream) -> None:
        super().__init__(stream)
        self._builder = _SeamBuilder(stream._seams)


def _can_go_on(error: SiliconFlowError, answer: ChatCompletion) -> bool:
    """Whether it was a break in the midst of text."""
    if not isinstance(error, TruncatedStreamError | StreamAPIError | APITimeoutError):
        return False
    if isinstance(error, APITimeoutError) and error.clock not in ("idle", "first_token"):
        return False
    return not any(
        choice.index or choice.finish_reason or choice.message.reasoning_content or choice.message.tool_calls
        for choice in answer.choices
    )


def _sum(usages: list[Usage | None]) -> Usage | None:
    total: Any = None
    for usage in usages:
        total = _added(total, None if usage is None else usage.to_dict())
    return None if total is None else msgspec.convert(total, Usage)


def _added(left: Any, right: Any) -> Any:
    if isinstance(left, dict) and isinstance(right, dict):
        return {name: _added(left.get(name), right.get(name)) for name in {**left, **right}}
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left + right
    return left if right is None else right
