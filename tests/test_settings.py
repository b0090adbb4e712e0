"""A client's settings by themselves: key, base URL, proxy, headers."""

from __future__ import annotations

import logging
import traceback
from typing import Any

import pytest

from siliconflow_async import ConfigurationError
from siliconflow_async.headers import Secret, check_headers, replace_headers
from siliconflow_async.settings import (
    find_key,
    find_proxy,
    masked,
    other_site,
    parse_base_url,
)


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("SILICONFLOW_API_KEY", "SILICONFLOW_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (None, "https://api.siliconflow.cn/v1"),
        ("https://api.siliconflow.cn", "https://api.siliconflow.cn/v1"),
        ("https://api.siliconflow.cn/", "https://api.siliconflow.cn/v1"),
        ("https://api.siliconflow.com/v1", "https://api.siliconflow.com/v1"),
        ("https://api.siliconflow.com/v1/", "https://api.siliconflow.com/v1"),
        ("https://api.siliconflow.com/v1//", "https://api.siliconflow.com/v1"),
        ("https://api.siliconflow.cn/v1/chat/completions", "https://api.siliconflow.cn/v1"),
        ("https://api.siliconflow.cn/v1/chat/completions/", "https://api.siliconflow.cn/v1"),
        ("https://api.siliconflow.cn/chat/completions", "https://api.siliconflow.cn/v1"),
        ("https://relay.example.com/api/silicon", "https://relay.example.com/api/silicon"),
        ("  https://api.siliconflow.cn/v1\n", "https://api.siliconflow.cn/v1"),
        ("HTTPS://api.siliconflow.cn/v1", "https://api.siliconflow.cn/v1"),
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http://[::1]:8000", "http://[::1]:8000/v1"),
    ],
)
def test_a_base_url_may_be_pasted_in_any_of_its_forms(given: str | None, parsed: str) -> None:
    """`/v1` goes onto an empty path, the endpoint and trailing slashes go."""
    assert parse_base_url(given) == parsed


def test_the_environment_names_the_base_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """SILICONFLOW_BASE_URL counts where no argument does; empty, it counts as not set."""
    monkeypatch.setenv("SILICONFLOW_BASE_URL", "https://api.siliconflow.com/")
    assert parse_base_url(None) == "https://api.siliconflow.com/v1"
    assert parse_base_url("https://example.com") == "https://example.com/v1"
    monkeypatch.setenv("SILICONFLOW_BASE_URL", "")
    assert parse_base_url(None) == "https://api.siliconflow.cn/v1"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "api.siliconflow.cn/v1",
        "localhost:8000",
        "//api.siliconflow.cn",
        "https://",
        "https:///v1",
        "ftp://api.siliconflow.cn",
        "https://api.siliconflow.cn:port",
        "https://api.siliconflow.cn:99999",
        "https://[::1",
        "https://api.siliconflow.cn/v1?a=b",
        "https://api.siliconflow.cn/v1#a",
        "https://api.siliconflow.cn/v 1",
        "https://api.siliconflow.cn/v1\r\nX:y",
        "https://user:word@api.siliconflow.cn",
        b"https://api.siliconflow.cn",
        5,
    ],
)
def test_a_base_url_that_can_not_serve_is_refused(given: Any) -> None:
    """No scheme, no host, or more than a path after it."""
    with pytest.raises(ConfigurationError, match="base_url"):
        parse_base_url(given)


@pytest.mark.parametrize("given", ["ftp://me:hush@host", "https://me:hush@host:99999", "https://host/v1?key=hush"])
def test_a_refused_base_url_is_quoted_without_its_secrets(given: str) -> None:
    """Passwords and queries stay out of the message."""
    with pytest.raises(ConfigurationError) as caught:
        parse_base_url(given)
    assert "hush" not in "".join(traceback.format_exception_only(caught.value))


def test_plain_http_to_another_machine_warns() -> None:
    """The key would travel in the clear; loopback is fine."""
    with pytest.warns(UserWarning, match="unencrypted"):
        assert parse_base_url("http://192.0.2.1") == "http://192.0.2.1/v1"


