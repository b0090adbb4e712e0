"""`serve`: the stand-in for any client, until Ctrl-C."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any

from ..testing import FakeSiliconFlow
from .demo import KEEP
from .screen import Failed, Screen

__all__ = ["serve", "serve_until_ctrl_c"]


async def serve(
    screen: Screen, *, host: str, port: int, tokens_per_second: float | None, api_key: str | None, models: Sequence[str]
) -> int:
    """Serve until cancelled; the names are those of the options. Raises Failed where that can't be."""
    try:
        server = FakeSiliconFlow(
            host=host,
            port=port,
            models=models or None,
            api_key=api_key,
            tokens_per_second=tokens_per_second,
            keep=KEEP,
        )
    except ValueError as error:
        raise Failed(str(error)) from error

    def tell() -> None:
        screen.line(server.base_url)
        key = "the given key" if api_key else "any key"
        screen.notice(f"a stand-in for SiliconFlow's chat service, for any client with {key}; Ctrl-C stops it")

    return await serve_until_ctrl_c(server, f"{host}:{port}", tell)


async def serve_until_ctrl_c(server: AbstractAsyncContextManager[Any], where: str, tell: Callable[[], None]) -> int:
    """Run a server until cancelled, and `tell` once it listens. Raises Failed where it can't listen."""
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise Failed(f"{where} is in use; choose another --port (0 takes a free one)") from error
            raise Failed(f"can't listen on {where}: {error.strerror or error}") from error
        tell()
        never: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        return await never
