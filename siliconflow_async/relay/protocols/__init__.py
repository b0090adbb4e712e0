"""What a client is sent: one mapping for each protocol, from this library's events to frames, usable alone.

mapping = Events().mapping()
for event in …:
    for part in mapping.feed(event): part.json
for part in mapping.end(None): part.json
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ...errors import ConfigurationError
from .ag_ui import AGUI
from .ai import AISDK
from .openai import OpenAIChunks
from .ours import Events
from .part import DONE, AnyEvent, Dialect, EventMapping, Part

__all__ = [
    "AGUI",
    "AISDK",
    "DONE",
    "AnyEvent",
    "Dialect",
    "EventMapping",
    "Events",
    "OpenAIChunks",
    "Part",
    "ProtocolName",
    "as_dialect",
]

ProtocolName: TypeAlias = Literal["events", "ai", "ag-ui", "openai"]

_NAMED: dict[str, Dialect] = {"events": Events(), "ai": AISDK(), "ag-ui": AGUI(), "openai": OpenAIChunks()}


def as_dialect(protocol: ProtocolName | Dialect) -> Dialect:
    """Return the protocol that a name stands for, or one that is given; raise ConfigurationError for anything else."""
    if isinstance(protocol, str):
        if protocol in _NAMED:
            return _NAMED[protocol]
    elif not isinstance(protocol, type) and hasattr(protocol, "mapping"):
        return protocol
    names = ", ".join(map(repr, _NAMED))
    raise ConfigurationError(f"protocol must be one of {names}, or made of such a protocol's class, not {protocol!r}")
