"""`client.models`: which models there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, Unpack

from ..checks import check_keywords
from ..errors import InvalidRequestError
from ..headers import conceal
from ..timeouts import Timeouts
from ..wire.models import ModelList, decode_models

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["ListParams", "Models"]


class ListParams(TypedDict, total=False):
    """Keywords of `client.models.list`, with the values that SiliconFlow's page gave in 2026-11."""

    type: str | None  # "text", "image", "audio" or "video"
    sub_type: str | None  # "chat", "embedding", "reranker", "text-to-image", "speech-to-text", "text-to-video", …

    # Not parameters of the service
    timeout: float | Timeouts | None  # seconds for the whole call, or the limits of the clocks
    extra_headers: Mapping[str, str | None] | None
    extra_query: Mapping[str, str | int | float | bool] | None


class Models:
    """The models of the service that a client talks to."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    async def list(self, **params: Unpack[ListParams]) -> ModelList:
        """Return the models in `.data`, all of them or those of one `type` or `sub_type`.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError, ClosedError; TypeError for a keyword that is none.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(params, ListParams.__annotations__.keys())
        return await self._service.fetch("GET", "/models", decode_models, params, query=_filters(params))


def _filters(params: ListParams) -> dict[str, str]:
    given = {"type": params.get("type"), "sub_type": params.get("sub_type")}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InvalidRequestError(f"{name} must be text, not a value of type {type(value).__name__}", param=name)
    return {name: value for name, value in given.items() if value is not None}
