"""An answer whose headers have come, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import aiohttp

from ..errors import TRACE_ID, APIStatusError, StreamError
from ..wire.answered import Headed
from .body import Body
from .mask import Mask

__all__ = ["Answer", "Decode", "Headed"]


T = TypeVar("T", bound=Headed)

Decode: TypeAlias = Callable[[bytes, Mask], T]
"""Returns what a whole body holds, or raises an error of this library, which quotes it through the mask."""


class Answer:
    """An answer whose headers have come; `sent_at` is a time of `loop`, `mask` hides what was sent."""

    __slots__ = ("_headers", "body", "loop", "mask", "response", "sent_at")

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
        self.body = Body(response, loop)

    @property
    def headers(self) -> dict[str, str]:
        """The headers under lower-case names, masked.

        They are made when asked for, since an open stream may wait beside thousands.
        """
        if self._headers is None:
            headers = self.response.headers
            self._headers = self.mask.in_headers(dict(zip(map(str.lower, headers), headers.values(), strict=True)))
        return self._headers

    @property
    def trace_id(self) -> str | None:
        trace_id = self.response.headers.get(TRACE_ID)
        return None if trace_id is None else self.mask.in_header(trace_id)

    def decoded(self, decode: Decode[T], body: bytes) -> T:
        """Return what `decode` makes of the whole body, with what the headers tell, as has an error that it raises."""
        try:
            answer = decode(body, self.mask)
        except (APIStatusError, StreamError) as error:
            failure = error
        else:
            answer.headers = self.headers
            answer.trace_id = self.trace_id
            return answer
        if isinstance(failure, APIStatusError):
            failure.headers = self.headers
        else:
            failure.trace_id = self.trace_id
        # Neither this frame nor those of `decode` are to hold the body, which may quote the key.
        body = b""
        raise failure.with_traceback(None)
