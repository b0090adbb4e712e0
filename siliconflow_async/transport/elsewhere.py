"""What the service names by a URL, such as a picture that it made: asked for without the key, wherever it is.

The URL is used as it came, since a signature may cover each of its characters, and is told to nobody: it may be all
that is needed to get the file.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress

import aiohttp
from yarl import URL

from ..errors import APIStatusError, InvalidRequestError
from .answer import Answer
from .attempt import Attempt, Request
from .exchange import Site, Transport
from .proxy import proxy_options, with_headers_alone

__all__ = ["Elsewhere"]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
# Of a request's headers; whatever else a client has set is for the service alone.
_SENT = frozenset({"accept", "accept-encoding", "if-range", "range", "user-agent"})


class Elsewhere(Transport):
    """Gets what is at one URL, over the connections of a client; follows redirects, but none from https to http.

    Raises InvalidRequestError for what is no http or https URL.
    """

    def __init__(self, url: str, near: Transport) -> None:
        self._url = found = _parsed(url)
        proxy, proxy_headers = near.site.proxy_for(url) or (None, None)
        site = Site(
            base_url=str(found.origin()),
            proxy=proxy,
            proxy_headers=proxy_headers,
            other_site=None,
            secret=near.site.secret,
            proxy_for=near.site.proxy_for,
        )
        super().__init__(site, near.pool)

    async def open(self, request: Request) -> Answer:
        at = self
        for left in reversed(range(_MOST_REDIRECTS + 1)):
            try:
                return await Transport.open(at, request)
            except APIStatusError as refusal:
                target = refusal.headers.get("location") if refusal.status in _REDIRECTS else None
                if target is None:
                    raise
                refusal.hint = "too many redirects"
                if not left:
                    raise
                at = at._redirected(target, refusal)
        raise AssertionError("the last one raises")

    def _redirected(self, target: str, refusal: APIStatusError) -> Elsewhere:
        try:
            found = self._url.join(_url_of(target))
            if self._url.scheme == "https" and found.scheme != "https":
                raise InvalidRequestError("it leads from https to http")
            return Elsewhere(str(found), self)
        except (InvalidRequestError, ValueError) as error:
            refusal.hint = f"the redirect can't be followed: {error}"
            raise refusal from error

    def _send(self, request: Request, attempt: Attempt) -> Awaitable[aiohttp.ClientResponse]:
        headers = {name: value for name, value in request.headers.items() if name.lower() in _SENT}
        options = {"headers": headers, "allow_redirects": False}
        if self.pool.borrowed:
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=request.timeouts.connect)
        if self.site.proxy is not None:
            options |= proxy_options(self.site.proxy, self.site.proxy_headers, attempt.session)
        return attempt.session.request("GET", self._url, **with_headers_alone(options, attempt.session))


def _parsed(url: str) -> URL:
    if not isinstance(url, str):
        raise InvalidRequestError(f"url must be text, not a value of type {type(url).__name__}", param="url")
    with suppress(ValueError):  # of a part, where it is first asked for
        found = _url_of(url)
        known = found.scheme in ("http", "https") and found.host and found.port
        if known and (found.user, found.password) == (None, None):
            return found
    shown = url[:80].partition("?")[0].rpartition("@")[2]
    raise InvalidRequestError(f"url: {shown!r} is no http or https URL without a password", param="url")


def _url_of(text: str) -> URL:
    # What has characters that can't be sent as they are is escaped, which else would change a signed URL.
    plain = text.isascii() and text.isprintable() and " " not in text
    return URL(text, encoded=plain)
