"""What is timed. Each module is one case or several; a case is an async function from a Setting to its rows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from ..measure import Row
from .bulk import bulk, inputs
from .fanning import fan_out
from .items import items
from .left import left
from .limited import limits
from .memory import memory
from .outages import outages
from .paced import paced
from .relay import relay
from .scaling import scaling, streams
from .setting import Setting
from .starting import construction, first_token, imports
from .weather import weather
from .whole import whole

__all__ = ["CASES", "LONG", "LOOPLESS", "Setting"]

CASES: dict[str, Callable[[Setting], Coroutine[Any, Any, list[Row]]]] = {
    "bulk": bulk,
    "inputs": inputs,
    "paced": paced,
    "whole": whole,
    "first-token": first_token,
    "import": imports,
    "construction": construction,
    "memory": memory,
    "scaling": scaling,
    "streams": streams,
    "left": left,
    "relay": relay,
    "map": fan_out,
    "items": items,
    "limits": limits,
    "outages": outages,
    "weather": weather,
}
# Those that no event loop makes faster or slower.
LOOPLESS = frozenset({"import", "construction", "limits"})
# Those that take minutes: they run only when they are named.
LONG = frozenset({"relay", "items", "limits", "outages", "weather"})
