"""The keywords of an endpoint beside chat, and the JSON body that becomes of them.

Only what the caller set is sent; None means not set. What values the service takes it knows better than a library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict
from urllib.parse import quote

from ..checks import check_keywords
from ..errors import InvalidRequestError
from ..timeouts import Timeouts
from .body import query_of
from .plain import as_plain, encode_body, kind_of

__all__ = ["CallOptions", "Fields", "PlainCallOptions", "in_path", "one_of", "query_fields"]


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


def in_path(value: Any, name: str) -> str:
    """Return an id as one part of a URL's path; raise InvalidRequestError that names it."""
    if not isinstance(value, str):
        raise InvalidRequestError(f"{name} must be text, not {kind_of(value)}", param=name)
    # Either would be another path.
    if not value.strip() or value in (".", ".."):
        raise InvalidRequestError(f"{name}: {value!r} is no id", param=name)
    try:
        return quote(value, safe="")
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"{name} can't be sent: {error}", param=name) from error


def query_fields(given: Mapping[str, Any], *names: str) -> dict[str, str]:
    """Return those of the parameters that go into the query, as text; raise InvalidRequestError that names one."""
    query: dict[str, str] = {}
    for name in names:
        if (value := given.get(name)) is not None:
            try:
                query |= query_of({name: value})
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{name}: {kind_of(value)} can't be sent", param=name) from error
    return query


def one_of(given: Mapping[str, Any], name: str, other: str) -> Any:
    """Return what was given under a name, or another for the same; raise InvalidRequestError for both."""
    values = [value for key in (name, other) if (value := given.get(key)) is not None]
    if len(values) > 1:
        raise InvalidRequestError(f"{other} is {name} as the openai package names it: give one of them", param=other)
    return values[0] if values else None