def test_siliconflows_sites_know_each_other() -> None:
    """The other site is named only where the base is one of the two."""
    assert other_site("https://api.siliconflow.cn/v1") == "https://api.siliconflow.com/v1"
    assert other_site("https://api.siliconflow.com/v1") == "https://api.siliconflow.cn/v1"
    assert other_site("https://example.com/v1") is None


def test_the_key_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """SILICONFLOW_API_KEY counts where no argument does."""
    monkeypatch.setenv("SILICONFLOW_API_KEY", "from-environment")
    assert find_key(None) == "from-environment"
    assert find_key("given") == "given"


@pytest.mark.parametrize(
    "given",
    [
        "Bearer sk-1",
        "bearer sk-1",
        " BEARER\t sk-1",
        "Bearer Bearer sk-1",
        "Authorization: Bearer sk-1",
        "\nBearer\nsk-1",
    ],
)
def test_a_key_pasted_with_its_scheme_is_taken_without(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As examples of curl's have it; from the environment too."""
    assert find_key(given) == "sk-1"
    assert "sk-1" not in repr(find_key(given))
    monkeypatch.setenv("SILICONFLOW_API_KEY", given)
    assert find_key(None) == "sk-1"


def test_a_key_may_begin_as_the_scheme_does() -> None:
    """The word alone is meant, with a space after it."""
    assert find_key("bearer-1") == "bearer-1"
    assert find_key("BearerOfNews") == "BearerOfNews"


@pytest.mark.parametrize("given", ["Bearer", "bearer ", "Authorization: Bearer"])
def test_a_scheme_without_a_key_is_refused(given: str) -> None:
    """It is named, as no key of anybody's."""
    with pytest.raises(ConfigurationError, match="the word Bearer"):
        find_key(given)


@pytest.mark.parametrize("given", [None, "", " ", "\t\n"])
def test_no_key_says_what_to_do(given: str | None) -> None:
    """A key of spaces is none."""
    with pytest.raises(ConfigurationError, match=r"SILICONFLOW_API_KEY|spaces"):
        find_key(given)


@pytest.mark.parametrize(
    "given", ["hush\n", " hush", "Bearer hush ", "hu\r\nsh", "hush\0", "hüsh", "hush\u2028", "\ufeffhush"]
)
def test_a_key_that_can_not_be_sent_is_refused_unquoted(given: str) -> None:
    """Line breaks, control characters, what is no ASCII; the message does not repeat them."""
    with pytest.raises(ConfigurationError) as caught:
        find_key(given)
    assert "sh" not in str(caught.value).replace("should", "")


@pytest.mark.parametrize("given", [b"hush", 5, ["hush"]])
def test_a_key_that_is_no_text_is_refused_unquoted(given: Any) -> None:
    """It is not taken for no key at all."""
    with pytest.raises(ConfigurationError, match="must be text") as caught:
        masked(given)
    assert "hush" not in str(caught.value)


def test_a_secret_shows_in_no_repr_and_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """It is still the text that it is."""
    secret = Secret("hush")
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("any").debug("%r %s", {"a": secret}, [secret])
    assert "hush" not in f"{secret!r} {caplog.text}"
    assert secret == "hush"
    assert secret.encode() == b"hush"


@pytest.mark.parametrize(
    "headers",
    [
        {"A": "b\r\nC: d"},
        {"A": "b\nc"},
        {"A": "b\0"},
        {"A\r\n": "b"},
        {"A:": "b"},
        {"": "b"},
        {"Ä": "b"},
        {"A": 5},
        {5: "a"},
    ],
)
def test_an_odd_header_is_refused(headers: Any) -> None:
    """Names are tokens, values one line of text."""
    with pytest.raises(ConfigurationError, match="header"):
        check_headers(headers)


def test_headers_that_hold_secrets_are_masked() -> None:
    """By their names; what is None is left out."""
    checked = check_headers({"Authorization": "hush", "X-Api-Key": "hush", "X-Trace-Id": "1", "X-None": None})
    assert checked == {"Authorization": "hush", "X-Api-Key": "hush", "X-Trace-Id": "1"}
    assert "hush" not in repr(checked)


@pytest.mark.parametrize(
    "name",
    [
        *("My-Password", "X-Passwd", "x_pass", "X-PWD", "X-Passphrase", "X-Passcode", "X-AWS-Credentials"),
        *("X-Session-Id", "X-Hub-Signature-256", "X-Sig", "X-JWT", "X-Bearer", "Cookie", "Proxy-Authorization"),
    ],
)
def test_a_header_is_secret_by_its_name(name: str) -> None:
    """Whatever is commonly said of passwords, keys and signed things."""
    assert "hush" not in repr(check_headers({name: "hush"}))


@pytest.mark.parametrize("name", ["X-Team", "X-Bypass", "X-Compass", "X-Design", "X-Trace-Id", "User-Agent", "Accept"])
def test_a_header_is_shown_by_its_name(name: str) -> None:
    """What only contains a short word is none."""
    assert "shown" in repr(check_headers({name: "shown"}))


def test_headers_replace_those_of_the_same_name() -> None:
    """In any case of letters; None leaves one out."""
    headers = {"User-Agent": "us", "Accept": "x", "X-Old": "1"}
    assert replace_headers(headers, {"user-agent": "me", "ACCEPT": None, "X-New": "2"}) == {
        "X-Old": "1",
        "user-agent": "me",
        "X-New": "2",
    }
    assert replace_headers(headers, None) == headers


def test_a_proxy_comes_from_the_argument_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment counts with `trust_env` alone, by scheme, and not for what NO_PROXY names."""
    monkeypatch.setenv("https_proxy", "http://proxy:1")
    monkeypatch.setenv("no_proxy", "inside.example.com")
    assert find_proxy(None, "https://example.com/v1", trust_env=True) == ("http://proxy:1", None)
    assert find_proxy(None, "https://inside.example.com/v1", trust_env=True) is None
    assert find_proxy(None, "http://example.com/v1", trust_env=True) is None
    assert find_proxy(None, "https://example.com/v1", trust_env=False) is None
    assert find_proxy("http://mine:1", "https://inside.example.com/v1", trust_env=False) == ("http://mine:1", None)


def test_all_proxy_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves either scheme, also where the variable of the scheme is there and empty."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("ALL_PROXY", "http://me:pass@all:1")
    monkeypatch.setenv("HTTP_PROXY", "")
    for scheme in ("http", "https"):
        found = find_proxy(None, f"{scheme}://example.com/v1", trust_env=True)
        assert found is not None
        assert found.url == "http://all:1"
    monkeypatch.setenv("all_proxy", "https://lower:2")
    monkeypatch.setenv("HTTP_PROXY", "http://other:3")
    monkeypatch.setenv("NO_PROXY", "inside.example.com")
    assert find_proxy(None, "https://example.com/v1", trust_env=True) == ("https://lower:2", None)
    assert find_proxy(None, "http://example.com/v1", trust_env=True) == ("http://other:3", None)
    assert find_proxy(None, "https://inside.example.com/v1", trust_env=True) is None
    monkeypatch.setenv("all_proxy", "mine:1")
    with pytest.raises(ConfigurationError, match="all_proxy 'mine:1' must begin with http://"):
        find_proxy(None, "https://example.com/v1", trust_env=True)


@pytest.mark.parametrize("proxy", ["mine:1", "socks5://mine:1", "http://", "http://mine:port", "http://mine:0", 3])
def test_a_proxy_that_can_not_be_used_is_named(proxy: Any) -> None:
    """Before a byte is sent."""
    with pytest.raises(ConfigurationError, match="proxy"):
        find_proxy(proxy, "https://example.com/v1", trust_env=False)


def test_a_proxys_credentials_are_split_off() -> None:
    """They go into a header, percent signs undone, and out of the URL."""
    found = find_proxy("http://me:p%40ss@mine:1/", "https://example.com/v1", trust_env=False)
    assert found == ("http://mine:1/", {"Authorization": "Basic bWU6cEBzcw=="})
    assert "bWU6" not in repr(found)
