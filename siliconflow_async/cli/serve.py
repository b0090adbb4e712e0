"""`serve`: the stand-in for any client, until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from typing import NamedTuple

from ..testing import FakeSiliconFlow
from .screen import Screen

__all__ = ["Serving", "serve", "why_not_listening"]

# A long run is no test: nobody asks for what it saw.
_KEEP = 1


class Serving(NamedTuple):
    """How to serve; the names are those of the options."""

    host: str
    port: int
    tokens_per_second: float | None
    api_key: str | None
    models: Sequence[str]


async def serve(options: Serving, screen: Screen) -> int:
    """Serve until cancelled. Returns the exit code if it can't."""
    try:
        server = FakeSiliconFlow(
            host=options.host,
            port=options.port,
            models=options.models or None,
            api_key=options.api_key,
            tokens_per_second=options.tokens_per_second,
            keep=_KEEP,
        )
    except ValueError as error:
        screen.notice(f"error: {error}")
        return 2
    try:
        await server.start()
    except OSError as error:
        screen.notice(f"error: {why_not_listening(error, options.host, options.port)}")
        return 2
    try:
        screen.url(server.base_url)
        key = "the given key" if options.api_key else "any key"
        screen.notice(f"a stand-in for SiliconFlow's chat service, for any client with {key}; Ctrl-C stops it")
        await asyncio.get_running_loop().create_future()
    finally:
        await server.aclose()
    return 0


def why_not_listening(error: OSError, host: str, port: int) -> str:
    """Return what to tell of an address that can't be listened on."""
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return f"{where} is in use; choose another --port (0 takes a free one)"
    return f"can't listen on {where}: {error.strerror or error}"
