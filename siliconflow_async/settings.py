"""A client's settings, checked before a byte is sent: key, base URL, proxy, headers."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

from .errors import ConfigurationError

__all__ = ["Secret", "check_headers", "check_keywords", "find_key", "find_proxy", "other_site", "parse_base_url"]

DEFAULT_BASE_URL = "https://api.siliconflow.cn/v1"
_ENDPOINT = "/chat/completions"
_SITES = {
    "api.siliconflow.cn": "https://api.siliconflow.com/v1",
    "api.siliconflow.com": "https://api.siliconflow.cn/v1",
}
_SECRET_NAME = re.compile(r"auth|key|token|cookie|secret", re.IGNORECASE)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Secret(str):
    """Text that no repr shows: logs and tracebacks print reprs, of our frames and of aiohttp's."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def find_key(given: str | None) -> Secret:
    """Return the key, from the argument or SILICONFLOW_API_KEY; raise ConfigurationError if there is no usable one."""
    key = Secret(os.environ.get("SILICONFLOW_API_KEY", "") if given is None else given)
    if not key.strip():
        raise ConfigurationError(
            "no API key: set the environment variable SILICONFLOW_API_KEY, or pass api_key=…"
            if not key
            else "the API key consists of spaces"
        )
    # The key itself is never quoted.
    if key != key.strip() or not key.isprintable() or not key.isascii():
        raise ConfigurationError("the API key has a space, line break or other odd character at its ends or within")
    return key


def parse_base_url(given: str | None) -> str:
    """Return the base URL without a trailing slash; raise ConfigurationError if requests can't go there.

    None means SILICONFLOW_BASE_URL, or else SiliconFlow's .cn site. `/v1` is added to an empty path, and a pasted
    `/chat/completions` is cut. Plain http to another machine warns: the key would travel in the clear.
    """
    text = os.environ.get("SILICONFLOW_BASE_URL") or DEFAULT_BASE_URL if given is None else given
    try:
        url = urlsplit(text.strip())
        port_is_valid = url.port is None or url.port >= 0
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(f"base_url {text!r} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_valid:
        raise ConfigurationError(f"base_url {text!r} must begin with https:// (or http://) and a host")
    if url.username is not None or url.password is not None:
        raise ConfigurationError("base_url must not hold a user name or password")
    if url.query or url.fragment or any(char.isspace() for char in url.geturl()):
        raise ConfigurationError(f"base_url {text!r} must end with its path: no query, fragment or spaces")
    if url.scheme == "http" and not _is_loopback(url.hostname):
        warnings.warn(f"base_url {text!r} is plain http: the API key travels unencrypted", UserWarning, stacklevel=4)
    path = url.path.rstrip("/").removesuffix(_ENDPOINT).rstrip("/") or "/v1"
    return SplitResult(url.scheme, url.netloc, path, "", "").geturl()


def other_site(base_url: str) -> str | None:
    """Return the base URL of SiliconFlow's other site, which has keys of its own; None for any other service."""
    return _SITES.get(urlsplit(base_url).hostname or "")


def find_proxy(given: str | None, base_url: str, *, trust_env: bool) -> str | None:
    """Return the proxy to use, from the argument or, with `trust_env`, the environment."""
    if given is not None or not trust_env:
        return given
    url = urlsplit(base_url)
    proxy = getproxies().get(url.scheme)
    return proxy if proxy and url.hostname and not proxy_bypass(url.hostname) else None


def check_headers(headers: Mapping[str, str | None] | None) -> dict[str, str]:
    """Return headers that can be sent, those of None left out; raise ConfigurationError for one that can't."""
    checked = {}
    for name, value in (headers or {}).items():
        if value is None:
            continue
        if not isinstance(name, str) or not _TOKEN.fullmatch(name):
            raise ConfigurationError(f"header name {name!r} can't be sent")
        if not isinstance(value, str) or any(char in value for char in "\r\n\0"):
            raise ConfigurationError(f"the value of header {name!r} can't be sent: it must be text in one line")
        checked[name] = Secret(value) if _SECRET_NAME.search(name) else value
    return checked


def check_keywords(given: Iterable[str], known: Iterable[str]) -> None:
    """Raise TypeError for a keyword that is not known, naming the nearest one that is."""
    names = set(known)
    for name in given:
        if name not in names:
            import difflib  # only a mistake needs it

            near = difflib.get_close_matches(name, sorted(names), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TypeError(f"unexpected keyword argument {name!r}{hint}")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
