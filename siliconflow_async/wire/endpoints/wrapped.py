"""Answers that some endpoints wrap: `{"code": 20000, "message": "OK", "status": true, "data": {…}}`.

One that comes without its wrapping is taken as it is. Lists are `{"data": […]}` within it, or bare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from ..failures import Mask, malformed, value_in
from ..lenient import to_text

__all__ = ["Page", "page_in", "unwrapped"]


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


class Page(NamedTuple):
    """A part of a list: its `entries` that have an id, the ids that it says it begins and ends with."""

    entries: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


def page_in(body: bytes, what_else: str, mask: Mask) -> Page:
    """Return the list that an answer holds: the list itself, `{"data": […]}`, `{"files": […]}` or one of these wrapped.

    Raises what `unwrapped` raises.
    """
    value = value_in(body, what_else, mask)
    if isinstance(value, dict) and isinstance(value.get("data"), dict):
        value = value["data"]
    beside = value if isinstance(value, dict) else {"data": value}
    entries = beside.get("data", beside.get("files"))
    if not isinstance(entries, list):
        raise malformed(body, "no data", what_else, mask)
    return Page(
        [entry for entry in entries if isinstance(entry, dict) and to_text(entry.get("id"))],
        to_text(beside.get("first_id")),
        to_text(beside.get("last_id")),
        beside.get("has_more") is True,
    )
