"""How any endpoint of the service is asked for a whole answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..transport.answer import Decode, Headed
from ..transport.upload import Multipart
from .call import Call
from .setup import Setup

__all__ = ["Service"]

T = TypeVar("T", bound=Headed)


class Service:
    """The service that one client asks."""

    __slots__ = ("setup",)

    def __init__(self, setup: Setup) -> None:
        self.setup = setup

    async def fetch(
        self,
        method: str,
        path: str,
        decode: Decode[T],
        params: Mapping[str, Any],
        *,
        body: bytes | Multipart | None = None,
        query: Mapping[str, str] | None = None,
        repeatable: bool = True,
    ) -> T:
        """Return what `decode` makes of the whole body, which is empty for a status such as 204.

        `body` is JSON, or a Multipart, whose files are read while they are sent. Of `params` count those that every
        endpoint has: `timeout`, `extra_headers`, `extra_query`. What is not `repeatable`, since the service would do it
        twice, is sent again only where the service has surely not begun it.

        Raises InvalidRequestError before anything is sent, APIStatusError, APIConnectionError and APITimeoutError,
        StreamError where the body breaks off or is none, ClosedError.
        """
        request = self.setup.request(method, path, params, body=body, query=query)
        return await Call(self.setup, request, repeatable=repeatable).fetch(decode)
