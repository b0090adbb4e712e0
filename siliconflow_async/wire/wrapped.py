"""Answers that some endpoints wrap: `{"code": 20000, "message": "OK", "status": true, "data": {…}}`.

One that comes without its wrapping is taken as it is.
"""

from __future__ import annotations

from typing import Any

from .failures import Mask, malformed, value_in

__all__ = ["integer", "text", "unwrapped"]


def unwrapped(body: bytes, what_else: str, mask: Mask) -> dict[str, Any]:
    """Return the object that an answer holds.

    Raises APIStatusError for an error under 200, MalformedStreamError, which says `what_else` it is, for no object.
    """
    value = value_in(body, what_else, mask)
    if isinstance(value, dict) and "data" in value and ("code" in value or "status" in value):
        value = value["data"]
    if not isinstance(value, dict):
        raise malformed(body, "no object", what_else, mask)
    return value


def text(value: Any) -> str | None:
    """Return a text, None for anything else."""
    return value if isinstance(value, str) else None


def integer(value: Any) -> int | None:
    """Return a whole number, None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
