"""What the service says to a request that it refuses."""

from __future__ import annotations

from typing import NoReturn

import msgspec

__all__ = ["Refused", "error_body", "refuse"]


def _envelope(code: int, message: str) -> bytes:
    return msgspec.json.encode({"code": code, "message": message, "data": None})


_BODIES = {
    400: _envelope(20015, "The parameter is invalid. Please check again."),
    401: b'"Invalid token"',
    402: _envelope(30001, "Sorry, your account balance is insufficient"),
    403: b'"Forbidden"',
    404: b'"404 page not found"',
    413: _envelope(20043, "The request is too large."),
    429: b'{"message":"Request was rejected due to rate limiting. Details: TPM limit reached."}',
    451: _envelope(20021, "The content was flagged."),
    500: _envelope(50507, "Request failed: Unknown error."),
    503: _envelope(50505, "Model service overloaded. Please try again later."),
    504: b'"Gateway Timeout"',
}


def error_body(status: int) -> bytes:
    """Return a body of the shape that SiliconFlow documents or sent for an HTTP status."""
    if status in _BODIES:
        return _BODIES[status]
    if 500 <= status < 600:
        return f"<html><body><h1>{status}</h1></body></html>".encode()
    return b"" if status < 400 else _BODIES[400]


class Refused(Exception):
    """A request that gets an error: an HTTP status and a body, if none is given the one of the status."""

    def __init__(self, status: int, body: bytes | None = None) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = error_body(status) if body is None else body


def refuse(message: str, code: int = 20015, status: int = 400) -> NoReturn:
    """Raise Refused with the service's own error envelope."""
    raise Refused(status, _envelope(code, message))
