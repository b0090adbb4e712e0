"""Error bodies, codes and statuses to exceptions, after the table on SiliconFlow's error page and recorded bodies.

The class goes by HTTP status, its subclass by the service's code or, for a context overflow, by its words. An error's
words may quote the key that was sent, so they pass a `Mask`: once the error has its class, which no mask may change,
and before they are cut to length, since half a key would not be found.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, TypeAlias

from ..errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentFlaggedError,
    ContextLengthError,
    GatewayTimeoutError,
    InsufficientBalanceError,
    MalformedStreamError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    StreamAPIError,
    TruncatedStreamError,
)
from . import jsontext
from .codes import meter_of, number_of, status_of_code
from .weight import TooHeavyError

__all__ = [
    "BOM",
    "MAX_ERROR_BODY",
    "READ_ERROR_BODY",
    "Mask",
    "cut_off",
    "error_in",
    "is_blank",
    "malformed",
    "retry_after",
    "status_error",
    "stream_error",
    "unmasked",
    "value_in",
    "value_of",
]

Mask: TypeAlias = Callable[[str], str]
"""Returns a text of the server's without the secrets that it may hold."""

MAX_ERROR_BODY = 64 * 1024
BOM = b"\xef\xbb\xbf"
# How much of a body that is no answer is shown.
_SHOWN = 80
# How many bytes beyond those shown are masked with them, so that a secret that is shown in part is found.
_MARGIN = 8 * 1024
# So much is read of an error's body.
READ_ERROR_BODY = MAX_ERROR_BODY + _MARGIN

_CONTEXT_OVERFLOW = r"max_seq_len|max_prompt_tokens|maximum context length|exceeds the available context size"

_CLASS_OF_STATUS: dict[int, type[APIStatusError]] = {
    401: AuthenticationError,
    402: InsufficientBalanceError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: ServerError,
    413: PayloadTooLargeError,
    429: RateLimitError,
    451: ContentFlaggedError,
    503: OverloadedError,
    504: GatewayTimeoutError,
    524: GatewayTimeoutError,  # Cloudflare's
    598: GatewayTimeoutError,  # of other proxies, for a service that does not answer
}


def unmasked(text: str) -> str:
    """Return the text as it is: the mask where nothing was sent."""
    return text


def value_in(body: bytes, what_else: str, mask: Mask) -> Any:
    """Return the JSON of a whole answer; raise APIStatusError for an error under 200, `malformed` for no JSON."""
    try:
        value = value_of(body)
    except ValueError as error:
        # Its words are all there is to keep: the parser's own error holds the whole body.
        why = str(error)
    else:
        if error_in(value) is not None:
            raise status_error(200, body, {}, mask=mask)
        return value
    raise malformed(body, why, what_else, mask)


def value_of(data: bytes) -> Any:
    """Return the value of JSON, of an error too heavy to parse only what tells it; raise ValueError for no JSON."""
    try:
        return jsontext.parse(data)
    except TooHeavyError:
        told = jsontext.telling(data)
        if error_in(told) is None:
            raise
        return told


def malformed(body: bytes, why: str, what_else: str, mask: Mask) -> MalformedStreamError:
    """Return the error for an answer that is `what_else`, such as "no list of models", and why."""
    start = mask(body[: _SHOWN + _MARGIN].decode("utf-8", "replace"))[:_SHOWN]
    return MalformedStreamError(f"the answer is {what_else} ({why}): {start!r}")


def is_blank(body: bytes | bytearray) -> bool:
    """Whether a body holds no more than white space, after a byte order mark perhaps."""
    return not body or body.isspace() or (body.startswith(BOM) and not body[len(BOM) :].strip())


def cut_off(size: int, why: str | None, of: int | None = None) -> TruncatedStreamError:
    """Return the error for a body, no event stream, that ended after `size` bytes; `why` says what broke it off.

    `of` is how many there were to be, None where nobody had said.
    """
    if not size:
        words = "the answer is empty" if why is None else f"the answer broke off before its first byte ({why})"
        return TruncatedStreamError(words, empty=True, received=0)
    how = "ended" if why is None else f"broke off ({why})"
    bytes_ = f"{size} bytes" if of is None else f"{size} of {of} bytes"
    return TruncatedStreamError(f"the answer {how} after {bytes_}, in its midst", received=size)


def error_in(value: Any) -> tuple[int | str | None, str] | None:
    """Return the (code, message) of a JSON object that is an error, or None if it is not one.

    Known forms: `{"code", "message"}` without choices, `{"error": {…}}`, `{"error": "…"}`, an `error` beside choices.
    """
    if not isinstance(value, Mapping):
        return None
    error = value.get("error")
    if isinstance(error, Mapping) and error:
        return _code(error.get("code")), _words(error)
    if error and isinstance(error, str):
        return _code(value.get("code")), error
    if error:
        return _code(value.get("code")), repr(error)
    if value.get("choices"):
        return None
    code = _code(value.get("code"))
    message = value.get("message")
    # Services of this kind say with 0 or 20000 that all is well.
    if code in (0, 20000, "0", "20000") or (code is None and not (message and isinstance(message, str))):
        return None
    return code, _words(value)


