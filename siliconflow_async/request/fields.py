"""The keywords of an endpoint beside chat, and the JSON body that becomes of them.

Only what the caller set is sent; None means not set. What values the service takes it knows better than a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

from ..checks import check_keywords
from ..errors import InvalidRequestError
from ..timeouts import Timeouts
from .plain import as_plain, encode_body

__all__ = ["CallOptions", "Fields", "PlainCallOptions"]


class PlainCallOptions(TypedDict, total=False):
    """Keywords of every call, none of them a parameter of the service."""

    timeout: float | Timeouts | None
    """Seconds for the whole call, or the limits of all five clocks."""
    extra_headers: Mapping[str, str | None] | None
    """Headers to send beside the client's; None leaves one out."""
    extra_query: Mapping[str, str | int | float | bool] | None
    """Parameters for the URL's query."""


class CallOptions(PlainCallOptions, total=False):
    """Keywords of every call that sends JSON."""

    extra_body: Mapping[str, Any] | None
    """Merged into the body last: for what has no keyword here."""


class Fields:
    """What one method takes: the keywords of a TypedDict, of which some are `required`; `local` are not sent."""

    __slots__ = ("_known", "_local", "_required")

    def __init__(self, params: Any, *required: str, local: tuple[str, ...] = ()) -> None:
        self._known = frozenset(params.__annotations__)
        self._required = required
        self._local = frozenset({*CallOptions.__annotations__, *local})

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise TypeError for a keyword that is unknown or missing, InvalidRequestError for one that is None."""
        check_keywords(given, self._known)
        for name in self._required:
            if name not in given:
                raise TypeError(f"missing required keyword argument: {name!r}")
            if given[name] is None:
                raise InvalidRequestError(f"{name} must not be None", param=name)

    def body(self, given: Mapping[str, Any], **more: Any) -> bytes:
        """Return the JSON body of what was given, and of `more`; raise InvalidRequestError that names a parameter."""
        sent = {
            name: as_plain(value, name)
            for name, value in {**given, **more}.items()
            if value is not None and name not in self._local
        }
        return encode_body(sent, given.get("extra_body"))
