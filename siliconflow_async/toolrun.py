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
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Generic, Literal, NamedTuple, Self, TypeAlias, TypeVar

import anyio
import msgspec

from .checks import is_count, is_finite
from .errors import BusyError, ClosedError, InvalidRequestError, ParseError, ToolRoundsError
from .loops import on_loop
from .stream import ChatStream
from .toolcall import Outcome, run_tool
from .tools import Tool, as_tool, listed
from .views import EventIterator, Uncopyable
from .wire import jsontext
from .wire.events import Event, ToolResult
from .wire.structs import AssistantMessage, ChatCompletion, Function, ToolCall
from .wire.weight import check_weight

__all__ = ["OnToolError", "RunEvent", "RunLimits", "ToolRun", "runnable"]

C = TypeVar("C", bound=ChatCompletion, covariant=True)

RunEvent: TypeAlias = Event | ToolResult
OnToolError: TypeAlias = Literal["return", "raise"]

_log = logging.getLogger("siliconflow_async")

# How long a cancelled tool may take to clean up before it is left to itself.
_GRACE = 5.0
# Whatever else such an answer holds, it is not all that the model had to say.
_CUT_OFF = ("length", "content_filter", "insufficient_system_resource")
_QUOTED = 2000


class RunLimits(NamedTuple):
    """How far a run may go; see `run_tools`."""

    max_rounds: int
    max_concurrency: int
    tool_timeout: float | None
    on_tool_error: OnToolError

    def check(self) -> Self:
        """Return the limits; raise InvalidRequestError that names one which can't be."""
        for name in ("max_rounds", "max_concurrency"):
            value = getattr(self, name)
            if not is_count(value, 1):
                raise InvalidRequestError(f"{name} must be an integer >= 1, not {value!r}", param=name)
        seconds = self.tool_timeout
        if seconds is not None and (not is_finite(seconds) or seconds <= 0):
            raise InvalidRequestError(
                f"tool_timeout must be seconds > 0 or None, not {seconds!r}", param="tool_timeout"
            )
        if self.on_tool_error not in ("return", "raise"):
            raise InvalidRequestError(
                f"on_tool_error must be 'return' or 'raise', not {self.on_tool_error!r}", param="on_tool_error"
            )
        return self


