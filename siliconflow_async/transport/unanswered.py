"""What is told of a request that got no answer: every exception of aiohttp's becomes one of ours."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from urllib.parse import urlsplit

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
    if isinstance(error, aiohttp.ConnectionTimeoutError):  # only where the session is borrowed
        return APITimeoutError(clock="connect", seconds=timeouts.connect)
    if isinstance(error, aiohttp.ClientConnectorError):
        return _unconnected(error, proxy)
    # For a tunnel alone: a request in plain http is the proxy's to answer, and nobody can tell whose a 502 is there.
    if isinstance(error, aiohttp.ClientHttpProxyError):
        # A borrowed session may have found one by itself.
        named = "the proxy" if proxy is None else f"the proxy {proxy}"
        words = f"HTTP {error.status} {error.message[:_MOST_WORDS]}".rstrip()
        if error.status == 407:
            words += " (the user name and password in the proxy's URL are missing or wrong)"
        words = f"{named}, not the service, refused the connection: {words}"
        return APIConnectionError(words, transient=error.status >= 500, stage="connect")
    if isinstance(error, aiohttp.ClientResponseError):
        # aiohttp makes a status of it, 400, which nobody sent. Its words point with a caret, in lines.
        words = " ".join(error.message.replace("^", "").split())
        return APIConnectionError(f"the answer's headers can't be read: {words}", transient=False)
    words = _words(error)
    transient = isinstance(error, aiohttp.ClientConnectionError | OSError) and not isinstance(error, ssl.SSLError)
    return APIConnectionError(f"no answer from the service: {words}", transient=transient)


def _unconnected(error: aiohttp.ClientConnectorError, proxy: str | None) -> APIConnectionError:
    """Say why there is no connection, and to whom: its own words tell of aiohttp's options and asyncio's calls."""
    host = f"[{error.host}]" if ":" in error.host else error.host
    place = f"{host}:{error.port}"
    # Of a proxy whose name or certificate is at fault, aiohttp makes the same errors as of a service's.
    to_proxy = isinstance(error, aiohttp.ClientProxyConnectionError)
    if to_proxy or (proxy is not None and _leads_to(proxy, error)):
        who = f"the proxy {place if proxy is None else proxy} can't be reached"
    else:
        who = f"can't connect to {place}"
    stage = "connect" if to_proxy else _stage(error.os_error)
    transient = not isinstance(error, aiohttp.ClientSSLError)
    return APIConnectionError(f"{who}: {_reason(error)}", transient=transient, stage=stage)


def _leads_to(url: str, error: aiohttp.ClientConnectorError) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return (parts.hostname, port) == (error.host.lower(), error.port)


def _reason(error: aiohttp.ClientConnectorError) -> str:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate can't be verified: {cause.verify_message or cause}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {(cause.reason or str(cause)).replace('_', ' ').lower()}"
    if not isinstance(cause, OSError):
        return str(cause)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"the name can't be resolved: {cause.strerror or cause}"
    return _system_words(cause)


def _words(error: Exception) -> str:
    """Say what became of a request on a connection that there was."""
    if isinstance(error, aiohttp.ServerDisconnectedError):
        within = "" if isinstance(error.message, str) else " amid the answer's headers"
        return f"the connection was closed{within}"
    if isinstance(error, aiohttp.ClientConnectionResetError) and error.errno is None:
        return "the connection was closed while the request was sent"
    if isinstance(error, OSError):
        return _system_words(error)
    return str(error) or type(error).__name__


def _system_words(error: OSError) -> str:
    """Return the system's words for an error: asyncio's own name the call and the address."""
    # Windows has others for its sockets than C has for the number, and asyncio leaves them as they are.
    if error.errno and os.name != "nt":
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__


def _stage(cause: OSError) -> Stage:
    # The numbers of name look-ups are others than the system's, and on some systems the same.
    if isinstance(cause, socket.gaierror):
        return "local" if cause.errno == socket.EAI_AGAIN else "connect"
    return "local" if cause.errno in _LOCAL else "connect"
