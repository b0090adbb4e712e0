"""How values become JSON: what JSON can't hold is refused by name, before a byte is sent."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..errors import InvalidRequestError

__all__ = ["as_plain", "encode_body", "is_flat", "kind_of", "text_key"]

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})


def encode_body(body: dict[str, Any], extra: Any) -> bytes:
    """Return JSON of a body of plain values, with an `extra_body` merged in; raise InvalidRequestError."""
    if extra is not None:
        if not isinstance(extra, Mapping):
            raise InvalidRequestError(f"extra_body must be a mapping, not {kind_of(extra)}", param="extra_body")
        body.update(as_plain(extra, "extra_body"))
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unencodable(body, error) from error


def as_plain(value: Any, path: str) -> Any:
    """Return the value as JSON will hold it; raise InvalidRequestError that says where it can't."""
    if type(value) in _AS_THEY_ARE or (type(value) is dict and is_flat(value)):
        return value
    if isinstance(value, enum.Enum):
        return as_plain(value.value, path)
    # What derives from these, such as NumPy's float64, is what it derives from; msgspec takes the types themselves.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidRequestError(f"{path}: {value} is not a JSON number", param=_param(path))
        return float.__float__(value)
    if isinstance(value, msgspec.Raw):  # JSON already, such as a picture that was encoded off the loop
        return value
    try:
        if isinstance(value, dict | Mapping):
            return {
                # Where it is matters to an error alone.
                key if type(key) is str else text_key(key, path): item
                if type(item) in _AS_THEY_ARE
                else as_plain(item, f"{path}[{key!r}]")
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [as_plain(item, f"{path}[{at}]") for at, item in enumerate(value)]
        if hasattr(value, "to_dict"):  # the library's own structs
            return as_plain(value.to_dict(), path)
        if hasattr(value, "model_dump"):  # pydantic models, such as other packages' messages
            return as_plain(value.model_dump(exclude_none=True), path)
        if path in ("messages", "tools", "stop") and isinstance(value, Iterable) and not isinstance(value, bytes):
            return as_plain(list(value), path)
    except RecursionError as error:
        raise InvalidRequestError(f"{_param(path)} is nested too deep", param=_param(path)) from error
    raise InvalidRequestError(f"{path}: {kind_of(value)} can't be sent as JSON", param=_param(path))


def is_flat(value: dict[Any, Any]) -> bool:
    """Whether it holds text and plain values alone, and can be sent as it is."""
    return _AS_THEY_ARE.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value))


def text_key(key: Any, path: str) -> str:
    """Return a key as text; raise InvalidRequestError for one that is not."""
    if isinstance(key, str):
        return str.__str__(key)
    raise InvalidRequestError(f"{path}: the key {key!r} is not text", param=_param(path))


def _unencodable(body: Mapping[str, Any], error: Exception) -> InvalidRequestError:
    for name, value in body.items():
        try:
            msgspec.json.encode(value)
        except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError):
            return InvalidRequestError(f"{name} can't be sent as JSON: {error}", param=name)
    # The names are this module's own, but for those of extra_body.
    return InvalidRequestError(f"extra_body can't be sent as JSON: {error}", param="extra_body")


def _param(path: str) -> str:
    return path.partition("[")[0]


def kind_of(value: Any) -> str:
    """Name the kind of a value, for an error."""
    return f"a value of type {type(value).__name__}"
