"""How parameters become the body that is sent, and the query.

Only what the caller set is sent, since the service's defaults change; None means not set. Values out of range go to
the service, which knows its models; what JSON can't hold is refused here, by name, before a byte is sent.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ..checks import MAPPINGS
from ..errors import InvalidRequestError
from ..wire.structs import AssistantMessage
from .params import REQUIRED

__all__ = ["build_body", "listed_messages", "query_of"]

_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})
_NOT_IN_BODY = frozenset({"resume", "split_think", "timeout", "extra_headers", "extra_query", "extra_body"})


def build_body(params: Mapping[str, Any], *, stream: bool, response_format: Any = None) -> bytes:
    """Return the JSON body; raise InvalidRequestError that names a parameter which can't be sent."""
    body: dict[str, Any] = {}
    for name, value in params.items():
        if value is not None and name not in _NOT_IN_BODY:
            if name == "messages":
                value = _messages(value)
            elif name == "logit_bias":
                value = _plain(_by_text(value), name)
            else:
                value = _plain(value, name)
            body[name] = value
        elif name in REQUIRED:
            raise InvalidRequestError(f"{name} must not be None", param=name)
    if response_format is not None:
        body["response_format"] = _plain(response_format, "response_format")
    if stream:
        body["stream"] = True
    extra = params.get("extra_body")
    if extra is not None:
        if not isinstance(extra, Mapping):
            raise InvalidRequestError(f"extra_body must be a mapping, not {_kind(extra)}", param="extra_body")
        body.update(_plain(extra, "extra_body"))
    try:
        return msgspec.json.encode(body)
    except (UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise _unencodable(body, error) from error


def query_of(extra_query: Mapping[str, Any] | None) -> dict[str, str]:
    """Return query parameters as text; raise InvalidRequestError for one that can't be sent."""
    query: dict[str, str] = {}
    if extra_query is None:
        return query
    if not isinstance(extra_query, Mapping):
        raise InvalidRequestError(f"extra_query must be a mapping, not {_kind(extra_query)}", param="extra_query")
    for name, value in extra_query.items():
        if not isinstance(value, str | int | float):
            raise InvalidRequestError(f"extra_query[{name!r}]: {_kind(value)} can't be sent", param="extra_query")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            f"{_key(name, 'extra_query')}={text}".encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"extra_query[{name!r}] can't be sent: {error}", param="extra_query") from error
        query[name] = text
    return query


def listed_messages(value: Any) -> list[Any]:
    """Return messages as a list; raise InvalidRequestError for what is not a list of messages."""
    if type(value) is not list and (isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable)):
        raise InvalidRequestError(f"messages must be a list of messages, not {_kind(value)}", param="messages")
    return list(value)


def _messages(value: Any) -> list[Any]:
    return [
        # Most go as they are.
        item
        if type(item) is dict and _is_flat(item) and item.get("content") is not None
        else _message(item, f"messages[{at}]")
        for at, item in enumerate(listed_messages(value))
    ]


def _message(value: Any, path: str) -> dict[str, Any]:
    if isinstance(value, AssistantMessage):
        message = value.to_dict()
        if not value.tool_calls:
            # Thinking models want their reasoning back on tool turns alone.
            message.pop("reasoning_content", None)
    else:
        message = _plain(value, path)
        if not isinstance(message, dict):
            raise InvalidRequestError(f"{path}: a message must be a mapping, not {_kind(value)}", param="messages")
    if message.get("content") is None and message.get("role") == "assistant":
        # Some models refuse null, or no content at all, on a turn that calls tools.
        message = {**message, "content": ""}
    return message


def _plain(value: Any, path: str) -> Any:
    """Return the value as JSON will hold it; raise InvalidRequestError that says where it can't."""
    if type(value) in _AS_THEY_ARE or (type(value) is dict and _is_flat(value)):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, path)
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
                key if type(key) is str else _key(key, path): item
                if type(item) in _AS_THEY_ARE
                else _plain(item, f"{path}[{key!r}]")
                for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [_plain(item, f"{path}[{at}]") for at, item in enumerate(value)]
        if hasattr(value, "to_dict"):  # the library's own structs
            return _plain(value.to_dict(), path)
        if hasattr(value, "model_dump"):  # pydantic models, such as other packages' messages
            return _plain(value.model_dump(exclude_none=True), path)
        if path in ("messages", "tools", "stop") and isinstance(value, Iterable) and not isinstance(value, bytes):
            return _plain(list(value), path)
    except RecursionError as error:
        raise InvalidRequestError(f"{_param(path)} is nested too deep", param=_param(path)) from error
    raise InvalidRequestError(f"{path}: {_kind(value)} can't be sent as JSON", param=_param(path))


def _by_text(biases: Any) -> Any:
    """Return a `logit_bias` with its token ids as text, which is all that JSON takes for keys."""
    if not isinstance(biases, MAPPINGS):
        return biases
    found: dict[str, Any] = {}
    for key, bias in biases.items():
        if isinstance(key, bool) or not isinstance(key, int | str):
            why = f"the key {key!r} is no token id: an integer, or its digits as text"
            raise InvalidRequestError(f"logit_bias: {why}", param="logit_bias")
        token = str.__str__(key) if isinstance(key, str) else str(int(key))
        if token in found:
            raise InvalidRequestError(f"logit_bias: the token id {token} is there twice", param="logit_bias")
        found[token] = bias
    return found


def _is_flat(value: dict[Any, Any]) -> bool:
    """Whether it holds text and plain values alone, and can be sent as it is."""
    return _AS_THEY_ARE.issuperset(map(type, value.values())) and _TEXT.issuperset(map(type, value))


def _key(key: Any, path: str) -> str:
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


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