class ToolRun(Uncopyable, Generic[C]):
    """A running conversation with tools: iterate it for its events, or use `completion()`.

    `messages` is the conversation so far, in the form that the next request takes; `completions` are the answers of
    its rounds. The first request is made when iterating begins.
    """

    __slots__ = (
        "__weakref__",
        "_ask",
        "_calls",
        "_closed",
        "_events",
        "_finish",
        "_limits",
        "_outcomes",
        "_ready",
        "_result",
        "_stream",
        "_tasks",
        "_tools",
        "_waiting",
        "completions",
        "messages",
    )

    def __init__(
        self,
        ask: Callable[[list[Any], bool], Awaitable[ChatStream]],
        finish: Callable[[ChatCompletion], C],
        messages: Iterable[Any],
        tools: dict[str, Tool],
        limits: RunLimits,
    ) -> None:
        self.messages: list[Any] = list(messages)
        self.completions: list[ChatCompletion] = []
        self._ask = ask
        self._finish = finish
        self._tools = tools
        self._limits = limits
        self._stream: ChatStream | None = None
        self._events: EventIterator | None = None
        # The calls of the round, the outcomes of those that have ended, the tasks of those that run.
        self._calls: list[ToolCall] = []
        self._outcomes: dict[int, Outcome] = {}
        self._tasks: dict[asyncio.Task[Outcome], int] = {}
        self._ready: deque[int] = deque()
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
        if self._result is not None:
            raise StopAsyncIteration
        if self._closed:
            raise ClosedError("the run is closed")
        self._waiting = True
        try:
            return await self._next()
        except StopAsyncIteration:
            raise
        except BaseException:
            await self._stop()
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
        tasks = list(getattr(self, "_tasks", ()))
        if tasks:
            on_loop(tasks[0].get_loop(), partial(_cancel, tasks))

    async def completion(self) -> C:
        """Run to the end and return the last answer; raise as iterating would."""
        async for _ in self:
            pass
        assert self._result is not None
        return self._result

    async def aclose(self) -> None:
        """Close the stream at once and cancel the tools that run; further reading raises ClosedError."""
        await self._stop()

    async def _next(self) -> RunEvent:
        while True:
            if self._events is not None:
                async for event in self._events:
                    return event
                self._conclude()
            elif self._ready:
                return self._told(self._ready.popleft())
            elif self._tasks:
                done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                for call, task in sorted((self._tasks[task], task) for task in done):
                    self._settle(call, task)
            elif self._calls:
                self._answer_calls()
            elif self._result is not None:
                raise StopAsyncIteration
            else:
                await self._open()

    async def _open(self) -> None:
        rounds = len(self.completions)
        if rounds >= self._limits.max_rounds:
            words = f"the model still called tools after {rounds} rounds, as many as max_rounds allows"
            raise self._bounded(ToolRoundsError(words))
        self._stream = await self._ask(self.messages, rounds == 0)
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
            return
        self._calls = [_sendable(call, f"call_{len(self.messages)}_{at}") for at, call in enumerate(message.tool_calls)]
        self.messages.append(msgspec.structs.replace(message, tool_calls=self._calls))
        self._begin(message.tool_calls, completion)

    def _begin(self, calls: list[ToolCall], completion: ChatCompletion) -> None:
        """Start the calls of a round, once all of them are known to be valid or are to be answered all the same."""
        valid: dict[int, tuple[Tool, dict[str, Any]]] = {}
        for at, call in enumerate(calls):
            try:
                valid[at] = self._bind(call, completion.finish_reason)
            except ValueError as error:
                if self._limits.on_tool_error == "raise":
                    words = f"the model's call of {call.function.name!r} is invalid: {error}"
                    raise ParseError(words, completion=completion) from error
                self._outcomes[at] = Outcome(f"Error: {error}", error)
                self._ready.append(at)
        gate = asyncio.Semaphore(self._limits.max_concurrency)
        for at, (tool, keywords) in valid.items():
            # The task must not hold the run: one that is dropped cancels its tasks.
            task = asyncio.create_task(
                run_tool(tool, keywords, gate, self._limits.tool_timeout), name=f"tool {tool.name}"
            )
            self._tasks[task] = at

    def _bind(self, call: ToolCall, reason: str | None) -> tuple[Tool, dict[str, Any]]:
        function = call.function
        if reason in _CUT_OFF:
            raise ValueError(f"the answer was cut off ({reason}), so the call was not made")
        tool = self._tools.get(function.name)
        if tool is None:
            raise ValueError(f"there is no tool {function.name!r}; there are {', '.join(self._tools)}")
        try:
            check_weight(function.arguments.encode("utf-8", "replace"))
            return tool, tool.bind(function.arguments)
        except ValueError as error:
            quoted = function.arguments[:_QUOTED]
            raise ValueError(f"invalid arguments: {error}; they were: {quoted}") from error

    def _settle(self, call: int, task: asyncio.Task[Outcome]) -> None:
        del self._tasks[task]
        if task.cancelled():
            outcome = Outcome("Error: the call was cancelled", ClosedError("the tool cancelled itself"))
        else:
            outcome = task.result()
        if outcome.error is not None and self._limits.on_tool_error == "raise":
            if isinstance(outcome.error, ToolRoundsError):
                self._bounded(outcome.error)
            try:
                raise outcome.error
            finally:
                # Its traceback holds this frame, which must not hold it in turn.
                del outcome, task
        self._outcomes[call] = outcome
        self._ready.append(call)

    def _bounded(self, error: ToolRoundsError) -> ToolRoundsError:
        """Return the error with what the run knows: the conversation so far, and the requests that it took."""
        error.messages = list(self.messages)
        error.attempts = sum(completion.timing.attempts or 0 for completion in self.completions)
        return error

    def _told(self, call: int) -> ToolResult:
        answered = self._calls[call]
        outcome = self._outcomes[call]
        return ToolResult(
            0, call, answered.id, answered.function.name, outcome.content, is_error=outcome.error is not None
        )

    def _answer_calls(self) -> None:
        for at, call in enumerate(self._calls):
            self.messages.append({"role": "tool", "tool_call_id": call.id, "content": self._outcomes[at].content})
        self._calls = []
        self._outcomes = {}

    async def _stop(self) -> None:
        self._closed = True
        self._events = None
        if self._stream is not None:
            self._stream.abort()
        tasks = [task for task in self._tasks if not task.done()]
        self._tasks.clear()
        _cancel(tasks)
        if tasks:
            with anyio.move_on_after(_GRACE, shield=True) as scope:
                await asyncio.wait(tasks)
            if scope.cancelled_caught:
                _log.warning("%d tools still run %g s after they were cancelled", len(tasks), _GRACE)


def _cancel(tasks: Iterable[asyncio.Task[Outcome]]) -> None:
    for task in tasks:
        task.cancel()


def runnable(tools: Any) -> dict[str, Tool]:
    """Return the tools of a run by name; raise InvalidRequestError for one that is no function."""
    found: dict[str, Tool] = {}
    for at, item in enumerate(listed(tools)):
        if not callable(item):
            raise InvalidRequestError(
                f"tools[{at}] can't be run: it is no function; Tool(function, parameters=…) takes a schema of your own",
                param="tools",
            )
        tool = as_tool(item)
        if tool.name in found:
            raise InvalidRequestError(f"two tools are called {tool.name!r}", param="tools")
        found[tool.name] = tool
    return found


def _sendable(call: ToolCall, identity: str) -> ToolCall:
    """Return a call as the conversation holds it: with an id, and arguments that servers can read back."""
    try:
        whole = isinstance(jsontext.parse(call.function.arguments.encode()), dict)
    except ValueError:
        whole = False
    # Chat templates parse what is sent back: one call that is no JSON would fail every later request.
    function = call.function if whole else Function(call.function.name, "{}")
    return ToolCall(call.id or identity, call.type, function)
