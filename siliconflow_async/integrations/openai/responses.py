"""Answers of this library as responses of httpx, which openai's users find beside answers, streams and errors."""

from __future__ import annotations

from collections.abc import Mapping

from .httpx import AsyncByteStream, Request, Response

__all__ = ["response_of"]

# What tells of the connection and its bytes, which are none of this response's.
_OF_THE_CONNECTION = frozenset({"connection", "content-encoding", "content-length", "keep-alive", "transfer-encoding"})


def response_of(
    request: Request,
    headers: Mapping[str, str],
    body: bytes | AsyncByteStream,
    *,
    trace_id: str | None,
    status: int = 200,
) -> Response:
    """Return a response; openai's `request_id`, which is one of its headers, is the trace id."""
    told = {name: value for name, value in headers.items() if name not in _OF_THE_CONNECTION}
    if trace_id is not None:
        told.setdefault("x-request-id", trace_id)
    if isinstance(body, bytes):
        return Response(status, headers=told, content=body, request=request)
    return Response(status, headers=told, stream=body, request=request)
