"""One round of a conversation with tools: the calls that an answer makes, side by side, and what came of each."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import anyio
import anyio.to_thread
import msgspec

from ..calls.observers import RunWatch
from ..checks import is_count, is_finite
from ..errors import ClosedError, InvalidRequestError, ParseError, ToolRoundsError
from ..request.tools import Tool, as_tool, listed
from ..wire import jsontext
from ..wire.events import ToolResult
from ..wire.structs import ChatCompletion, Function, ToolCall
from ..wire.weight import check_weight

__all__ = ["OnToolError", "Round", "RunLimits", "runnable"]

OnToolError: TypeAlias = Literal["return", "raise"]

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
        seconds = self.tool_timeout
        for name, can_be, what in (
            ("max_rounds", is_count(self.max_rounds, 1), "an integer >= 1"),
            ("max_concurrency", is_count(self.max_concurrency, 1), "an integer >= 1"),
            ("tool_timeout", seconds is None or (is_finite(seconds) and seconds > 0), "seconds > 0 or None"),
            ("on_tool_error", self.on_tool_error in ("return", "raise"), "'return' or 'raise'"),
        ):
            if not can_be:
                raise InvalidRequestError(f"{name} must be {what}, not {getattr(self, name)!r}", param=name)
        return self


class _Outcome(NamedTuple):
    """What the model is told of a call, and the error, if it failed."""

    content: str
    error: Exception | None = None


class Round:
    """The calls of an answer: as they are `sent` back, the `tasks` of those that run, and their outcomes.

    Calls that have no id get one that begins with `name`. `watch` tells observers of those that run.
    """

    def __init__(self, calls: list[ToolCall], limits: RunLimits, name: str, watch: RunWatch | None) -> None:
        self._calls = calls
        self._watch = watch
        self.sent = [_sendable(call, f"{name}_{at}") for at, call in enumerate(calls)]
        # A task must not hold the run: one that is dropped cancels its tasks.
        self.tasks: dict[asyncio.Task[_Outcome], int] = {}
        self._limits = limits
        self._outcomes: dict[int, _Outcome] = {}
        # Those that have ended and were not told yet.
        self._ready: deque[int] = deque()

    def begin(self, completion: ChatCompletion, tools: Mapping[str, Tool]) -> None:
        """Start the calls, once all of them are known to be valid or are to be answered all the same.

        Raises ParseError for an invalid one where the limits say "raise".
        """
        limits = self._limits
        valid: dict[int, tuple[Tool, dict[str, Any]]] = {}
        for at, call in enumerate(self._calls):
            try:
                valid[at] = _bound(call, completion.finish_reason, tools)
            except ValueError as error:
                if limits.on_tool_error == "raise":
                    words = f"the model's call of {call.function.name!r} is invalid: {error}"
                    raise ParseError(words, completion=completion) from error
                self._end(at, _Outcome(f"Error: {error}", error))
        gate = asyncio.Semaphore(limits.max_concurrency)
        for at, (tool, keywords) in valid.items():
            watch = self._watch
            begin = None if watch is None else functools.partial(watch.tool, tool.name, self.sent[at].id)
            running = _run(tool, keywords, gate, limits.tool_timeout, begin)
            self.tasks[asyncio.create_task(running, name=f"tool {tool.name}")] = at

    async def next(self) -> ToolResult | None:
        """Wait for the next call to end and tell of it; None once all were told.

        Raises what a tool did, or ToolRoundsError for one that took too long, where the limits say "raise".
        """
        while not self._ready:
            if not self.tasks:
                return None
            done, _ = await asyncio.wait(self.tasks, return_when=asyncio.FIRST_COMPLETED)
            for call, task in sorted((self.tasks[task], task) for task in done):
                self._settle(call, task)
        call = self._ready.popleft()
        outcome, sent = self._outcomes[call], self.sent[call]
        return ToolResult(0, call, sent.id, sent.function.name, outcome.content, is_error=outcome.error is not None)

    def answers(self) -> list[dict[str, Any]]:
        """Return what the model is told, once all calls have ended."""
        return [
            {"role": "tool", "tool_call_id": call.id, "content": self._outcomes[at].content}
            for at, call in enumerate(self.sent)
        ]

    def cancel(self) -> list[asyncio.Task[_Outcome]]:
        """Cancel the tools that run, and return their tasks."""
        tasks = [task for task in self.tasks if not task.done()]
        self.tasks.clear()
        for task in tasks:
            task.cancel()
        return tasks

    def _settle(self, call: int, task: asyncio.Task[_Outcome]) -> None:
        del self.tasks[task]
        if task.cancelled():
            outcome = _Outcome("Error: the call was cancelled", ClosedError("the tool cancelled itself"))
        else:
            outcome = task.result()
        if outcome.error is not None and self._limits.on_tool_error == "raise":
            try:
                raise outcome.error
            finally:
                # Its traceback holds this frame, which must not hold it in turn.
                del outcome, task
        self._end(call, outcome)

    def _end(self, call: int, outcome: _Outcome) -> None:
        self._outcomes[call] = outcome
        self._ready.append(call)


def _bound(call: ToolCall, reason: str | None, tools: Mapping[str, Tool]) -> tuple[Tool, dict[str, Any]]:
    """Return the tool that a call names and its keywords; raise ValueError that says why it can't be made."""
    function = call.function
    if reason in _CUT_OFF:
        raise ValueError(f"the answer was cut off ({reason}), so the call was not made")
    tool = tools.get(function.name)
    if tool is None:
        raise ValueError(f"there is no tool {function.name!r}; there are {', '.join(tools)}")
    try:
        check_weight(function.arguments.encode("utf-8", "replace"))
        return tool, tool.bind(function.arguments)
    except ValueError as error:
        quoted = function.arguments[:_QUOTED]
        raise ValueError(f"invalid arguments: {error}; they were: {quoted}") from error


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


async def _run(
    tool: Tool,
    keywords: dict[str, Any],
    gate: asyncio.Semaphore,
    seconds: float | None,
    begin: Callable[[], RunWatch] | None,
) -> _Outcome:
    """Call a tool and return what the model is told of it; `begin` tells observers, if there are any."""
    async with gate:
        if begin is None:
            return await _outcome(tool, keywords, seconds)
        watch = begin()
        try:
            outcome = await _outcome(tool, keywords, seconds)
        except BaseException as error:
            watch.over(error)
            raise
        watch.over(outcome.error)
        return outcome


async def _outcome(tool: Tool, keywords: dict[str, Any], seconds: float | None) -> _Outcome:
    clock = asyncio.timeout(seconds)
    try:
        async with clock:
            value = await _called(tool.function, keywords)
        content = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=_from_pydantic).decode()
    except Exception as error:  # whatever a tool raises is the model's to know, or the caller's
        if clock.expired():
            words = f"the tool {tool.name!r} gave no answer within {seconds:g} s"
            return _Outcome(f"Error: {words}", ToolRoundsError(words))
        return _Outcome(f"Error: {type(error).__name__}: {error}", error)
    return _Outcome(content)


async def _called(function: Callable[..., Any], keywords: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        return await function(**keywords)
    # A thread can't be stopped: at the timeout it is left to itself, and must not take the place of another.
    value = await anyio.to_thread.run_sync(
        functools.partial(function, **keywords), abandon_on_cancel=True, limiter=anyio.CapacityLimiter(math.inf)
    )
    return await value if inspect.isawaitable(value) else value


def _from_pydantic(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"a result of type {type(value).__name__} can't be sent as JSON")
