"""Batches that the service runs: what `/batches` sends back, and the lines of the results.

The decoders raise APIStatusError for an error under 200, MalformedStreamError for what is no such answer. Of fields of
odd types, what can be read is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...errors import APIStatusError, MalformedStreamError, SiliconFlowError, StreamError
from ..failures import Mask, error_in, malformed, status_error, unmasked
from ..lenient import to_integer, to_text
from ..plain import Beside, Headed, Plain, nothing, told
from ..protocol import decode_completion
from ..structs import ChatCompletion
from ..weight import TooHeavyError, check_weight
from .wrapped import page_in, unwrapped

__all__ = [
    "Batch",
    "BatchCounts",
    "BatchList",
    "BatchResponse",
    "BatchResult",
    "decode_batch",
    "decode_batches",
    "decode_result",
]

_NO_BATCH = "no batch"
_NO_LIST = "no list of batches"
_NO_LINE = "no line of a batch's results"
# An open set: whatever else there is, goes on.
_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_TIMES = (
    *("in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at", "expired_at"),
    *("cancelling_at", "cancelled_at"),
)
# What was not asked may be asked again: the batch ended before. The refusal is that of a request that came too late.
_UNASKED = frozenset({"batch_expired", "batch_cancelled"})
_TOO_LATE = 408


class BatchCounts(Plain):
    """How many requests a batch has, and how they have fared so far."""

    total: int = told(0)
    completed: int = told(0)
    failed: int = told(0)


class Batch(Headed, Plain):
    """A batch that the service runs; times are Unix seconds, None for what has not come.

    `status` is an open set of words: "validating", "in_queue", "in_progress", "finalizing", "completed", "failed",
    "expired", "cancelling", "cancelled". `output_file_id` and `error_file_id` are ids of files, or URLs: `results` of
    `client.batches` reads either. `raw` is the body as it came, `headers` the answer's headers with lower-case names,
    `trace_id` what SiliconFlow's support asks for; an entry of a list has none of these.
    """

    id: str
    object: str = told("batch")
    endpoint: str = told("")
    input_file_id: str = told("")
    completion_window: str = told("")
    status: str = told("")
    created_at: int = told(0)
    output_file_id: str | None = None
    error_file_id: str | None = None
    in_progress_at: int | None = None
    expires_at: int | None = None
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: BatchCounts | None = None
    metadata: dict[str, str] | None = None
    errors: dict[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.status in _ENDED


class BatchList(Headed, Plain):
    """An account's batches, in `data`."""

    object: str = told("list")
    data: list[Batch] = msgspec.field(default_factory=nothing)
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = told(False)


class BatchResponse(Plain):
    """How one request was answered: the HTTP status, what support asks for, and the answer's JSON."""

    status_code: int = told(200)
    request_id: str | None = None
    body: Any = None


class _Read(Beside):
    """What a line was read into, once somebody has asked."""

    __slots__ = ("_completion",)


class BatchResult(_Read, Plain):
    """How one request of a batch went: its `response`, or the `error` that kept it from being asked.

    `completion` is the answer to a chat, None where there is none; then `failure` is an error, as the call itself would
    have raised it, which tells by `passing` whether the request may fare better another time. `raw` is the line.
    """

    custom_id: str
    id: str = told("")
    response: BatchResponse | None = None
    error: dict[str, Any] | None = None

    @property
    def completion(self) -> ChatCompletion | None:
        """The answer to a chat; None for one that failed."""
        answer = self._answer()
        return answer if isinstance(answer, ChatCompletion) else None

    @property
    def failure(self) -> SiliconFlowError | None:
        """What the request failed of; None for one that was answered."""
        answer = self._answer()
        return answer if isinstance(answer, SiliconFlowError) else None

    def _answer(self) -> ChatCompletion | SiliconFlowError:
        known: ChatCompletion | None = getattr(self, "_completion", None)
        if known is not None:
            return known
        response = self.response
        if response is None or self.error is not None:
            if self.error is None:
                return MalformedStreamError("the line has neither a response nor an error")
            return _unanswered(self.error)
        body = _body_of(self)
        headers = {} if response.request_id is None else {"x-siliconcloud-trace-id": response.request_id}
        if response.status_code >= 300 or error_in(response.body) is not None:
            return status_error(response.status_code, body, headers)
        try:
            completion = decode_completion(body)
        except (APIStatusError, StreamError) as error:
            # Without its frames, which hold the line.
            return error.with_traceback(None)
        completion.trace_id = response.request_id
        # Not so an error: one that is raised holds frames, and with them this line.
        self._completion = completion
        return completion


