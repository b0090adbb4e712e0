"""One request and the beginning of its answer."""

from __future__ import annotations

import asyncio
import functools
import weakref
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
import msgspec

from ..errors import APIConnectionError, ClosedError, EventTooLargeError, StreamError
from ..headers import replace_headers
from ..wire.failures import READ_ERROR_BODY, cut_off, is_blank, status_error
from .answer import Answer, Decode, Headed
from .attempt import Attempt, Request
from .body import Body, BodyBroken
from .connector import connect_watcher
from .mask import Mask
from .pool import SessionPool
from .proxy import proxy_options
from .upload import LARGE, Multipart, Telling, Upload, UploadWatcher

__all__ = ["Site", "Transport"]

T = TypeVar("T", bound=Headed)

# The status is known: what explains it is not waited for longer than this.
_ERROR_BODY_SECONDS = 2.0
# No content, and reset: done, with nothing to tell.
_WITHOUT_BODY = frozenset({204, 205})
# Misdirected, and too early: another connection may fare better.
_OF_THE_CONNECTION = frozenset({421, 425})
# Nobody asked for compression, and a few bytes of it can become any number: such a body gets less room.
_MAX_INFLATED = 16 * 1024 * 1024


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where requests go: the `base_url`, through which proxy, the other site's base to name on a wrong key.

    `proxy_for` finds the proxy for a URL elsewhere: its own URL, and the headers with its credentials.
    """

    base_url: str
    proxy: str | None
    proxy_headers: Mapping[str, str] | None
    other_site: str | None
    secret: str  # the key
    proxy_for: Callable[[str], tuple[str, Mapping[str, str] | None] | None]


class Transport:
    """Sends requests to one site over a pool of sessions."""

    def __init__(self, site: Site, pool: SessionPool) -> None:
        self.site = site
        self.pool = pool
        # The last request's headers, most likely the next one's too, and their mask: together, as threads may ask.
        self._masked: tuple[Mapping[str, str], Mask] | None = None

    async def open(self, request: Request) -> Answer:
        """Send the request and return its answer once the headers have come with a status below 300.

        Raises APIStatusError, APIConnectionError, ClosedError, APITimeoutError (of any clock but "idle").
        """
        with Attempt(request, self.pool, self.site.proxy) as attempt:
            answer = await self._open(request, attempt)
            if self.pool.closed:
                # The headers came just before: the body would only seem to break off.
                raise ClosedError("the client was closed during the call")
            return answer

    async def fetch(self, request: Request, max_body_size: int, decode: Decode[T]) -> tuple[Answer, T]:
        """Send the request and return its answer with what `decode` makes of the whole body.

        Raises what `open` and `decode` raise, TruncatedStreamError if the body breaks off or is empty,
        EventTooLargeError if it is larger than `max_body_size` bytes.
        """
        with Attempt(request, self.pool, self.site.proxy) as attempt:
            answer = await self._open(request, attempt)
            try:
                body = await _read_whole(answer, max_body_size)
            except StreamError as error:
                error.trace_id = answer.trace_id
                raise
        try:
            return answer, answer.decoded(decode, body)
        finally:
            # A traceback shows this frame, and a body may quote the key.
            del body

    async def _open(self, request: Request, attempt: Attempt) -> Answer:
        token = connect_watcher.set(weakref.ref(attempt))
        try:
            try:
                response = await self._send(request, attempt)
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError):
                # The server may drop a kept-alive connection while we write to it: that says nothing about the request.
                if attempt.is_new or attempt.protocol is None or attempt.protocol.answered:
                    raise
                response = await self._send(request, attempt)
        except Exception as error:
            self._mask_of(request).clean(error)
            raise
        finally:
            connect_watcher.reset(token)
        answer = Answer(response, attempt.loop, attempt.sent_at, self._mask_of(request))
        attempt.body = answer.body
        # Its repr, in a traceback, would show its headers.
        del response
        status = answer.response.status
        if status >= 300:
            # No local of this frame, which a traceback shows: the body may quote the key.
            refusal = status_error(
                status,
                await _read_start(answer.body),
                answer.headers,
                other_site=self.site.other_site,
                mask=answer.mask,
            )
            if status < 400:
                refusal.hint = "redirects are never followed"
            if status in _OF_THE_CONNECTION:
                attempt.distrust()
            raise refusal
        if answer.body.unreadable is not None:
            encoding = answer.mask(answer.body.unreadable)[:80]
            raise APIConnectionError(f"the answer can't be read: its encoding is {encoding!r}", transient=False)
        return answer

    def _send(self, request: Request, attempt: Attempt) -> Awaitable[aiohttp.ClientResponse]:
        body = request.body
        # No more than is needed: each keyword costs aiohttp's long signature a search.
        headers = request.headers if request.added is None else replace_headers(request.headers, request.added)
        options: dict[str, Any] = {"headers": headers, "allow_redirects": False}
        if isinstance(body, bytes):
            options["data"] = body if len(body) < LARGE else Upload(body, attempt)
        if request.query:
            options["params"] = request.query
        if self.pool.borrowed:
            options["timeout"] = aiohttp.ClientTimeout(total=None, sock_connect=request.timeouts.connect)
        if self.site.proxy is not None:
            options |= proxy_options(self.site.proxy, self.site.proxy_headers, attempt.session)
        url = self.site.base_url + request.path
        if isinstance(body, Multipart):
            return _send_multipart(
                body, attempt, functools.partial(attempt.session.request, request.method, url, **options)
            )
        return attempt.session.request(request.method, url, **options)

    def _mask_of(self, request: Request) -> Mask:
        masked = self._masked
        if masked is None or masked[0] is not request.headers:
            mask = Mask(self.site.secret, request.headers, self.site.proxy_headers)
            self._masked = masked = (request.headers, mask)
        return masked[1]


async def _send_multipart(
    body: Multipart, attempt: Attempt, send: Callable[..., Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    async with body.opened() as payload:
        watcher: UploadWatcher = attempt
        if body.on_progress is not None:
            watcher = Telling(attempt, payload.size or 0, body.on_progress)
        return await send(data=Upload(payload, watcher))


async def _read_start(body: Body) -> bytes:
    """Read as much of an error body as is looked at; what breaks off is kept as far as it came."""
    start = bytearray()
    data = b""
    try:
        async with asyncio.timeout(_ERROR_BODY_SECONDS):
            while len(start) < READ_ERROR_BODY and (data := await body.read()):
                start += data
    except (BodyBroken, TimeoutError):
        pass  # the status is what counts
    except BaseException:
        # A traceback shows this frame: a clock, or who cancels the call, ended it here.
        data = b""
        start.clear()
        raise
    return bytes(start)


async def _read_whole(answer: Answer, max_size: int) -> bytes:
    if answer.body.is_compressed:
        max_size = min(max_size, _MAX_INFLATED)
    body = bytearray()
    data = b""
    try:
        while data := await answer.body.read():
            if len(body) + len(data) > max_size:
                raise EventTooLargeError(f"the answer is larger than {max_size} bytes")
            body += data
            if answer.body.at_end():
                break
        if is_blank(body) and answer.response.status not in _WITHOUT_BODY:
            raise cut_off(0, None)
        return bytes(body)
    except BodyBroken as error:
        answer.mask.clean(error)
        raise cut_off(0 if is_blank(body) else len(body), str(error)) from error
    finally:
        # A traceback shows this frame.
        data = b""
        body.clear()
