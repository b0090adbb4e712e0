"""What an HTTP proxy is told, where to dig the tunnel and the credentials that its own URL holds; and what it refused.

aiohttp gives a session's default headers, and with them the key, to the proxy too: here they are taken away again. The
private name of a session's own middlewares stands in this module alone; `tests/promises/test_proxies.py` fails when it
goes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import aiohttp

from ..errors import APIConnectionError

__all__ = ["proxy_options", "proxy_refusal"]

# Of a proxy's words: a line may come to 8 KiB.
_MOST_WORDS = 200


def proxy_options(url: str, headers: Mapping[str, str] | None, session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options of a request through a proxy that is told `headers` alone, and no other of `session`'s."""

    async def keep_apart(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        # A copy: aiohttp adds to it.
        request.update_proxy(request.proxy, None, dict(headers or {}))
        return await send(request)

    # Those of a request stand in the place of the session's; being the first, it leaves to them what they add.
    return {"proxy": url, "middlewares": (keep_apart, *session._middlewares)}


def proxy_refusal(error: Exception, url: str | None) -> APIConnectionError | None:
    """Return what to tell of a proxy that can't be reached or digs no tunnel; None if that is not what went wrong.

    A request in plain http is the proxy's to answer: whether it or the service says 502 there, nobody can tell.
    """
    # A borrowed session may have found one by itself.
    proxy = "the proxy" if url is None else f"the proxy {url}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return APIConnectionError(f"{proxy} can't be reached: {error}", stage="connect")
    if not isinstance(error, aiohttp.ClientHttpProxyError):
        return None
    words = f"HTTP {error.status} {error.message[:_MOST_WORDS]}".rstrip()
    if error.status == 407:
        words += " (the user name and password in the proxy's URL are missing or wrong)"
    return APIConnectionError(
        f"{proxy}, not the service, refused the connection: {words}", transient=error.status >= 500, stage="connect"
    )
