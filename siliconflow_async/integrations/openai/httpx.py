"""The httpx that the installed openai package is made on: httpx2 from its third major version on, httpx before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai

__all__ = ["AsyncBaseTransport", "AsyncByteStream", "AsyncClient", "Request", "Response"]

if TYPE_CHECKING:  # noqa: SIM114  # which is for type checkers alone
    from httpx2 import AsyncBaseTransport, AsyncByteStream, AsyncClient, Request, Response
elif openai.DefaultAsyncHttpxClient.__mro__[1].__module__.partition(".")[0] == "httpx2":
    from httpx2 import AsyncBaseTransport, AsyncByteStream, AsyncClient, Request, Response
else:
    from httpx import AsyncBaseTransport, AsyncByteStream, AsyncClient, Request, Response
