"""An answer that is bytes, such as speech, as it comes.

async with … as stream:
    async for data in stream: …
"""

from __future__ import annotations

from typing import Self

from ..errors import APIStatusError, StreamError, TruncatedStreamError
from ..wire.failures import cut_off
from .opened import OpenAnswer
from .reading import Reading

__all__ = ["ByteProtocol", "ByteStream", "first_bytes"]


class ByteProtocol:
    """Gives out bytes as they came; whole once the body has ended."""

    def __init__(self) -> None:
        self.done = False
        self.whole = False
        self.failure: StreamError | APIStatusError | None = None
        self.received = 0

    def feed(self, data: bytes, lazily: bool = False) -> list[bytes]:
        self.received += len(data)
        return [data] if data else []

    def eof(self) -> list[bytes]:
        self.whole = self.received > 0
        return []

    def cut_short(self) -> list[bytes]:
        return []

    def cut_off(self, why: str | None, *, begun: bool) -> TruncatedStreamError:
        return cut_off(self.received, why)

    def has_progress(self, chunks: list[bytes]) -> bool:
        return True


class ByteStream(OpenAnswer[bytes]):
    """An open answer: iterate it for bytes, in pieces of whatever size they come in.

    `ended` is None while it is open, then "finish", "truncated", "timeout" or "closed"; `received` counts the bytes
    that came. One that breaks off raises TruncatedStreamError after the last byte that did.
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
    def _begun(self) -> bool:  # type: ignore[override]  # a variable of the base
        return self.received > 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._ready and not await self._fill():
            raise StopAsyncIteration
        return self._ready.pop()

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        self._ready = []
        super().abort()

    def _take(self, found: list[bytes], lazily: bool) -> None:
        self._ready = found


async def first_bytes(stream: ByteStream) -> ByteStream:
    """Return the stream once its first bytes are there, or it has ended well without any; raise as reading would."""
    await stream._fill()
    return stream
