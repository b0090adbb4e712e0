"""An answer whose headers have come, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TypeAlias, TypeVar

import aiohttp

from ..errors import TRACE_ID, APIStatusError, StreamError
from ..wire.plain import Headed
from .body import Body
from .mask import Mask

__all__ = ["Answer", "Decode", "Headed"]


T = TypeVar("T", bound=Headed)

Decode: TypeAlias = Callable[[bytes, Mask], T]
"""Returns what a whole body holds, or raises an error of this library, which quotes it through the mask."""


class Heading:
    """What an answer's headers tell, masked when it is asked for: next to nobody asks a whole answer."""

    __slots__ = ("_headers", "_mask")

    def __init__(self, headers: Mapping[str, str], mask: Mask) -> None:
        self._headers = headers
        self._mask = mask

    def headers(self) -> dict[str, str]:
        """Return them under lower-case names."""
        headers = self._headers
        return self._mask.in_headers(dict(zip(map(str.lower, headers), headers.values(), strict=True)))

    def trace_id(self) -> str | None:
        trace_id = self._headers.get(TRACE_ID)
        return None if trace_id is None else self._mask.in_header(trace_id)


class Answer:
    """An answer whose headers have come; `sent_at` is a time of `loop`, `mask` hides what was sent."""

    __slots__ = ("_headers", "body", "heading", "loop", "mask", "response", "sent_at")

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        loop: asyncio.AbstractEventLoop,
        sent_at: float,
        mask: Mask,
    ) -> None:
        self.response = response
        self.loop = loop
        self._headers: dict[str, str] | None = None
        self.sent_at = sent_at
        self.mask = mask
        self.heading = Heading(response.headers, mask)
        self.body = Body(response, loop)

    @property
    def headers(self) -> dict[str, str]:
        """The headers under lower-case names, masked.

        They are made when asked for, since an open stream may wait beside thousands.
        """
        if self._headers is None:
            self._headers = self.heading.headers()
        return self._headers

    @property
    def trace_id(self) -> str | None:
        return self.heading.trace_id()

    def decoded(self, decode: Decode[T], body: bytes) -> T:
        """Return what `decode` makes of the whole body, with what the headers tell, as has an error that it raises."""
        try:
            answer = decode(body, self.mask)
        except (APIStatusError, StreamError) as error:
            failure = error
        else:
            answer.headers = self.heading.headers
            answer.trace_id = self.heading.trace_id
            return answer
        if isinstance(failure, APIStatusError):
            failure.headers = self.headers
        else:
            failure.trace_id = self.trace_id
        # Neither this frame nor those of `decode` are to hold the body, which may quote the key.
        body = b""
        raise failure.with_traceback(None)
