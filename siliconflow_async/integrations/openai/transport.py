"""The transport under openai's own resources, such as `client.embeddings`: httpx' requests, sent by this library.

So its limits, retries, clocks, key and masks hold for them as well, and openai's own code makes the answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from ...calls.service import Service
from ...errors import InvalidRequestError, NotFoundError, SiliconFlowError
from ...wire.plain import Headed
from .bodies import BytesOfAnswer
from .errors import AS_THEY_ARE, openai_error
from .httpx import AsyncBaseTransport, Request, Response
from .params import raw_kind, timeouts_of
from .responses import response_of

if TYPE_CHECKING:
    from ...client import AsyncSiliconFlow

__all__ = ["ServiceTransport"]

# Made anew for each request by this library, or openai's telling of itself to its own service.
_NOT_SENT = frozenset(
    {"accept", "accept-encoding", "authorization", "connection", "content-length", "host", "user-agent"}
)
_NOT_SENT_EITHER = ("x-stainless-", "openai-")
# Posts that do nothing but answer: to send one again does no harm.
_ANSWERING = (
    "/audio/speech",
    "/audio/transcriptions",
    "/chat/completions",
    "/completions",
    "/embeddings",
    "/images/generations",
    "/moderations",
    "/rerank",
)
# What frameworks ask first, unless they are told otherwise.
_NO_RESPONSES = "SiliconFlow has no Responses API: have the framework ask for chat completions"


class _Whole(Headed):
    """A whole body, as it came."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


def _whole(body: bytes, mask: object) -> _Whole:
    return _Whole(body)


class ServiceTransport(AsyncBaseTransport):
    """Sends what openai's client asks by the calls of an AsyncSiliconFlow, at whose base URL it has to be.

    `headers` go with each, None in place of one of the client's leaves that out.
    """

    def __init__(self, client: AsyncSiliconFlow, headers: Mapping[str, str | None]) -> None:
        self.client = client
        self._headers = headers

    async def handle_async_request(self, request: Request) -> Response:
        """Return the answer. Raises openai's errors, refusals too; what is wrong with the request as it is."""
        client = self.client
        path = self._path(request)
        body = await request.aread()
        streaming = raw_kind(request.headers) == "stream" or _asks_for_stream(body)
        params = {
            "extra_headers": {**self._headers, **_headers(request.headers)},
            "timeout": timeouts_of(_timeout(request), client._setup.timeouts, streaming=streaming),
        }
        service = Service(client._setup)
        repeatable = request.method in ("GET", "HEAD", "DELETE") or path in _ANSWERING
        try:
            if streaming:
                stream = await service.stream(
                    request.method, path, params, body=body or None, query=_query(request), repeatable=repeatable
                )
                opened = BytesOfAnswer(stream, request)
                return response_of(request, stream.headers, opened, trace_id=stream.trace_id)
            whole = await service.fetch(
                request.method, path, _whole, params, body=body or None, query=_query(request), repeatable=repeatable
            )
        except AS_THEY_ARE:
            raise
        except SiliconFlowError as error:
            if isinstance(error, NotFoundError) and path.startswith("/responses"):
                error.hint = _NO_RESPONSES
            raise openai_error(error, request) from error
        return response_of(request, whole.headers, whole.body, trace_id=whole.trace_id)

    def _path(self, request: Request) -> str:
        url = str(request.url.copy_with(query=None))
        base = self.client.base_url
        if not url.startswith(f"{base}/"):
            raise InvalidRequestError(f"{url} is not at the client's base URL, {base}: the key goes nowhere else")
        return url.removeprefix(base)


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in headers.items()
        if name.lower() not in _NOT_SENT and not name.lower().startswith(_NOT_SENT_EITHER)
    }


def _query(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.url.params.multi_items():
        if name in found:
            raise InvalidRequestError(f"the parameter {name!r} is there twice in the query", param=name)
        found[name] = value
    return found


def _asks_for_stream(body: bytes) -> bool:
    """Whether a JSON body says so."""
    try:
        asked: Any = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, RecursionError):
        return False
    return bytes(asked.get("stream", b"")) == b"true"


def _timeout(request: Request) -> Any:
    """Return the limits that this request was given; None where it was given none."""
    parts = request.extensions.get("timeout") or {}
    return None if all(value is None for value in parts.values()) else parts
