"""What is told of a request that got no answer: every exception of aiohttp's becomes one of ours."""

from __future__ import annotations

import errno
import socket
import ssl

import aiohttp

from ..errors import APIConnectionError, APITimeoutError, Stage
from ..timeouts import Timeouts

__all__ = ["unanswered"]

# What this machine has run out of: files, for the process or for all; memory of the network; free ports.
_LOCAL = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.EADDRNOTAVAIL})
# Of a proxy's words: a line may come to 8 KiB.
_MOST_WORDS = 200


def unanswered(error: Exception, timeouts: Timeouts, proxy: str | None) -> APIConnectionError:
    """Say what kept the answer from beginning; `proxy` is the one that the request was to go through."""
    # A borrowed session may have found one by itself.
    named = "the proxy" if proxy is None else f"the proxy {proxy}"
    if isinstance(error, aiohttp.ConnectionTimeoutError):  # only where the session is borrowed
        return APITimeoutError(clock="connect", seconds=timeouts.connect)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return APIConnectionError(f"{named} can't be reached: {error}", stage="connect")
    # For a tunnel alone: a request in plain http is the proxy's to answer, and nobody can tell whose a 502 is there.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        words = f"HTTP {error.status} {error.message[:_MOST_WORDS]}".rstrip()
        if error.status == 407:
            words += " (the user name and password in the proxy's URL are missing or wrong)"
        words = f"{named}, not the service, refused the connection: {words}"
        return APIConnectionError(words, transient=error.status >= 500, stage="connect")
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp makes a status of it, 400, which nobody sent. Its words point with a caret, in lines.
        words = " ".join(error.message.replace("^", "").split())
        return APIConnectionError(f"the answer's headers can't be read: {words}", transient=False)
    if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
        words = "the connection was closed amid the answer's headers"
    else:
        words = str(error) or type(error).__name__
    transient = isinstance(error, aiohttp.ClientConnectionError | OSError) and not isinstance(
        error, aiohttp.ClientSSLError | ssl.SSLError
    )
    return APIConnectionError(f"no answer from the service: {words}", transient=transient, stage=_stage(error))


def _stage(error: Exception) -> Stage:
    if not isinstance(error, aiohttp.ClientConnectorError):
        return "answer"
    cause = error.os_error
    # The numbers of name look-ups are others than the system's, and on some systems the same.
    if isinstance(cause, socket.gaierror):
        return "local" if cause.errno == socket.EAI_AGAIN else "connect"
    return "local" if cause.errno in _LOCAL else "connect"
