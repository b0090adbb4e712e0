"""TLS in tests: an authority that they trust, its certificates, and a stand-in that speaks https."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trustme

from siliconflow_async.testing import FakeSiliconFlow

if TYPE_CHECKING:
    from collections.abc import Iterator

AUTHORITY = trustme.CA()
HOST = "127.0.0.1"


def speaking_tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Return the server's side of TLS, with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    """Return the client's side of TLS, which trusts AUTHORITY."""
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


@contextmanager
def listening(context: ssl.SSLContext | None = None, host: str = HOST) -> Iterator[FakeSiliconFlow]:
    """Run a stand-in in a thread: a handshake that the client breaks off is reported to the server's loop."""
    with FakeSiliconFlow(ssl=context, host=host).threaded() as server:
        yield server
