"""The parameters of a chat request, once, and how they become the body that is sent.

Only what the caller set is sent, since the service's defaults change; None means not set. Values out of range go to
the service, which knows its models; what JSON can't hold is refused here, by name, before a byte is sent.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Required, TypeAlias, TypedDict

import msgspec

from .errors import InvalidRequestError
from .settings import check_keywords
from .timeouts import Timeouts
from .wire.structs import AssistantMessage

__all__ = [
    "CREATE_NAMES",
    "STREAM_NAMES",
    "ChatOptions",
    "ChatParams",
    "MessageParam",
    "build_body",
    "check_names",
    "listed_messages",
    "query_of",
]

MessageParam: TypeAlias = Mapping[str, Any] | AssistantMessage


class ChatOptions(TypedDict, total=False):
    """What may be asked for beside model and messages.

    Ranges, defaults and model families are those that SiliconFlow's chat page gave in 2026-11; where no default stands
    here, the page names none and the model has its own. What is not set is not sent.
    """

    # How much
    max_tokens: int | None  # at least 1; the ceiling is the model's; reasoning is not counted
    n: int | None  # at least 1; default 1
    stop: str | list[str] | None  # up to 4 texts, which the answer leaves out

    # Sampling
    temperature: float | None  # 0 … 2
    top_p: float | None  # 0 … 1
    top_k: int | None  # -1 (off), or 1 … 100
    min_p: float | None  # 0 … 1; Qwen3 only
    frequency_penalty: float | None  # -2 … 2
    # Used, but not in the page; some models leave them unheeded
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[str, float] | None
    seed: int | None

    # Thinking
    enable_thinking: bool | None  # hybrid models, which think by default; others refuse it with 400, code 20015
    thinking_budget: int | None  # 128 … 32768 tokens of reasoning; reasoning models
    # DeepSeek-V4 family, GLM-5.2; "high" (default) or "max"; low and medium are taken for high, xhigh for max
    reasoning_effort: str | None

    # Tools
    tools: Iterable[Mapping[str, Any] | Callable[..., Any]] | None  # up to 128: functions, or the service's own form
    tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | Callable[..., Any] | None
    parallel_tool_calls: bool | None

    # Form of the answer
    logprobs: bool | None
    top_logprobs: int | None
    stream_options: Mapping[str, Any] | None
    prefix: str | None  # continue this text, which the answer does not repeat
    suffix: str | None  # with prefix: fill in what is between

    # Not sent in the body
    resume: int | None  # streams of text: how often to ask for the rest where one breaks off; default 0
    split_think: bool | None  # default False; True: a `<think>` block that opens the content becomes reasoning
    timeout: float | Timeouts | None  # seconds for the whole call, or the limits of all five clocks
    extra_headers: Mapping[str, str | None] | None
    extra_query: Mapping[str, str | int | float | bool] | None
    extra_body: Mapping[str, Any] | None  # merged into the body last: for what this list doesn't know


class ChatParams(ChatOptions, total=False):
    """Keywords of `create`, `stream` and their kin."""

    # What to answer, and with what
    model: Required[str]  # "org/name"; "Pro/…" is the paid copy of a free model
    messages: Required[Iterable[MessageParam]]  # role system, user, assistant or tool; the answers' own messages too


# What may be given to `stream` and, beside `stream=`, to `create`.
STREAM_NAMES = frozenset({*ChatParams.__annotations__, "response_format"})
CREATE_NAMES = STREAM_NAMES | {"stream"}
_REQUIRED = ("model", "messages")
_AS_THEY_ARE = frozenset({str, int, bool, type(None)})
_TEXT = frozenset({str})
_NOT_IN_BODY = frozenset({"resume", "split_think", "timeout", "extra_headers", "extra_query", "extra_body"})


def check_names(params: Mapping[str, Any], known: frozenset[str] = STREAM_NAMES) -> None:
    """Raise TypeError for a keyword that is no parameter, naming the nearest one, or for a required one left out."""
    check_keywords(params, known)
    for name in _REQUIRED:
        if name not in params:
            raise TypeError(f"missing required keyword argument: {name!r}")


def build_body(params: Mapping[str, Any], *, stream: bool, response_format: Any = None) -> bytes:
    """Return the JSON body; raise InvalidRequestError that names a parameter which can't be sent."""
    body: dict[str, Any] = {}
    for name, value in params.items():
        if value is not None and name not in _NOT_IN_BODY:
            body[name] = _messages(value) if name == "messages" else _plain(value, name)
        elif name in _REQUIRED:
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
    """Return messages as a list; raise InvalidRequestError if they are none."""
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
