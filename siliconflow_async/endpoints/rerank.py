"""`client.rerank`: which of some documents fit a query best."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Required, Unpack

from ..elsewhere import RERANK, Explained
from ..errors import InvalidRequestError
from ..headers import conceal
from ..request.fields import CallOptions, Fields
from ..request.plain import kind_of
from ..wire.endpoints.rerank import Ranking, decode_ranking

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["Rerank", "RerankParams"]


class RerankParams(CallOptions, total=False):
    """Keywords of `client.rerank.create`, with what SiliconFlow's page gave in 2026-11."""

    model: Required[str]
    """The model's name, such as "BAAI/bge-reranker-v2-m3" or "Qwen/Qwen3-Reranker-8B"."""
    query: Required[str]
    """What the documents are to fit."""
    documents: Required[Sequence[str]]
    """The texts to rank."""
    top_n: int | None
    """How many of the best to return; default all."""
    return_documents: bool | None
    """True: each result has its `document` too."""
    max_chunks_per_doc: int | None
    """Into how many pieces a long document may be cut; bge and bce only."""
    overlap_tokens: int | None
    """Up to 80 tokens that neighbouring pieces share; bge and bce only."""


_CREATE = Fields(RerankParams, "model", "query", "documents")


class Rerank(Explained):
    """Rankings by one client."""

    __slots__ = ("_service",)
    elsewhere = RERANK

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[RerankParams]) -> Ranking:
        """Return documents in the order of their relevance to a query, in `results`; the best first.

        Args:
            model: The model's name, such as "BAAI/bge-reranker-v2-m3" or "Qwen/Qwen3-Reranker-8B".
            query: What the documents are to fit.
            documents: The texts to rank.
            top_n: How many of the best to return; default all.
            return_documents: True: each result has its `document` too.
            max_chunks_per_doc: Into how many pieces a long document may be cut; bge and bce only.
            overlap_tokens: Up to 80 tokens that neighbouring pieces share; bge and bce only.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises: InvalidRequestError before anything is sent, APIStatusError,
        APIConnectionError and APITimeoutError, StreamError (MalformedStreamError for a result that is none of the
        documents), ClosedError; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        params = {**params, "documents": _documents(params["documents"])}
        return await self._service.fetch(
            "POST",
            "/rerank",
            functools.partial(decode_ranking, count=len(params["documents"])),
            params,
            body=_CREATE.body(params),
            weighs=params,
        )


def _documents(value: Any) -> list[str]:
    """Return the documents as a list; raise InvalidRequestError for anything that is no list of texts."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequestError(f"documents must be a list of texts, not {kind_of(value)}", param="documents")
    documents = list(value)
    if not documents:
        raise InvalidRequestError("documents must have at least one text", param="documents")
    for at, text in enumerate(documents):
        if not isinstance(text, str):
            raise InvalidRequestError(f"documents[{at}] must be text, not {kind_of(text)}", param="documents")
    return documents
