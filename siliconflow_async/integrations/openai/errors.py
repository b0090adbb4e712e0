"""This library's errors as openai's, which frameworks know; ours is the `__cause__` of each.

| of ours | of openai's |
|---|---|
| APIStatusError | the class of its status, APIStatusError where there is none |
| APITimeoutError | APITimeoutError |
| APIConnectionError, TruncatedStreamError | APIConnectionError |
| every other StreamError | APIError |

No class is both: openai's errors hold other things than ours under the same names (`code`, `body`).
"""

from __future__ import annotations

from typing import Any

import msgspec
import openai

from ...errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BusyError,
    ClosedError,
    ConfigurationError,
    ContextLengthError,
    InsufficientBalanceError,
    InvalidRequestError,
    SiliconFlowError,
    StreamAPIError,
    TruncatedStreamError,
)
from .httpx import Request
from .responses import response_of

__all__ = ["AS_THEY_ARE", "openai_error", "siliconflow_error"]

# Mistakes of the program, which are raised as they are: no framework can do anything about them.
AS_THEY_ARE = (ConfigurationError, InvalidRequestError, ClosedError, BusyError)

_BY_STATUS: dict[int, type[openai.APIStatusError]] = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
}
# What frameworks act upon, by openai's codes.
_CODES: dict[type[SiliconFlowError], str] = {
    ContextLengthError: "context_length_exceeded",
    InsufficientBalanceError: "insufficient_quota",
}


def openai_error(error: SiliconFlowError, request: Request) -> openai.APIError:
    """Return the error of openai's that says the same."""
    if isinstance(error, APIStatusError):
        return _status_error(error, request)
    made: openai.APIError
    if isinstance(error, APITimeoutError):
        made = openai.APITimeoutError(request)
        # It has words of its own alone.
        made.message = str(error)
        made.args = (made.message,)
    elif isinstance(error, APIConnectionError | TruncatedStreamError):
        made = openai.APIConnectionError(message=str(error), request=request)
    elif isinstance(error, StreamAPIError):
        made = openai.APIError(str(error), request, body={"code": error.code, "message": error.message})
        made.code = None if error.code is None else str(error.code)
    else:
        made = openai.APIError(str(error), request, body=None)
    return made


def _status_error(error: APIStatusError, request: Request) -> openai.APIStatusError:
    status = error.refusal or error.status
    answer = response_of(request, error.headers, error.body.encode(), trace_id=error.trace_id, status=status)
    body: Any
    try:
        body = msgspec.json.decode(error.body)
    except (msgspec.DecodeError, RecursionError):
        body = error.body or None
    if isinstance(body, dict):
        body = body.get("error", body)
    code = _CODES.get(type(error)) or (None if error.code is None else str(error.code))
    message = f"{error} [{code}]" if type(error) in _CODES else str(error)
    kind = _BY_STATUS.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)
    made = kind(message, response=answer, body=body)
    made.code = code
    return made


def siliconflow_error(error: BaseException | None) -> SiliconFlowError | None:
    """Return this library's error that another one came from, however often it was wrapped; None if there is none.

    It has what openai's errors have no place for: `partial`, `trace_id`, `meter`, `attempts`, ….
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, SiliconFlowError):
            return error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
