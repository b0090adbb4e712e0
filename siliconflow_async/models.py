"""`client.models`: which models there are."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict, Unpack

from .errors import InvalidRequestError
from .masking import conceal
from .request import query_of
from .retry import with_retries
from .settings import check_keywords, replace_headers
from .timeouts import Timeouts
from .transport.attempt import Request
from .transport.underway import Underway
from .wire.models import ModelList, decode_models

if TYPE_CHECKING:
    from .call import CallSettings

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

    __slots__ = ("_rng", "_settings")

    def __init__(self, settings: CallSettings) -> None:
        self._settings = settings
        self._rng = random.Random()

    async def list(self, **params: Unpack[ListParams]) -> ModelList:
        """Return the models in `.data`, all of them or those of one `type` or `sub_type`.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError, ClosedError; TypeError for a keyword that is none.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(params, ListParams.__annotations__.keys())
        settings = self._settings
        timeouts, started_at, deadline = settings.clocks(params, streaming=False)
        # There is no body to say the type of.
        headers = replace_headers(settings.headers, {"Content-Type": None})
        request = Request(
            method="GET",
            path="/models",
            body=None,
            headers=replace_headers(headers, params.get("extra_headers")),
            query=query_of(_filters(params)) | query_of(params.get("extra_query")),
            timeouts=timeouts,
            started_at=started_at,
            deadline=deadline,
            streaming=False,
        )

        async def fetch() -> ModelList:
            _, models = await settings.transport.fetch(request, settings.max_body_size, decode_models)
            return models

        with Underway(settings.transport.pool):
            return await with_retries(
                fetch, policy=settings.retry, budget=settings.budget, deadline=deadline, rng=self._rng
            )


def _filters(params: ListParams) -> dict[str, str]:
    given = {"type": params.get("type"), "sub_type": params.get("sub_type")}
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise InvalidRequestError(f"{name} must be text, not a value of type {type(value).__name__}", param=name)
    return {name: value for name, value in given.items() if value is not None}
