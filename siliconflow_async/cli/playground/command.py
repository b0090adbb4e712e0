"""The command: a client, or the stand-in and a client on it, and the page until Ctrl-C."""

from __future__ import annotations

from contextlib import AsyncExitStack

from ... import ConfigurationError
from ..demo import check_service, client_of
from ..screen import Failed, Screen
from ..serve import serve_until_ctrl_c
from .server import HOST, Playground

__all__ = ["playground"]


async def playground(screen: Screen, *, port: int, model: str, demo: bool, base_url: str | None) -> int:
    """Serve the page until cancelled; the names are those of the options. Raises Failed where that can't be."""
    check_service(demo, base_url, otherwise="playground --demo")
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(client_of(demo, base_url))
        except ConfigurationError as error:
            raise Failed(str(error)) from error
        page = Playground(client, port=port, model=model, demo=demo, base_url=base_url)

        def tell() -> None:
            screen.line(page.url)
            who = "a stand-in on this machine" if demo else client.base_url
            screen.notice(f"open it in a browser of this machine; {who} answers; Ctrl-C stops it")

        return await serve_until_ctrl_c(page, f"{HOST}:{port}", tell)
