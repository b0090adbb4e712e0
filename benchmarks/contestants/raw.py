"""The floor: a socket, the request written once, events told apart and their text cut out of the bytes, no JSON."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import msgspec

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["RawSockets"]

_LAST = b"0\r\n\r\n"
_MARK = b'"content":"'


class _Connection(asyncio.Protocol):
    def __init__(self, idle: list[_Connection]) -> None:
        self._idle = idle
        self._rest = b""
        self._take: Take | None = None
        self.ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # it is one, if not by class

    def ask(self, request: bytes, take: Take) -> asyncio.Future[None]:
        self._take = take
        self.ended = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.ended

    def data_received(self, data: bytes) -> None:
        assert self._take is not None
        assert self.ended is not None
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            start = event.find(_MARK) + len(_MARK)
            if start >= len(_MARK):
                self._take(event[start : event.find(b'"', start)])  # type: ignore[arg-type]  # bytes do as well
        if self._rest.endswith(_LAST):
            self._rest = b""
            self._idle.append(self)
            self.ended.set_result(None)


class RawSockets(Contestant):
    decodes = False
    reads_whole = False
    quick_to_read = True

    async def __aenter__(self) -> Self:
        parts = urlsplit(self.base_url)
        body = msgspec.json.encode({"model": MODEL, "messages": MESSAGES, "stream": True})
        head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
        self._request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._all: list[_Connection] = []
        self._idle: list[_Connection] = []
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for connection in self._all:
            connection.transport.abort()

    async def stream(self, take: Take) -> None:
        if self._idle:
            connection = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: _Connection(self._idle), host=self._host, port=self._port
            )
            self._all.append(connection)
        await connection.ask(self._request, take)
