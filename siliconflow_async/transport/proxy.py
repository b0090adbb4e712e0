"""What an HTTP proxy is told: where to dig the tunnel, and the credentials that its own URL holds.

aiohttp gives it a session's default headers too, and those of a borrowed session may hold a key: here they are taken
away again, as they are from a request that goes elsewhere than to the service. The private name of a session's own
middlewares stands in this module alone; `tests/promises/test_proxies.py` fails when it goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

__all__ = ["proxy_options", "with_headers_alone"]


def proxy_options(url: str, headers: Mapping[str, str] | None, session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options of a request through a proxy that is told `headers` alone, and no other of `session`'s."""

    async def keep_apart(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # A copy: aiohttp adds to it.
        request.update_proxy(request.proxy, None, dict(headers or {}))
        return await send(request)

    # Those of a request stand in the place of the session's; being the first, it leaves to them what they add.
    return {"proxy": url, "middlewares": (keep_apart, *session._middlewares)}


def with_headers_alone(options: dict[str, Any], session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return a request's options so that of its headers those in them are sent, and none that `session` adds."""
    names = {name.lower() for name in options["headers"]} | {"host"}

    async def strip(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        for name in {name.lower() for name in request.headers} - names:
            del request.headers[name]
        return await send(request)

    # The last one, so that what the others add goes too.
    return {**options, "middlewares": (*options.get("middlewares", session._middlewares), strip)}
