"""Bodies that take time to send: large ones, and the files of a multipart body. They tell how much has been sent."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import aiohttp
import anyio.to_thread
import msgspec

from ..errors import InvalidRequestError

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

__all__ = ["LARGE", "Multipart", "Part", "Telling", "Upload", "UploadWatcher"]

# The system takes what is smaller in one turn: how it gets on need not be watched.
LARGE = 64 * 1024
_PIECE = 64 * 1024
# So much of a file is read at a time.
_READ = 256 * 1024
# How many bytes the system takes from us before the line does. Without it they are megabytes, for which a slow line
# takes minutes in the time of the first token.
_UNSENT = 128 * 1024


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One part of a multipart body: a field's text, or a file's bytes or path, which go with a `filename`.

    A file that is open already is sent from the byte `start` on, and stays open: it has to know how to seek.
    """

    name: str
    value: str | bytes | Path | IO[bytes]
    filename: str | None = None
    content_type: str | None = None
    start: int = 0


class Multipart(msgspec.Struct, frozen=True):
    """A body of `multipart/form-data`. Its files are read while they are sent, anew each time.

    `on_progress` is told how many bytes have been sent, and of how many.
    """

    parts: tuple[Part, ...]
    on_progress: Callable[[int, int], object] | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[aiohttp.Payload]:
        """Open the files, and close them at the end; raise InvalidRequestError for one that can't be read."""
        writer = aiohttp.MultipartWriter("form-data")
        async with AsyncExitStack() as closing:
            for part in self.parts:
                value: Any = part.value
                if not isinstance(value, str):
                    try:
                        value = await _file_of(part, closing)
                    except (OSError, ValueError) as error:
                        raise InvalidRequestError(f"{part.name} can't be read: {error}", param=part.name) from error
                headers = {} if part.content_type is None else {"Content-Type": part.content_type}
                payload = writer.append(value, headers)
                filename: dict[str, Any] = {} if part.filename is None else {"filename": part.filename}
                # Names as they are, in UTF-8, which RFC 7578 asks for and browsers do.
                payload.set_content_disposition("form-data", quote_fields=False, name=part.name, **filename)
            yield writer


async def _file_of(part: Part, closing: AsyncExitStack) -> _File:
    """Return the file of a part, open as long as `closing` is."""
    value = part.value
    assert not isinstance(value, str)
    if isinstance(value, bytes):
        return _File(BytesIO(value), 0, len(value))
    if isinstance(value, Path):
        value = await anyio.to_thread.run_sync(value.open, "rb")
        closing.callback(value.close)
    return _File(value, part.start, await anyio.to_thread.run_sync(value.seek, 0, SEEK_END) - part.start)


class _File(aiohttp.Payload):
    """So many bytes of an open file, which stays open."""

    _value: IO[bytes]

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        super().__init__(file)
        self._start = start
        self._size = size

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a file is sent and not shown")

    async def write(self, writer: AbstractStreamWriter) -> None:
        file, left = self._value, self._size
        assert left is not None
        # What is in memory is there at once.
        run: Any = _now if isinstance(file, BytesIO) else anyio.to_thread.run_sync
        await run(file.seek, self._start)
        while left > 0:
            data = await run(file.read, min(left, _READ))
            if not data:
                raise OSError(f"{left} bytes less could be read than the file had when it was opened")
            left -= len(data)
            await writer.write(data)


async def _now(function: Callable[..., Any], argument: int) -> Any:
    return function(argument)


class UploadWatcher(Protocol):
    """Who wants to know how sending a body gets on."""

    def sending(self, sent: int) -> None:
        """So many bytes have been sent: 0 at the beginning."""

    def sent(self) -> None:
        """The last byte has been sent."""


class Telling:
    """Tells a watcher, and somebody else too, how sending `total` bytes gets on."""

    def __init__(self, watcher: UploadWatcher, total: int, tell: Callable[[int, int], object]) -> None:
        self._watcher = watcher
        self._total = total
        self._tell = tell

    def sending(self, sent: int) -> None:
        self._watcher.sending(sent)
        self._tell(sent, self._total)

    def sent(self) -> None:
        self._watcher.sent()


class Upload(aiohttp.Payload):
    """Sends a body in pieces, the next when the system has taken the one before, and tells `watcher` of each."""

    _value: bytes | aiohttp.Payload

    def __init__(self, body: bytes | aiohttp.Payload, watcher: UploadWatcher) -> None:
        super().__init__(body, content_type="application/json" if isinstance(body, bytes) else body.content_type)
        self._size = len(body) if isinstance(body, bytes) else body.size
        self._watcher = watcher

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        return self._value.decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        transport = writer.transport
        if transport is None:
            raise ConnectionResetError("the connection was closed before the request was sent")
        wire = transport.get_extra_info("socket")
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            with suppress(OSError):
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT)
        # So that `drain` waits until nothing lies in this process; with 0, asyncio's TLS would wait for ever.
        transport.set_write_buffer_limits(high=1)
        pieces = _Pieces(writer, wire, self._watcher)
        self._watcher.sending(0)
        if isinstance(self._value, bytes):
            await pieces.write(self._value)
        else:
            # It writes, and does nothing else with its writer.
            await self._value.write(pieces)  # type: ignore[arg-type]
        self._watcher.sent()


class _Pieces:
    """Takes what a body writes, and sends it piece by piece."""

    def __init__(self, writer: AbstractStreamWriter, wire: socket.socket, watcher: UploadWatcher) -> None:
        self._writer = writer
        self._wire = wire
        self._watcher = watcher
        self._sent = 0

    async def write(self, data: bytes) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            await _let_answer_in(self._wire)
            piece = view[start : start + _PIECE]
            await self._writer.write(piece)
            await self._writer.drain()
            self._sent += len(piece)
            self._watcher.sending(self._sent)


async def _let_answer_in(wire: socket.socket) -> None:
    """Give the loop time to read what has come: who refuses a request may close at once, and a write would lose it."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    poll.register(wire.fileno(), select.POLLIN)
    if poll.poll(0):
        # The loop looks at the socket in one turn, reads it in the next, and TLS hands it on.
        for _ in range(3):
            await asyncio.sleep(0)
