"""JSON as servers really send it: the slow, forgiving parser behind the fast decoders.

`parse(data)` returns plain Python values and raises only `ValueError`. Beyond RFC 8259 it takes what has been seen on
compatible servers: bad UTF-8 and lone surrogates (replaced by U+FFFD), NaN and Infinity among log probabilities.
`encode(value)` is the way back and never raises.

What would take many times its size is not parsed (`weight`). `telling(data)` reads no more of it than an error has.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from .weight import SMALL, TooHeavyError, check_weight

__all__ = ["encode", "parse", "parse_each", "telling", "without_none"]

_TOO_DEEP = "JSON is nested too deep"
# How much is shown of an error that is too heavy to parse.
_TOLD = 64 * 1024
_LEVELS = 16
_CHANGING = (dict, list, float)
_NOTHING = msgspec.Raw()
_RAW = msgspec.json.Decoder(msgspec.Raw)
_BOUNDARY = json.JSONDecoder()


class _Telling(msgspec.Struct, gc=False):
    """The members that make an error, and the one that makes it none."""

    error: msgspec.Raw = _NOTHING
    code: msgspec.Raw = _NOTHING
    message: msgspec.Raw = _NOTHING
    detail: msgspec.Raw = _NOTHING
    msg: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    choices: msgspec.Raw = _NOTHING


_TELLING = msgspec.json.Decoder(_Telling)


def parse(data: bytes | msgspec.Raw) -> Any:
    """Parse one JSON text; raise ValueError if it is not valid, or would take far more memory than its size."""
    if len(data) > SMALL:
        check_weight(data)
    try:
        return msgspec.json.decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError):
        pass  # the standard library's parser is more forgiving, and decides
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    try:
        return _cleaned(json.loads(bytes(data).decode("utf-8", "replace"), object_pairs_hook=_object))
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        why = str(error)
    # Not the parser's own error, which holds all that was parsed.
    raise ValueError(why)


def telling(data: bytes) -> dict[str, Any]:
    """Return the members of an object that make it an error, and its choices, without parsing any others.

    A large member is given as the start of its JSON. Empty where the text is no object.
    """
    try:
        told = _TELLING.decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return {}
    found = {}
    for name in told.__struct_fields__:
        raw = bytes(getattr(told, name))
        if raw:
            found[name] = parse(raw) if len(raw) <= _TOLD else raw[:_TOLD].decode("utf-8", "replace")
    return found


def parse_each(data: bytes) -> Iterator[tuple[Any, bytes]]:
    """Yield (value, its bytes) for JSON texts that follow one another, with or without white space between.

    Raises ValueError at the first that is not valid; one that the end of the data cuts short is dropped.
    """
    try:
        value = parse(data)
    except TooHeavyError:
        # Several together may be too heavy, where each alone is not.
        if not _fault(data):
            raise
    except ValueError:
        pass  # several texts, then
    else:
        yield value, data
        return
    at, size = 0, SMALL
    while at < len(data):
        # Piece by piece, or the whole would be held as text as well; a longer one for a text that is longer.
        piece = data[at : at + size]
        check_weight(piece)
        # Bytes that are no UTF-8 get through, so that each text's own bytes can be had back.
        text = piece.decode("utf-8", "surrogateescape")
        taken, why = 0, ""
        while taken < len(text):
            start = taken
            while start < len(text) and text[start].isspace():
                start += 1
            try:
                end = _BOUNDARY.raw_decode(text, start)[1] if start < len(text) else start
            except RecursionError as error:
                raise ValueError(_TOO_DEEP) from error
            except ValueError as error:
                why = str(error)
                break
            at += len(text[taken:end].encode("utf-8", "surrogateescape"))
            taken = end
            if raw := text[start:end].encode("utf-8", "surrogateescape"):
                yield parse(raw), raw
        if taken:
            size = SMALL
        elif at + size < len(data):
            size *= 2
        elif "truncated" in _fault(piece):
            return
        else:
            raise ValueError(why)


def encode(value: Any) -> msgspec.Raw:
    """Return a parsed value as JSON again; empty if it is nested too deep for that."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except RecursionError:
        return msgspec.Raw()


def without_none(value: Any, levels: int = _LEVELS) -> Any:
    """Make a parsed value, in place, one that any encoder can write, and return it: without keys that are null.

    What JSON does not have (NaN, Infinity), or what is nested too deep to be encoded for sure, counts as null.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict | list) and not levels:
        return None
    if isinstance(value, dict):
        for key, item in list(value.items()):
            value[key] = item = without_none(item, levels - 1)
            if item is None:
                del value[key]
    elif isinstance(value, list):
        for at, item in enumerate(value):
            if item.__class__ in _CHANGING:
                value[at] = without_none(item, levels - 1)
    return value


def _fault(data: bytes) -> str:
    """Return why the data is no JSON text; empty if it is one."""
    try:
        _RAW.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return str(error)
    return ""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_cleaned(key): _cleaned(value) for key, value in pairs}


def _cleaned(value: Any) -> Any:
    # Lone surrogates can't be encoded again; they reach us where a server cuts an escaped emoji in two.
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
