"""How parameters become the body that is sent, and the query.

Only what the caller set is sent, since the service's defaults change; None means not set. Values out of range go to
the service, which knows its models; what JSON can't hold is refused here (see `plain`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..checks import MAPPINGS
from ..errors import InvalidRequestError
from ..wire.structs import AssistantMessage
from .params import REQUIRED
from .plain import as_plain, encode_body, is_flat, kind_of, text_key

__all__ = ["biases_by_text", "build_body", "listed_messages", "query_of"]

_NOT_IN_BODY = frozenset({"resume", "split_think", "timeout", "extra_headers", "extra_query", "extra_body"})


def build_body(params: Mapping[str, Any], *, stream: bool, response_format: Any = None) -> bytes:
    """Return the JSON body; raise InvalidRequestError that names a parameter which can't be sent."""
    body: dict[str, Any] = {}
    for name, value in params.items():
        if value is not None and name not in _NOT_IN_BODY:
            if name == "messages":
                value = _messages(value)
            elif name == "logit_bias":
                value = as_plain(biases_by_text(value), name)
            else:
                value = as_plain(value, name)
            body[name] = value
        elif name in REQUIRED:
            raise InvalidRequestError(f"{name} must not be None", param=name)
    if response_format is not None:
        body["response_format"] = as_plain(response_format, "response_format")
    if stream:
        body["stream"] = True
    return encode_body(body, params.get("extra_body"))


def query_of(extra_query: Mapping[str, Any] | None) -> dict[str, str]:
    """Return query parameters as text; raise InvalidRequestError for one that can't be sent."""
    query: dict[str, str] = {}
    if extra_query is None:
        return query
    if not isinstance(extra_query, Mapping):
        raise InvalidRequestError(f"extra_query must be a mapping, not {kind_of(extra_query)}", param="extra_query")
    for name, value in extra_query.items():
        if not isinstance(value, str | int | float):
            raise InvalidRequestError(f"extra_query[{name!r}]: {kind_of(value)} can't be sent", param="extra_query")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        try:
            f"{text_key(name, 'extra_query')}={text}".encode()
        except UnicodeEncodeError as error:
            raise InvalidRequestError(f"extra_query[{name!r}] can't be sent: {error}", param="extra_query") from error
        query[name] = text
    return query


def listed_messages(value: Any) -> list[Any]:
    """Return messages as a list; raise InvalidRequestError for what is not a list of messages."""
    if type(value) is not list and (isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable)):
        raise InvalidRequestError(f"messages must be a list of messages, not {kind_of(value)}", param="messages")
    return list(value)


def _messages(value: Any) -> list[Any]:
    return [
        # Most go as they are.
        item
        if type(item) is dict and is_flat(item) and item.get("content") is not None
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
        message = as_plain(value, path)
        if not isinstance(message, dict):
            raise InvalidRequestError(f"{path}: a message must be a mapping, not {kind_of(value)}", param="messages")
    if message.get("content") is None and message.get("role") == "assistant":
        # Some models refuse null, or no content at all, on a turn that calls tools.
        message = {**message, "content": ""}
    return message


def biases_by_text(biases: Any) -> Any:
    """Return a `logit_bias` with its token ids as text, which is all that JSON takes for keys.

    Raises InvalidRequestError for a key that is no token id.
    """
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
