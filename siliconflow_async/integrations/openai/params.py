"""What is asked in openai's words, in this library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import openai

from ...headers import concealed
from ...request.params import CREATE_NAMES
from ...timeouts import Timeouts

__all__ = ["UNSET", "asked", "given_only", "headers_of", "raw_kind", "timeouts_of"]

# What openai calls not given.
UNSET = (openai.Omit, openai.NotGiven)
# By which openai's `with_raw_response` ("true") and `with_streaming_response` ("stream") tell `create` what they want.
_RAW = "x-stainless-raw-response"


def given_only(params: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what openai calls not given."""
    return {name: value for name, value in params.items() if not isinstance(value, UNSET)}


def headers_of(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return headers as this library takes them: what openai omits is None; openai's notes to itself are left out."""
    return {
        name: None if isinstance(value, UNSET) else concealed(name, value)
        for name, value in (headers or {}).items()
        if not name.lower().startswith("x-stainless-")
    }


def raw_kind(headers: Mapping[str, Any] | None) -> str | None:
    """Return "true" or "stream" where a raw response is wanted."""
    for name, value in (headers or {}).items():
        if name.lower() == _RAW:
            return str(value)
    return None


def asked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords of `chat.completions.create` as AsyncSiliconFlow takes them.

    What it has no keyword for goes into the body as it is; `max_completion_tokens` is `max_tokens` by another name.
    """
    params: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for name, value in given.items():
        if name in CREATE_NAMES:
            params[name] = value
        elif value is not None:
            others[name] = value
    most = others.pop("max_completion_tokens", None)
    if params.get("max_tokens") is None:
        params["max_tokens"] = most
    if others:
        params["extra_body"] = {**others, **(params.get("extra_body") or {})}
    return params


def timeouts_of(timeout: Any, base: Timeouts, *, streaming: bool) -> Timeouts:
    """Read openai's `timeout`: seconds, an httpx.Timeout, or one of ours; None stands for `base`.

    Their limits are of one attempt's parts: making the connection, and each silence. A whole answer is one silence.
    """
    if timeout is None or isinstance(timeout, Timeouts):
        return timeout or base
    if hasattr(timeout, "as_dict"):
        timeout = timeout.as_dict()
    parts = timeout if isinstance(timeout, Mapping) else dict.fromkeys(("pool", "connect", "read"), timeout)
    silence = parts["read"]
    return msgspec.structs.replace(
        base,
        pool=parts["pool"],
        connect=parts["connect"],
        first_token=silence,
        idle=silence,
        total=base.total if streaming else silence,
    )