class _RawResponse(msgspec.Struct):
    body: msgspec.Raw = msgspec.Raw(b"null")


class _RawLine(msgspec.Struct):
    response: _RawResponse | None = None


_LINE = msgspec.json.Decoder(BatchResult)
_RAW_LINE = msgspec.json.Decoder(_RawLine)


def _body_of(result: BatchResult) -> bytes:
    """Return the JSON of an answer as it came."""
    if result.raw is not None:
        found = _RAW_LINE.decode(result.raw).response
        if found is not None:
            return bytes(found.body)
    return b"null" if result.response is None else msgspec.json.encode(result.response.body)


def _unanswered(error: Mapping[str, Any]) -> APIStatusError:
    failure = status_error(200, msgspec.json.encode({"code": None, **error}), {})
    if failure.code in _UNASKED:
        failure.refusal = _TOO_LATE
    return failure


def decode_batch(body: bytes, mask: Mask = unmasked) -> Batch:
    """Decode a batch, which the service does not wrap; a wrapped one is read too."""
    value = unwrapped(body, _NO_BATCH, mask)
    if not to_text(value.get("id")):
        raise malformed(body, "no id", _NO_BATCH, mask)
    batch = _batch(value)
    batch.raw = body
    return batch


def decode_batches(body: bytes, mask: Mask = unmasked) -> BatchList:
    """Decode a list of batches: the list itself, or within a wrapping."""
    page = page_in(body, _NO_LIST, mask)
    batches = BatchList(
        data=[_batch(entry) for entry in page.entries],
        first_id=page.first_id,
        last_id=page.last_id,
        has_more=page.has_more,
    )
    batches.raw = body
    return batches


def decode_result(line: bytes, mask: Mask = unmasked) -> BatchResult:
    """Decode a line of a batch's results or errors."""
    try:
        check_weight(line)
        result = _LINE.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TooHeavyError) as error:
        why = str(error)
    else:
        result.raw = line
        return result
    raise malformed(line, why, _NO_LINE, mask)


def _batch(value: Mapping[str, Any]) -> Batch:
    batch = Batch(
        id=value["id"],
        object=to_text(value.get("object")) or "batch",
        endpoint=to_text(value.get("endpoint")) or "",
        input_file_id=to_text(value.get("input_file_id")) or "",
        completion_window=to_text(value.get("completion_window")) or "",
        status=to_text(value.get("status")) or "",
        created_at=to_integer(value.get("created_at")) or 0,
        # Where there is none, it may be null or "".
        output_file_id=to_text(value.get("output_file_id")) or None,
        error_file_id=to_text(value.get("error_file_id")) or None,
        request_counts=_counts(value.get("request_counts")),
        metadata=_metadata(value.get("metadata")),
        errors=errors if isinstance(errors := value.get("errors"), dict) else None,
    )
    for name in _TIMES:
        # Some services say 0 for what has not come.
        setattr(batch, name, to_integer(value.get(name)) or None)
    return batch


def _counts(value: Any) -> BatchCounts | None:
    if not isinstance(value, dict):
        return None
    return BatchCounts(*(to_integer(value.get(name)) or 0 for name in ("total", "completed", "failed")))


def _metadata(value: Any) -> dict[str, str] | None:
    if not isinstance(value, dict):
        return None
    return {name: item for name, item in value.items() if isinstance(item, str)}
