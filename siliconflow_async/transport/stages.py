"""How far a request came that got no answer."""

from __future__ import annotations

import errno
import socket

import aiohttp

from ..errors import Stage

__all__ = ["stage_of"]

# What this machine has run out of: files, for the process or for all; memory of the network; free ports.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})


def stage_of(error: Exception) -> Stage:
    """Return the stage at which an error of aiohttp's ended the request."""
    if not isinstance(error, aiohttp.ClientConnectorError):
        return "answer"
    cause = error.os_error
    # The numbers of name look-ups are others than the system's, and on some systems the same.
    if isinstance(cause, socket.gaierror):
        return "local" if cause.errno == socket.EAI_AGAIN else "connect"
    return "local" if cause.errno in _LOCAL else "connect"
