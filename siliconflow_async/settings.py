"""A client's settings, checked before a byte is sent: key, base URL, proxy."""

from __future__ import annotations

import os
import re
import warnings
from base64 import b64encode
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from .errors import ConfigurationError
from .headers import UNSENDABLE, Secret

__all__ = [
    "Proxy",
    "find_key",
    "find_proxy",
    "masked",
    "other_site",
    "parse_base_url",
]

DEFAULT_BASE_URL = "https://api.siliconflow.cn/v1"
_ENDPOINT = "/chat/completions"
_SITES = {
    "api.siliconflow.cn": "https://api.siliconflow.com/v1",
    "api.siliconflow.com": "https://api.siliconflow.cn/v1",
}
# A password before the host, or what a query holds.
_SECRET_PART = re.compile(r"(?<=//)[^/]*(?=@)|(?<=\?).+", re.DOTALL)
_BEYOND_PATH = re.compile(r"[?#\s]")
_USER = re.compile(r"//[^/?#]*@")
_SCHEME = re.compile(r"\s*(?:authorization\s*:)?\s*(?:bearer(?:\s+|\Z))+", re.IGNORECASE)


class Proxy(NamedTuple):
    """A proxy's URL without its credentials, and the headers that carry them."""

    url: str
    headers: dict[str, str] | None


def masked(key: str | None) -> Secret | None:
    """Return a key that no repr shows; raise ConfigurationError if it is no text."""
    if key is None:
        return None
    if not isinstance(key, str):
        raise ConfigurationError(f"the API key must be text, not {type(key).__name__}")
    return Secret(key)


def find_key(given: str | None) -> Secret:
    """Return the key, from the argument or SILICONFLOW_API_KEY; raise ConfigurationError if there is no usable one.

    Pasted from an example of curl's, it loses what stands before it: `Authorization: Bearer `.
    """
    key = Secret(os.environ.get("SILICONFLOW_API_KEY", "") if given is None else given)
    if scheme := _SCHEME.match(key):
        key = Secret(key[scheme.end() :])
        if not key:
            raise ConfigurationError("the API key is the word Bearer, with no key after it")
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
    text = Secret(os.environ.get("SILICONFLOW_BASE_URL") or DEFAULT_BASE_URL) if given is None else given
    if isinstance(text, str) and _USER.search(text):
        raise ConfigurationError("base_url must not hold a user name or password")
    shown = repr(_SECRET_PART.sub("***", text) if isinstance(text, str) else text)
    # Before it is taken apart, since what a query holds is to be no local of any frame.
    if isinstance(text, str) and _BEYOND_PATH.search(text.strip()):
        raise ConfigurationError(f"base_url {shown} must end with its path: no query, fragment or spaces")
    try:
        url = urlsplit(text.strip())
        port_is_valid = url.port is None or url.port >= 0
    except (ValueError, AttributeError) as error:
        raise ConfigurationError(f"base_url {shown} is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.hostname or not port_is_valid:
        raise ConfigurationError(f"base_url {shown} must begin with https:// (or http://) and a host")
    if url.scheme == "http" and not _is_loopback(url.hostname):
        warnings.warn(f"base_url {shown} is plain http: the API key travels unencrypted", UserWarning, stacklevel=5)
    path = url.path.rstrip("/").removesuffix(_ENDPOINT).rstrip("/") or "/v1"
    return SplitResult(url.scheme, url.netloc, path, "", "").geturl()


def other_site(base_url: str) -> str | None:
    """Return the base URL of SiliconFlow's other site, which has keys of its own; None for any other service."""
    return _SITES.get(urlsplit(base_url).hostname or "")


def find_proxy(given: str | None, base_url: str, *, trust_env: bool) -> Proxy | None:
    """Return the proxy to use, from the argument or, with `trust_env`, the environment; None for none.

    That of the base URL's scheme, HTTPS_PROXY or HTTP_PROXY, goes before ALL_PROXY; NO_PROXY goes before both. Raises
    ConfigurationError for one that can't be used.
    """
    if given is not None or not trust_env:
        return None if given is None else _parse_proxy(given, "proxy")
    url = urlsplit(base_url)
    proxies = getproxies()
    for kind in (url.scheme, "all"):
        found = Secret(proxies.get(kind, ""))
        if found:
            del proxies  # its repr quotes
            bypassed = not url.hostname or proxy_bypass(url.hostname)
            return None if bypassed else _parse_proxy(found, _variable(kind))
    return None


def _variable(kind: str) -> str:
    """Return the name of the environment's variable that holds a proxy; lower case goes before upper."""
    name = f"{kind}_proxy"
    return name.upper() if name.upper() in os.environ and not os.environ.get(name) else name


def _parse_proxy(given: str, name: str) -> Proxy:
    if not isinstance(given, str):
        raise ConfigurationError(f"{name} must be a URL as text, not {type(given).__name__}")
    if UNSENDABLE.search(given):
        raise ConfigurationError(f"{name} has a character that can't be sent")
    # Positions instead of parts: no local holds the password.
    end = given.rfind("@") + 1
    start = given.find("//") + 2 if "//" in given else 0
    plain = given[:start] + given[max(start, end) :]
    try:
        url = urlsplit(plain)
        is_good = url.scheme in ("http", "https") and bool(url.hostname) and (url.port is None or url.port > 0)
    except ValueError:
        is_good = False
    if plain.lower().startswith("socks"):
        raise ConfigurationError(
            f"{name} is {plain!r}, but SOCKS is not supported: give an http:// (or https://) proxy"
            + ("" if name == "proxy" else ", or trust_env=False for none")
        )
    if not is_good:
        raise ConfigurationError(f"{name} {plain!r} must begin with http:// (or https://) and a host")
    if not end:
        return Proxy(plain, None)
    # aiohttp makes Proxy-Authorization of it, for a tunnel's CONNECT as for a request in plain http.
    user = b64encode(unquote(given[start : end - 1]).encode()).decode()
    return Proxy(plain, {"Authorization": Secret(f"Basic {user}")})


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
