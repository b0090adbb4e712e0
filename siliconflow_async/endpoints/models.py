"""`client.models`: which models there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from ..elsewhere import MODELS, Explained
from ..errors import InvalidRequestError
from ..headers import conceal
from ..request.fields import Fields, PlainCallOptions
from ..wire.endpoints.models import Model, ModelList, decode_models
from .listing import Listing

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["ListParams", "Models"]


class ListParams(PlainCallOptions, total=False):
    """Keywords of `client.models.list`, with the values that SiliconFlow's page gave in 2026-11."""

    type: str | None  # "text", "image", "audio" or "video"
    sub_type: str | None  # "chat", "embedding", "reranker", "text-to-image", "speech-to-text", "text-to-video", …


_LIST = Fields(ListParams)


class Models(Explained):
    """The models of the service that a client talks to."""

    __slots__ = ("_service",)
    elsewhere = MODELS

    def __init__(self, service: Service) -> None:
        self._service = service

    def list(self, **params: Unpack[ListParams]) -> Listing[ModelList, Model]:
        """Ask for the models, all of them or those of one `type` or `sub_type`; await it, or `async for` them.

        `await client.models.list()` has them in `.data`.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError, ClosedError; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _LIST.check(params)
        return Listing(self._list(params))

    async def _list(self, params: ListParams) -> ModelList:
        return await self._service.fetch("GET", "/models", decode_models, params, query=_filters(params))


def _filters(params: ListParams) -> dict[str, str]:
    given = {"type": params.get("type"), "sub_type": params.get("sub_type")}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InvalidRequestError(f"{name} must be text, not a value of type {type(value).__name__}", param=name)
    return {name: value for name, value in given.items() if value is not None}
