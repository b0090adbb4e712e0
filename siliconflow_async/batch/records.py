"""The lines that a batch writes, and what they say when they are read again.

Their form is that of OpenAI's batch files. What is ours stands in `error`; there `retryable` says whether the line is
open: to be asked again by the next run, as nobody refused the request.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import APIStatusError
from ..runs.results import MapResult
from ..wire import jsontext
from ..wire.structs import ChatCompletion

__all__ = ["PREFIX", "Record", "read_record", "record_line"]


# What the `id` of each line begins with.
PREFIX = "batch_req_"


class _Error(msgspec.Struct):
    type: str = ""
    message: str = ""
    retryable: bool = False


class Record(msgspec.Struct):
    """What a written line says of a request: its id, and its error if it failed."""

    custom_id: str
    error: _Error | None = None

    @property
    def is_open(self) -> bool:
        return self.error is not None and self.error.retryable


_RECORD = msgspec.json.Decoder(Record)


def read_record(line: bytes) -> Record:
    """Return what a line says; raise ValueError for a line that this library did not write."""
    try:
        return _RECORD.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error


def record_line(answer: MapResult[Any], name: str, *, retryable: bool) -> bytes:
    """Return the line of a request that was answered or failed; `retryable` tells of one that failed.

    `name` is what tells it from all others of its batch.
    """
    completion, error = answer.completion, answer.error
    response = failure = None
    if completion is not None:
        response = {"status_code": 200, "request_id": completion.trace_id, "body": _json(completion)}
    elif isinstance(error, APIStatusError):
        response = {"status_code": error.status, "request_id": error.trace_id, "body": _body(error.body)}
    if error is not None:
        partial: ChatCompletion | None = getattr(error, "partial", None)
        failure = {
            "code": getattr(error, "code", None),
            "message": _sound(str(error)),
            "type": type(error).__name__,
            "retryable": retryable,
            "request_id": getattr(error, "trace_id", None),
            "attempts": answer.attempts,
            "partial": None if partial is None else _json(partial),
        }
    line = {"id": f"{PREFIX}{name}", "custom_id": answer.custom_id, "response": response, "error": failure}
    return msgspec.json.encode(line)


def _json(completion: ChatCompletion) -> msgspec.Raw:
    return msgspec.Raw(completion.to_json().encode())


def _body(text: str) -> Any:
    """Return the body of a refusal as JSON where it is, else as text."""
    try:
        return jsontext.encode(jsontext.parse(text.encode("utf-8", "replace"))) or _sound(text)
    except ValueError:
        return _sound(text)


def _sound(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
