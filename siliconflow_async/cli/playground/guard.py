"""Who may ask: this machine's browser, from the playground's own page.

Any web page may send requests to loopback, and a name that its owner points there (DNS rebinding) makes them look
like its own. The first carry a foreign `Origin` or `Sec-Fetch-Site`, the second a `Host` that is not loopback. Nobody
gets an answer without having passed here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from aiohttp import hdrs, web

__all__ = ["guard", "harden"]

_HOST = re.compile(r"(?P<name>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?", re.IGNORECASE)
_HEADERS = {
    # `self` alone: no script or style within the page, nothing from elsewhere, and no page around this one. A picture
    # may also be in its own address: those that the user sends.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; object-src 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A browser may look up the names of all links of a page, which an answer could use to tell somebody something.
    "X-DNS-Prefetch-Control": "off",
}


def _refusal(request: web.BaseRequest) -> str | None:
    """Return why a request is refused, None if it is not."""
    headers = request.headers
    hosts = headers.getall(hdrs.HOST, [])
    if len(hosts) != 1 or not _is_loopback(hosts[0]):
        return "the Host header does not name this machine"
    own = f"http://{hosts[0]}".lower()
    if any(origin.lower() != own for origin in headers.getall(hdrs.ORIGIN, [])):
        return "another page's request"
    # Scripts, images and the like are fetched from other pages without an Origin; a link from one is fine.
    site = headers.get("Sec-Fetch-Site", "none")
    if site not in ("none", "same-origin") and headers.get("Sec-Fetch-Mode") != "navigate":
        return "another page's request"
    return None


@web.middleware
async def guard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answer 403 to whoever may not ask."""
    why = _refusal(request)
    if why is not None:
        return web.Response(status=403, text=f"403: {why}\n")
    return await handler(request)


async def harden(request: web.Request, response: web.StreamResponse) -> None:
    """Add to every answer what a browser is to enforce."""
    response.headers.update(_HEADERS)


def _is_loopback(host: str) -> bool:
    match = _HOST.fullmatch(host)
    if match is None:
        return False
    name = match["name"].lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
