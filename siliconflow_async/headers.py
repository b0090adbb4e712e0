"""Headers that can be sent, and secrets: text that no repr shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import ConfigurationError

__all__ = ["UNSENDABLE", "Secret", "check_headers", "conceal", "concealed", "replace_headers"]

UNSENDABLE = re.compile("[\r\n\0\ud800-\udfff]")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SECRET_NAME = re.compile(
    r"auth|key|token|cookie|secret|passw|passphrase|passcode|pwd|credential|session|signature|bearer|jwt"
    r"|(?<![a-z])(pass|sig)(?![a-z])",
    re.IGNORECASE,
)
_TELLING = frozenset({"headers", "default_headers", "extra_headers", "base_url", "proxy"})


class Secret(str):
    """Text that no repr shows: logs and tracebacks print reprs, of our frames and of aiohttp's."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def conceal(keywords: dict[str, Any]) -> None:
    """Mask in place what may hold a key or password, so that it shows in no local of a frame from here on."""
    for name in _TELLING & keywords.keys():
        given = keywords[name]
        if isinstance(given, Mapping):
            keywords[name] = {key: concealed(key, value) for key, value in given.items()}
        elif isinstance(given, str):
            keywords[name] = Secret(given)


def concealed(name: object, value: Any) -> Any:
    """Return a header's value, as a Secret if its name tells of one."""
    is_secret = not isinstance(name, str) or _SECRET_NAME.search(name)
    return Secret(value) if is_secret and isinstance(value, str) else value


def check_headers(headers: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return headers that can be sent, those of None left out; raise ConfigurationError for one that can't."""
    checked: dict[str, str] = {}
    if headers is None:
        return checked
    if not isinstance(headers, Mapping):
        raise ConfigurationError(f"headers must be a mapping of names to values, not a {type(headers).__name__}")
    for name, value in headers.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"header name {name!r} can't be sent")
        if value is None:
            continue
        if not isinstance(value, str) or UNSENDABLE.search(value):
            raise ConfigurationError(f"the value of header {name!r} can't be sent: it must be text in one line")
        checked[name] = concealed(name, value)
    return checked


def replace_headers(headers: Mapping[str, str], given: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return headers with those given in place of the ones of the same name in any case, those of None left out."""
    checked = check_headers(given)
    names = {name.lower() for name in given or ()}
    return {name: value for name, value in headers.items() if name.lower() not in names} | checked
