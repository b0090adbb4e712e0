"""JSON as servers really send it: the slow, forgiving parser behind the fast decoders.

`parse(data)` returns plain Python values and raises only `ValueError`. Beyond RFC 8259 it takes what has been seen on
compatible servers: bad UTF-8 and lone surrogates (replaced by U+FFFD), NaN and Infinity among log probabilities.
`encode(value)` is the way back and never raises.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["encode", "parse", "parse_each", "without_none"]

_TOO_DEEP = "JSON is nested too deep"
_LEVELS = 16
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse(data: bytes | msgspec.Raw) -> Any:
    """Parse one JSON text; raise ValueError if it is none."""
    try:
        return msgspec.json.decode(data)
    except (UnicodeDecodeError, msgspec.DecodeError):
        pass  # the standard library's parser is more forgiving, and decides
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    try:
        return _cleaned(json.loads(_text(data), object_pairs_hook=_object))
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    except json.JSONDecodeError as error:
        why = str(error)
    # Not the parser's own error, which holds all that was parsed.
    raise ValueError(why)


def parse_each(data: bytes) -> Iterator[tuple[Any, bytes]]:
    """Yield (value, its bytes) for JSON texts that follow one another, with or without white space between.

    Raises ValueError at the first that is none; one that the end of the data cuts short is dropped.
    """
    try:
        value = parse(data)
    except ValueError:
        pass  # several texts, then
    else:
        yield value, data
        return
    # Bytes that are no UTF-8 get through, so that each text's own bytes can be had back.
    text = data.decode("utf-8", "surrogateescape")
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    at = len(text) - len(text.lstrip())
    while at < len(text):
        start = at
        try:
            value, at = decoder.raw_decode(text, start)
            value = _cleaned(value)
        except RecursionError as error:
            raise ValueError(_TOO_DEEP) from error
        except ValueError:
            if _is_cut_short(text[start:]):
                return
            raise
        yield value, text[start:at].encode("utf-8", "surrogateescape")
        while at < len(text) and text[at].isspace():
            at += 1


def encode(value: Any) -> msgspec.Raw:
    """Return a parsed value as JSON again; empty if it is nested too deep for that."""
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except RecursionError:
        return msgspec.Raw()


def without_none(value: Any, levels: int = _LEVELS) -> Any:
    """Return a parsed value as any encoder can write it: without keys that are null.

    Null too is what no JSON has (NaN, Infinity), and what is nested so deep that encoding it might fail.
    """
    if isinstance(value, dict) and levels:
        items = ((key, without_none(item, levels - 1)) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, list) and levels:
        return [without_none(item, levels - 1) for item in value]
    if isinstance(value, dict | list) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value


def _is_cut_short(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError) as error:
        return "truncated" in str(error)
    return False


def _text(data: bytes | msgspec.Raw) -> str:
    return bytes(data).decode("utf-8", "replace")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {_cleaned(key): _cleaned(value) for key, value in pairs}


def _cleaned(value: Any) -> Any:
    # Lone surrogates can't be encoded again; they reach us where a server cuts an escaped emoji in two.
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, list):
        return [_cleaned(item) for item in value]
    return value
