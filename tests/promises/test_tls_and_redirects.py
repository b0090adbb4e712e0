"""Where the key may travel: to the host that was named, over verified TLS, in headers that nobody can split."""

from __future__ import annotations

import ssl
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
import trustme

from siliconflow_async import APIConnectionError, APIStatusError, AsyncSiliconFlow, ConfigurationError

from ..asking import ASK, NO_WAIT, served
from ..tls import AUTHORITY, HOST, listening, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import Callable

    from siliconflow_async.testing import FakeSiliconFlow

pytestmark = pytest.mark.anyio

STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])


OWN = trustme.CA()


def expired() -> trustme.LeafCert:
    now = datetime.now(UTC)
    return AUTHORITY.issue_cert(HOST, not_before=now - timedelta(days=9), not_after=now - timedelta(days=1))


def self_signed() -> trustme.LeafCert:
    return trustme.LeafCert(OWN.private_key_pem.bytes(), OWN.cert_pem.bytes(), [])


BAD: dict[str, Callable[[], trustme.LeafCert]] = {
    "of an unknown authority": lambda: trustme.CA().issue_cert(HOST),
    "for another name": lambda: AUTHORITY.issue_cert("localhost", "127.0.0.2", "siliconflow.example"),
    "expired": expired,
    "self-signed": self_signed,
}


async def ask(client: AsyncSiliconFlow, *, streaming: bool, **params: Any) -> None:
    await client.chat.completions.create(stream=streaming, **ASK, **params)


@STREAMING
@pytest.mark.parametrize("bad", BAD)
async def test_a_certificate_that_does_not_hold_is_refused(bad: str, streaming: bool) -> None:
    """The handshake fails, once: no request is sent, and none is tried again."""
    with listening(speaking_tls(BAD[bad]())) as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting(), retry=NO_WAIT) as client:
            with pytest.raises(APIConnectionError, match=r"(?i)certificate") as caught:
                await ask(client, streaming=streaming)
        assert caught.value.attempts == 1
        assert not caught.value.transient
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError | OSError)
        assert server.requests == []
        assert server.connections.accepted <= 1


async def test_a_certificate_that_holds_is_accepted() -> None:
    """What the tests above refuse is the certificate alone."""
    with listening(speaking_tls(AUTHORITY.issue_cert(HOST))) as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting()) as client:
            await ask(client, streaming=False)
        assert len(server.requests) == 1


async def test_verification_is_on_by_default_and_no_flag_switches_it_off() -> None:
    """`ssl=False` and the like are refused; the default trusts the system's authorities, not the test's."""
    for value in (False, True, 0, "no"):
        with pytest.raises(ConfigurationError, match="TLS is always verified"):
            AsyncSiliconFlow("k", ssl=value)  # type: ignore[arg-type]  # a wrong type is what is tested
    with listening(speaking_tls(AUTHORITY.issue_cert(HOST))) as server:
        async with AsyncSiliconFlow("k", base_url=server.base_url, retry=NO_WAIT) as client:
            with pytest.raises(APIConnectionError, match=r"(?i)certificate"):
                await ask(client, streaming=False)
        assert server.requests == []


# `{}` is the port of a second stand-in, on another port of the same host.
LOCATIONS = [
    "http://127.0.0.1:{}/v1/chat/completions",
    "//127.0.0.1:{}/v1/chat/completions",
    "http://user:pass@127.0.0.1:{}/",
    "http:127.0.0.1:{}",
    "\\\\127.0.0.1:{}/",
    "/elsewhere",
    "elsewhere",
    "?a=b",
    "",
    "javascript:alert(1)",
    "data:text/plain,x",
    "http://127.0.0.1:{}/%0d%0aX-A:%20b",
    "http://[::1",
    "http://127.0.0.1:999999/",
]
# In asyncio's debug mode aiohttp's parser is strict: such a header is then no answer at all.
if not aiohttp.helpers.DEBUG:
    LOCATIONS.append("\x7f\t")


@STREAMING
@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
async def test_no_redirect_is_followed(status: int, streaming: bool) -> None:
    """Whatever it names, a redirect is an APIStatusError; where it points to hears nothing, and it is not retried."""
    with listening() as server, listening() as other:
        port = other.base_url.rsplit(":", 1)[1].removesuffix("/v1")
        async with AsyncSiliconFlow("k", base_url=server.base_url, retry=NO_WAIT) as client:
            for count, location in enumerate(LOCATIONS, 1):
                server.fail(status, b"", headers={"Location": location.replace("{}", port)})
                with pytest.raises(APIStatusError, match="redirects are never followed") as caught:
                    await ask(client, streaming=streaming)
                assert (caught.value.status, caught.value.attempts) == (status, 1)
                assert len(server.requests) == count
        assert {request.path for request in server.requests} == {"/v1/chat/completions"}
        assert other.connections.accepted == 0


