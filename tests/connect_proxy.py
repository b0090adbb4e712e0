"""An HTTP proxy that writes down what it is told: CONNECT for a tunnel, and requests in plain http.

    async with ConnectProxy() as proxy:
        … a client with proxy=proxy.url() …
        proxy.heads  # of each request that reached it, as a mapping of lower-case names

Only a tunnel to loopback is dug; what passes in it is not looked at.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import NamedTuple, Self


class Head(NamedTuple):
    """The first line of a request and its headers under lower-case names, and both as they came."""

    line: str
    headers: dict[str, str]
    raw: bytes


class ConnectProxy:
    """Listens on loopback; `refusal` is the answer, whole, for those not let through: all, or the first `times`."""

    def __init__(self, *, refusal: bytes | None = None, times: int | None = None) -> None:
        self.heads: list[Head] = []
        self._refusal = refusal
        self._times = times
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def url(self, user: str = "") -> str:
        """Return the proxy's URL, with `user:password` if given."""
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self._port}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.add(asyncio.ensure_future(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            raw = await reader.readuntil(b"\r\n\r\n")
            line, *rest = raw.decode("latin-1").split("\r\n")[:-2]
            pairs = (header.partition(": ") for header in rest)
            head = Head(line, {name.lower(): value for name, _, value in pairs}, raw)
            self.heads.append(head)
            refusal = self._refusal if self._times is None or len(self.heads) <= self._times else None
            if refusal is not None or not line.startswith("CONNECT 127."):
                writer.write(refusal or b"HTTP/1.1 501 Not Implemented\r\nContent-Length: 0\r\n\r\n")
                await writer.drain()
                return
            host, _, port = line.split()[1].rpartition(":")
            inner_reader, inner_writer = await asyncio.open_connection(host, int(port))
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                await asyncio.gather(_carry(reader, inner_writer), _carry(inner_reader, writer))
            finally:
                inner_writer.close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client's way of leaving
        finally:
            writer.close()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
