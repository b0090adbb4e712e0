"""An answer whose headers have come, and what they tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

import aiohttp

from ..errors import TRACE_ID, APIStatusError, StreamError
from .alarms import Alarms
from .body import Body

__all__ = ["Answer"]


class _Headed(Protocol):
    headers: Mapping[str, str]
    trace_id: str | None


T = TypeVar("T", bound=_Headed)


class Answer:
    """An answer whose headers have come; `sent_at` is a time of `loop`."""

    __slots__ = ("_headers", "body", "loop", "response", "sent_at")

    def __init__(
        self, response: aiohttp.ClientResponse, loop: asyncio.AbstractEventLoop, alarms: Alarms, sent_at: float
    ) -> None:
        self.response = response
        self.loop = loop
        self._headers: dict[str, str] | None = None
        self.sent_at = sent_at
        self.body = Body(response, loop, alarms)

    @property
    def headers(self) -> dict[str, str]:
        """The headers under lower-case names; made when asked for, since an open stream may wait beside thousands."""
        if self._headers is None:
            headers = self.response.headers
            self._headers = dict(zip(map(str.lower, headers), headers.values(), strict=True))
        return self._headers

    @property
    def trace_id(self) -> str | None:
        return self.response.headers.get(TRACE_ID)

    def decoded(self, decode: Callable[[bytes], T], body: bytes) -> T:
        """Return what `decode` makes of the whole body, with what the headers tell, as has an error that it raises."""
        try:
            answer = decode(body)
        except APIStatusError as error:
            error.headers = self.headers
            raise
        except StreamError as error:
            error.trace_id = self.trace_id
            raise
        answer.headers = self.headers
        answer.trace_id = self.trace_id
        return answer
