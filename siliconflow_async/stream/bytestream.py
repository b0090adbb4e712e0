"""An answer that is bytes, such as speech, as it comes.

async with … as stream:
    async for data in stream: …
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeAlias, TypeVar

from ..errors import APIStatusError, EventTooLargeError, StreamError, TruncatedStreamError
from ..transport.answer import Answer, Decode, Headed
from ..wire.failures import cut_off
from .opened import OpenAnswer
from .reading import Reading
from .wholefile import FilePath, WholeFile, written_whole

__all__ = ["ByteProgress", "ByteProtocol", "ByteStream", "byte_protocol"]

T = TypeVar("T", bound=Headed)

ByteProgress: TypeAlias = Callable[[int, int | None], object]
"""Called with how many bytes have been sent or have come, and of how many: None where nobody has said."""


class ByteProtocol:
    """Gives out bytes as they came; whole once the body has ended, which of a body of no `size` has to be some."""

    def __init__(self, size: int | None = None) -> None:
        self.done = False
        self.whole = False
        self.failure: StreamError | APIStatusError | None = None
        self.received = 0
        self.size = size

    def feed(self, data: bytes, lazily: bool = False) -> list[bytes]:
        self.received += len(data)
        return [data] if data else []

    def eof(self) -> list[bytes]:
        self.whole = self.received > 0 or self.size == 0
        return []

    def cut_short(self) -> list[bytes]:
        return []

    def cut_off(self, why: str | None, *, begun: bool) -> TruncatedStreamError:
        return cut_off(self.received, why, of=self.size)

    def has_progress(self, chunks: list[bytes]) -> bool:
        return True


def byte_protocol(answer: Answer) -> ByteProtocol:
    """Return what reads the body of an answer, which knows how many bytes it is to have where that is told."""
    length = answer.headers.get("content-length", "")
    # What comes compressed has another length.
    return ByteProtocol(int(length) if length.isdecimal() and not answer.body.is_compressed else None)


class ByteStream(OpenAnswer[bytes]):
    """An open answer: iterate it for bytes, in pieces of whatever size they come in.

    `ended` is None while it is open, then "finish", "truncated", "timeout" or "closed". One that breaks off raises
    TruncatedStreamError after the last byte that came.
    """

    __slots__ = ("_protocol", "_ready")

    _finished = False

    def __init__(self, reading: Reading[bytes], protocol: ByteProtocol) -> None:
        super().__init__(reading)
        self._protocol = protocol
        self._ready: list[bytes] = []

    @property
    def received(self) -> int:
        """How many bytes have come."""
        return self._protocol.received

    @property
    def size(self) -> int | None:
        """How many there will be; None where the service has not said."""
        return self._protocol.size

    @property
    def _begun(self) -> bool:  # type: ignore[override]  # a variable of the base
        return self.received > 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._ready and not await self._fill():
            raise StopAsyncIteration
        return self._ready.pop()

    async def save(self, path: FilePath, *, on_progress: ByteProgress | None = None) -> int:
        """Write what is left to a file, and return how many bytes that were; off the loop, a part at a time.

        The file is there, in the place of one that was, once it is whole. `on_progress` is called as bytes come.

        Raises InvalidRequestError where the file can't be made, OSError where it can't be written, and what reading
        raises; then there is no file.
        """
        async with written_whole(path) as file:
            await self.copy_to(file, on_progress)
            return file.size

    async def copy_to(self, file: WholeFile, on_progress: ByteProgress | None = None, most: int | None = None) -> None:
        """Add what is left to a file; raise EventTooLargeError where that would come to more bytes than `most`."""
        size = None if self.size is None else file.size + self.size - self.received + sum(map(len, self._ready))
        if most is not None and size is not None and size > most:
            raise EventTooLargeError(f"the file has {size} bytes, more than {most}")
        async for data in self:
            if most is not None and file.size + len(data) > most:
                raise EventTooLargeError(f"the file is larger than {most} bytes")
            await file.write(data)
            if on_progress is not None:
                on_progress(file.size, size)

    async def whole(self, decode: Decode[T], most: int) -> T:
        """Return what `decode` makes of what is left, or of the beginning of more bytes than `most`."""
        body = bytearray()
        async with self:
            async for data in self:
                body += data
                if len(body) > most:
                    break
        return self._reading.answer.decoded(decode, bytes(body))

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        self._ready = []
        super().abort()

    def _take(self, found: list[bytes], lazily: bool) -> None:
        # The idle clock is for the time between bytes, and not for all of the waits.
        self._reading.clock.waited = 0.0
        self._ready = found
