"""The sockets that connections are made on: the system itself notices a peer that has gone without a word.

A balancer or NAT may forget a connection and tell neither side. No clock of ours can tell that from a model that
thinks for minutes; the peer's system can, since it answers probes whatever its program does.
"""

from __future__ import annotations

import socket
from typing import Any

__all__ = ["new_socket"]

# Seconds of silence before the first probe, and between probes.
_IDLE = 30
_INTERVAL = 10
_PROBES = 3
# How long what was sent may lie unacknowledged. Not less: it also ends a peer that lives but has stopped reading.
_UNACKNOWLEDGED_SECONDS = 60

_VALUES = {
    "TCP_KEEPIDLE": _IDLE,
    "TCP_KEEPALIVE": _IDLE,  # its name on macOS
    "TCP_KEEPINTVL": _INTERVAL,
    "TCP_KEEPCNT": _PROBES,
    "TCP_USER_TIMEOUT": _UNACKNOWLEDGED_SECONDS * 1000,
}
_OPTIONS = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *((socket.IPPROTO_TCP, getattr(socket, name), value) for name, value in _VALUES.items() if hasattr(socket, name)),
]


def new_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket for an address as `getaddrinfo` gives it, with every option that this system has."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
    for option in _OPTIONS:
        # Known to Python is not known to every kernel; a connection without it is better than none.
        try:  # noqa: SIM105  # five times for each connection, `suppress` took longer than the system
            made.setsockopt(*option)
        except OSError:
            pass
    return made
