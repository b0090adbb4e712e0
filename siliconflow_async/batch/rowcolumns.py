"""The columns that a row is given: its answer, or how its request failed."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["COLUMNS", "columns_of"]

# In this order, each with its type. All but `custom_id` may be None.
COLUMNS: dict[str, type[str] | type[int]] = {
    "content": str,
    "reasoning_content": str,
    "finish_reason": str,
    "prompt_tokens": int,
    "completion_tokens": int,
    "answer": str,
    "trace_id": str,
    "error": str,
    "error_code": str,
    "error_message": str,
    "error_attempts": int,
    "error_partial": str,
}


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None
    reasoning_content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    message: _Message = _Message()
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Answer(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Response(msgspec.Struct):
    body: msgspec.Raw
    request_id: str | None = None


class _Failure(msgspec.Struct):
    type: str
    message: str
    attempts: int
    code: int | str | None = None
    request_id: str | None = None
    partial: msgspec.Raw = msgspec.Raw(b"null")


class _Line(msgspec.Struct):
    response: _Response | None
    error: _Failure | None


_LINE = msgspec.json.Decoder(_Line)
_ANSWER = msgspec.json.Decoder(_Answer)
_NOTHING: dict[str, Any] = dict.fromkeys(COLUMNS)


def columns_of(line: bytes) -> dict[str, Any]:
    """Return what a line of a batch's results has, by the names of COLUMNS.

    `answer` and `error_partial` are JSON, the whole ChatCompletion and what had arrived of it; `content`,
    `reasoning_content` and `finish_reason` are those of choice 0. `error` is the class of the error, None where the
    request was answered; `error_code` the service's code, as text.
    """
    said = _LINE.decode(line)
    failure, response = said.error, said.response
    if failure is not None:
        partial = bytes(failure.partial)
        return _NOTHING | {
            "trace_id": failure.request_id,
            "error": failure.type,
            "error_code": None if failure.code is None else str(failure.code),
            "error_message": failure.message,
            "error_attempts": failure.attempts,
            "error_partial": None if partial == b"null" else partial.decode(),
        }
    assert response is not None
    answer = _ANSWER.decode(response.body)
    first = next((choice for choice in answer.choices if choice.index == 0), _Choice())
    usage = answer.usage or _Usage()
    return _NOTHING | {
        "content": first.message.content,
        "reasoning_content": first.message.reasoning_content,
        "finish_reason": first.finish_reason,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "answer": bytes(response.body).decode(),
        "trace_id": response.request_id,
    }
