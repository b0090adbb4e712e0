"""What a client is sent: one mapping for each protocol, from this library's events to frames, usable alone.

mapping = Events().mapping()
for event in …:
    for part in mapping.feed(event): part.json
for part in mapping.end(None): part.json
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from ...errors import ConfigurationError
from .ours import Events
from .part import AnyEvent, Dialect, EventMapping, Part

__all__ = ["AnyEvent", "Dialect", "EventMapping", "Events", "Part", "ProtocolName", "as_dialect"]

ProtocolName: TypeAlias = Literal["events"]

_NAMED: dict[str, Dialect] = {"events": Events()}


def as_dialect(protocol: ProtocolName | Dialect) -> Dialect:
    """Return the protocol that a name stands for, or one that is given; raise ConfigurationError for anything else."""
    if isinstance(protocol, str):
        if protocol in _NAMED:
            return _NAMED[protocol]
    elif not isinstance(protocol, type) and hasattr(protocol, "mapping"):
        return protocol
    names = ", ".join(map(repr, _NAMED))
    raise ConfigurationError(f"protocol must be one of {names}, or made of such a protocol's class, not {protocol!r}")
