"""The command: a client, or the stand-in and a client on it, and the page until Ctrl-C."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import NamedTuple

from ... import AsyncSiliconFlow, ConfigurationError
from ...testing import FakeSiliconFlow
from ..screen import Screen
from ..serve import why_not_listening
from .server import HOST, Playground

__all__ = ["Playing", "playground"]

_DEMO_PACE = 60.0
# A long run is no test: nobody asks for what the stand-in saw.
_KEEP = 1


class Playing(NamedTuple):
    """What to serve; the names are those of the options."""

    port: int
    model: str
    demo: bool
    base_url: str | None


async def playground(options: Playing, screen: Screen) -> int:
    """Serve the page until cancelled. Returns the exit code if it can't."""
    async with AsyncExitStack() as stack:
        if options.demo:
            server = await stack.enter_async_context(FakeSiliconFlow(tokens_per_second=_DEMO_PACE, keep=_KEEP))
            # A proxy of the environment would not find this machine.
            client = AsyncSiliconFlow(api_key="demo", base_url=server.base_url, trust_env=False)
        else:
            try:
                client = AsyncSiliconFlow(base_url=options.base_url)
            except ConfigurationError as error:
                screen.notice(f"error: {error}")
                return 2
        await stack.enter_async_context(client)
        page = Playground(client, port=options.port, model=options.model, demo=options.demo, base_url=options.base_url)
        try:
            await stack.enter_async_context(page)
        except OSError as error:
            screen.notice(f"error: {why_not_listening(error, HOST, options.port)}")
            return 2
        screen.url(page.url)
        who = "a stand-in on this machine answers" if options.demo else f"{client.base_url} answers"
        screen.notice(f"open it in a browser of this machine; {who}; Ctrl-C stops it")
        await asyncio.get_running_loop().create_future()
    return 0