def status_error(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    other_site: str | None = None,
    mask: Mask = unmasked,
) -> APIStatusError:
    """Build the exception for a refused request.

    `body` is the start of the answer's body, `headers` have lower-case names and are masked already, `other_site` is
    the base URL to name when the key belongs to the other of SiliconFlow's two sites.
    """
    text = body[:READ_ERROR_BODY].decode("utf-8", "replace")
    shown = _masked(text, mask)
    code, words = _read_body(body)
    message = words or _start(text)
    meant = status_of_code(code)
    refusal = status if status >= 400 else meant
    error_class = _class_of(status if status >= 300 else meant or status, code, message)
    hint = None
    if number_of(code) == 30014 and other_site is not None:
        hint = f"the .cn and .com sites have separate keys: this one may belong to {other_site}"
    return error_class(
        _masked(words, mask) if words else _start(shown),
        status=status,
        code=mask(code) if isinstance(code, str) else code,
        body=shown,
        headers=dict(headers),
        hint=hint,
        refusal=refusal,
        meter=meter_of(code, message) if refusal == 429 else None,
        retry_after=retry_after(headers),
    )


def stream_error(value: Any, mask: Mask = unmasked) -> StreamAPIError:
    """Build the exception for the data of an `event: error`, whatever it holds."""
    found = error_in(value)
    if found is None:
        found = (None, _words(value) if isinstance(value, Mapping) else str(value))
    code, message = found
    refusal = status_of_code(code)
    return StreamAPIError(
        _masked(message, mask),
        code=mask(code) if isinstance(code, str) else code,
        refusal=refusal,
        meter=meter_of(code, message) if refusal == 429 else None,
    )


def _masked(text: str, mask: Mask) -> str:
    """Return as much of a text as an error keeps, masked."""
    return mask(text[: MAX_ERROR_BODY + _MARGIN]).encode("utf-8", "replace")[:MAX_ERROR_BODY].decode("utf-8", "ignore")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that `Retry-After-Ms` or `Retry-After` (seconds or a date) ask for; None if neither is there.

    A date is read against the answer's own `Date`, by our clock only where that is missing or no date.
    """
    milliseconds = _seconds(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    value = headers.get("retry-after")
    seconds = _seconds(value)
    if seconds is not None or value is None:
        return seconds
    until = _moment(value)
    if until is None:
        return None
    # The service's clock and ours may be hours apart: the difference of two of its times is what it means.
    now = _moment(headers.get("date"))
    return max(0.0, until - (time.time() if now is None else now))


def _moment(date: str | None) -> float | None:
    """Return the Unix time of one of HTTP's dates; None for none, or what is no date."""
    if date is None:
        return None
    try:
        read = parsedate_to_datetime(date)
        # HTTP's dates are GMT, also where the old forms don't say so.
        return read.timestamp() if read.tzinfo is not None else read.replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def _seconds(value: str | None) -> float | None:
    if value is None or re.fullmatch(r"\s*[0-9]+(\.[0-9]*)?\s*", value, re.ASCII) is None:
        return None
    seconds = float(value)
    return seconds if seconds < 1e9 else None


def _read_body(body: bytes) -> tuple[int | str | None, str]:
    """Return the code and the words of JSON, none for what is no JSON."""
    try:
        value = value_of(body)
    except ValueError:
        return None, ""
    if isinstance(value, str):
        return None, value
    return error_in(value) or (None, _words(value) if isinstance(value, Mapping) else "")


def _start(text: str) -> str:
    title = re.search(r"<title>([^<]{1,200})", text, re.IGNORECASE)
    return (title[1] if title else text[:200]).strip()


def _class_of(status: int, code: int | str | None, message: str) -> type[APIStatusError]:
    if number_of(code) == 30001:
        return InsufficientBalanceError
    error_class = _CLASS_OF_STATUS.get(status)
    if error_class is None and 400 <= status < 600:
        error_class = BadRequestError if status < 500 else ServerError
    if error_class is None:
        return APIStatusError
    if error_class is BadRequestError and re.search(_CONTEXT_OVERFLOW, message, re.IGNORECASE):
        return ContextLengthError
    by_code = _CLASS_OF_STATUS.get(status_of_code(code) or 0)
    return by_code if by_code is not None and issubclass(by_code, error_class) else error_class


def _code(value: Any) -> int | str | None:
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _words(value: Mapping[str, Any]) -> str:
    for key in ("message", "detail", "msg", "data"):
        words = value.get(key)
        if words and isinstance(words, str):
            return words
    return ""
