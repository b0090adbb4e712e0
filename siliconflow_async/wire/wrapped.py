"""Answers that some endpoints wrap: `{"code": 20000, "message": "OK", "status": true, "data": {…}}`.

One that comes without its wrapping is taken as it is.
"""

from __future__ import annotations

from typing import Any

from .failures import Mask, malformed, value_in

__all__ = ["unwrapped"]


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
