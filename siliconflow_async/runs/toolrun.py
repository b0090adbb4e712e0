"""A conversation with tools that run by themselves, as one stream of events.

    async with client.chat.completions.run_tools(model=…, messages=[…], tools=[…]) as run:
        async for event in run: …
        done = await run.completion()

A round is one answer and the calls that it makes; the answer without calls ends the run. Calls of a round run side by
side once its stream has ended well, so none is ever run from a truncated one, nor from an answer that was cut off, nor
with arguments that are not whole JSON of the declared types. A class iterator: whatever runs is known to it, and is
cancelled and awaited when the run is left, or breaks off.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Generic, Self, TypeAlias, TypeVar

import anyio
import msgspec

from ..calls.observers import RunState, RunWatch
from ..errors import BusyError, ClosedError, ToolRoundsError
from ..loops import on_any_loop, on_loop
from ..request.tools import Tool
from ..stream.stream import ChatStream, EventIterator, Uncopyable
from ..wire.events import Event, ToolResult
from ..wire.structs import AssistantMessage, ChatCompletion
from .round import Round, RunLimits

__all__ = ["RunEvent", "ToolRun"]

C = TypeVar("C", bound=ChatCompletion, covariant=True)

RunEvent: TypeAlias = Event | ToolResult

_log = logging.getLogger("siliconflow_async")

# How long a cancelled tool may take to clean up before it is left to itself.
_GRACE = 5.0


class ToolRun(Uncopyable, Generic[C]):
    """A running conversation with tools: iterate it for its events, or use `completion()`.

    `messages` is the conversation so far, in the form that the next request takes; `completions` are the answers of
    its rounds. The first request is made when iterating begins.
    """

    def __init__(
        self,
        ask: Callable[[list[Any], bool, RunState | None], Awaitable[ChatStream]],
        finish: Callable[[ChatCompletion], C],
        begin: Callable[[], RunWatch | None],
        messages: Iterable[Any],
        tools: Mapping[str, Tool],
        limits: RunLimits,
    ) -> None:
        self.messages: list[Any] = list(messages)
        self.completions: list[ChatCompletion] = []
        self._ask = ask
        self._finish = finish
        # Tells observers, if there are any.
        self._begin = begin
        self._watch: RunWatch | None = None
        self._tools = tools
        self._limits = limits
        # What goes on: an answer comes, or its calls run. Neither, and the next answer is asked for.
        self._stream: ChatStream | None = None
        self._events: EventIterator | None = None
        self._round: Round | None = None
        self._result: C | None = None
        self._closed = False
        self._waiting = False

    def __repr__(self) -> str:
        state = "done" if self._result is not None else "closed" if self._closed else "open"
        return f"<ToolRun {state} rounds={len(self.completions)}>"

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> RunEvent:
        if self._waiting:
            raise BusyError("another task is waiting for this run")
        if self._closed and self._result is None:
            raise ClosedError("the run is closed")
        self._waiting = True
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            if isinstance(error, ToolRoundsError):
                error.messages = list(self.messages)
                error.attempts = sum(completion.timing.attempts or 0 for completion in self.completions)
            if self._watch is not None:
                self._watch.over(error)
            await self.aclose()
            raise
        finally:
            self._waiting = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # Not there if __init__ failed.
        calls: Round | None = getattr(self, "_round", None)
        if calls is not None and calls.tasks:
            on_loop(next(iter(calls.tasks)).get_loop(), calls.cancel)
        watch: RunWatch | None = getattr(self, "_watch", None)
        if watch is not None and watch.state.ended is None:
            on_any_loop(functools.partial(watch.over, closed=True))

    @property
    def partial(self) -> ChatCompletion | None:
        """The answer of the round that goes on, so far, or of the last one; None before the first."""
        if self._stream is not None:
            return self._stream.partial
        return self.completions[-1] if self.completions else None

    def events(self) -> Self:
        """Return the run, which gives out its events; so `relay` and a `Broadcast` take it as they take a stream."""
        return self

    async def completion(self) -> C:
        """Run to the end and return the last answer; raise as iterating would."""
        async for _ in self:
            pass
        assert self._result is not None
        return self._result

    def abort(self) -> None:
        """Close the stream at once and cancel the tools that run, without waiting for these to clean up."""
        self._stop()

    async def aclose(self) -> None:
        """Close the stream at once and cancel the tools that run; further reading raises ClosedError."""
        tasks = self._stop()
        if tasks:
            with anyio.move_on_after(_GRACE, shield=True) as scope:
                await asyncio.wait(tasks)
            if scope.cancelled_caught:
                _log.warning("%d tools still run %g s after they were cancelled", len(tasks), _GRACE)

    def _stop(self) -> list[asyncio.Task[Any]]:
        """End what goes on, and return the tools that have yet to notice."""
        self._closed = True
        self._events = None
        if self._stream is not None:
            self._stream.abort()
        if self._watch is not None:
            self._watch.over(closed=True)
        return [] if self._round is None else [*self._round.cancel()]

    async def _next(self) -> RunEvent:
        while self._result is None:
            if self._events is not None:
                async for event in self._events:
                    return event
                self._conclude()
            elif self._round is not None:
                result = await self._round.next()
                if result is not None:
                    return result
                self.messages += self._round.answers()
                self._round = None
            else:
                await self._open()
        raise StopAsyncIteration

    async def _open(self) -> None:
        rounds = len(self.completions)
        if rounds >= self._limits.max_rounds:
            raise ToolRoundsError(f"the model still called tools after {rounds} rounds, as many as max_rounds allows")
        if rounds == 0:
            self._watch = self._begin()
        self._stream = await self._ask(self.messages, rounds == 0, None if self._watch is None else self._watch.state)
        self._events = self._stream.events()

    def _conclude(self) -> None:
        """Take what a stream gave that has ended well."""
        assert self._stream is not None
        completion = self._stream.partial
        self._stream = self._events = None
        self.completions.append(completion)
        message = next((choice.message for choice in completion.choices if choice.index == 0), AssistantMessage())
        if not message.tool_calls:
            self.messages.append(message)
            self._result = self._finish(completion)
            if self._watch is not None:
                self._watch.over()
            return
        calls = self._round = Round(message.tool_calls, self._limits, f"call_{len(self.messages)}", self._watch)
        self.messages.append(msgspec.structs.replace(message, tool_calls=calls.sent))
        calls.begin(completion, self._tools)
