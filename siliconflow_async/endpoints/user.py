"""`client.user`: whose key it is, and what is left on the account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..errors import APIStatusError
from ..headers import conceal
from ..request.fields import Fields, PlainCallOptions
from ..wire.endpoints.user import UserInfo, decode_user

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["User"]

_INFO = Fields(PlainCallOptions)
_GONE = 410


class User:
    """The account that a client's key belongs to."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    async def info(self, **params: Unpack[PlainCallOptions]) -> UserInfo:
        """Ask whose account it is and what is left on it; balances are Decimal, in the account's currency.

        The service was seen to have withdrawn this endpoint from its .com site, in 2026-10: then the APIStatusError has
        status 410 and says so. Don't build on it.

        Args:
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError, ClosedError; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _INFO.check(params)
        try:
            return await self._service.fetch("GET", "/user/info", decode_user, params)
        except APIStatusError as error:
            if error.status == _GONE:
                error.hint = "the service no longer has this endpoint; its console shows the balance"
            raise
