"""One call of a tool: run it within its limits, and put what came of it into words for the model."""

from __future__ import annotations

import asyncio
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import msgspec

from ..errors import ToolRoundsError
from ..request.tools import Tool

__all__ = ["Outcome", "run_tool"]


class Outcome(NamedTuple):
    """What the model is told of a call, and the error, if it failed."""

    content: str
    error: Exception | None = None


async def run_tool(tool: Tool, keywords: dict[str, Any], gate: asyncio.Semaphore, seconds: float | None) -> Outcome:
    """Call a tool and return what the model is told of it."""
    async with gate:
        clock = asyncio.timeout(seconds)
        try:
            async with clock:
                value = await _called(tool.function, keywords)
            content = value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=_from_pydantic).decode()
        except Exception as error:  # whatever a tool raises is the model's to know, or the caller's
            if clock.expired():
                words = f"the tool {tool.name!r} gave no answer within {seconds:g} s"
                return Outcome(f"Error: {words}", ToolRoundsError(words))
            return Outcome(f"Error: {type(error).__name__}: {error}", error)
    return Outcome(content)


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