@STREAMING
@pytest.mark.parametrize("route", ["host", "http to https", "https to http"])
async def test_no_redirect_leads_to_another_host_or_scheme(route: str, streaming: bool) -> None:
    """Another loopback address, and the other scheme, to a service whose certificate is good."""
    good = speaking_tls(AUTHORITY.issue_cert(HOST))
    first, second = {"host": (None, None), "http to https": (None, good), "https to http": (good, None)}[route]
    other_host = "127.0.0.2" if route == "host" else HOST
    with listening(first) as server, listening(second, other_host) as other:
        server.fail(307, b"", headers={"Location": f"{other.base_url}/chat/completions"}, times=None)
        async with AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting(), retry=NO_WAIT) as client:
            with pytest.raises(APIStatusError, match="redirects are never followed"):
                await ask(client, streaming=streaming)
        assert len(server.requests) == 1
        assert other.connections.accepted == 0


async def test_a_split_redirect_is_not_followed_either() -> None:
    """A Location with control characters, or none at all, ends in a typed error without a second request."""
    with listening() as server, listening() as other:
        async with AsyncSiliconFlow("k", base_url=server.base_url, retry=NO_WAIT, max_retries=0) as client:
            first, folded = f"Location: /a\rLocation: {other.base_url}", f"Location: {other.base_url}\r\n b"
            for line in (first, folded, f"Location: {other.base_url}\x7f\t", "X: y"):
                server.raw([f"HTTP/1.1 302 Found\r\n{line}\r\nContent-Length: 0\r\n\r\n".encode()], framing="verbatim")
                with pytest.raises((APIStatusError, APIConnectionError)):
                    await ask(client, streaming=False)
        assert len(server.requests) == 4
        assert other.connections.accepted == 0


async def test_plain_http_to_another_machine_warns_of_the_key() -> None:
    """A client on plain http says so where it is made, unless nothing leaves this machine."""
    with pytest.warns(UserWarning, match="travels unencrypted") as warned:
        client = AsyncSiliconFlow("k", base_url="http://192.0.2.1/v1")
    assert warned[0].filename == __file__
    await client.aclose()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for base_url in ("http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1", "http://localhost", "https://a.b"):
            await AsyncSiliconFlow("k", base_url=base_url).aclose()


HUSH = "very-" + "hush"
BROKEN = [HUSH + mark + "X-B: c" for mark in ("\r\n", "\r", "\n", "\0")]


async def give(where: str, server: FakeSiliconFlow, client: AsyncSiliconFlow, headers: dict[str, str]) -> None:
    match where:
        case "headers" | "default_headers":
            AsyncSiliconFlow("k", base_url=server.base_url, **{where: headers})  # type: ignore[arg-type]  # one of two
        case "with_options":
            client.with_options(headers=headers)
        case "extra_headers":
            await ask(client, streaming=False, extra_headers=headers)
        case "stream":
            async with client.chat.completions.stream(**ASK, extra_headers=headers):
                pytest.fail("it was sent")


PLACES = pytest.mark.parametrize("where", ["headers", "default_headers", "with_options", "extra_headers", "stream"])


@PLACES
@pytest.mark.parametrize("value", BROKEN, ids=["crlf", "cr", "lf", "nul"])
@pytest.mark.parametrize("name", ["X-Team", "Authorization", "X-Api-Key"])
async def test_a_value_that_would_split_a_header_is_refused(where: str, name: str, value: str) -> None:
    """CR, LF and NUL are refused before a byte is sent, in words that name the header and do not quote the value."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match=f"header '{name}'") as caught:
            await give(where, server, client, {name: value})
        assert HUSH not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
        assert server.connections.accepted == 0


@PLACES
@pytest.mark.parametrize("name", ["X-A\r\nX-B", "X-A\n", "X-A\r", "X\0A", "X-A:", "X A"])
async def test_a_name_that_would_split_a_header_is_refused(where: str, name: str) -> None:
    """A header's name is one token; what it would have held is not quoted."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match="header name") as caught:
            await give(where, server, client, {name: HUSH})
        assert repr(name) in str(caught.value)
        assert HUSH not in str(caught.value)
        assert server.connections.accepted == 0


@pytest.mark.parametrize("key", BROKEN, ids=["crlf", "cr", "lf", "nul"])
def test_a_key_that_would_split_a_header_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given or from the environment: no client is made, and the key is not quoted."""
    with pytest.raises(ConfigurationError, match="API key") as given:
        AsyncSiliconFlow(key)
    assert HUSH not in str(given.value)
    if "\0" not in key:  # which no environment can hold
        monkeypatch.setenv("SILICONFLOW_API_KEY", key)
        with pytest.raises(ConfigurationError, match="API key") as found:
            AsyncSiliconFlow()
        assert HUSH not in str(found.value)
