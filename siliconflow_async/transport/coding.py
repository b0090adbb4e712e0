"""How a body was encoded on its way: what aiohttp undoes by itself, what is undone here, and what can't be.

aiohttp knows `Content-Encoding` with gzip, deflate and, where their packages are, br and zstd. It does not know
`Transfer-Encoding: gzip, chunked`, nor the old name x-gzip.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import StreamReader

__all__ = ["Unzipped", "is_zipped", "left_encoded"]

_UNDONE = frozenset({"gzip", "deflate", "br", "zstd"})
_ZIPPED = frozenset({"gzip", "x-gzip", "deflate"})
# zlib then looks itself which of gzip's and its own header there is.
_EITHER = 32 + zlib.MAX_WBITS
_MOST = 256 * 1024


def left_encoded(headers: Mapping[str, str]) -> str | None:
    """Return how a body is still encoded when aiohttp gives it out, in the server's words; None if it is not."""
    content, transfer = headers.get("Content-Encoding"), headers.get("Transfer-Encoding")
    if content is None and transfer in ("chunked", None):
        return None
    left = _listed(content)
    if len(left) == 1 and left[0].lower() in _UNDONE:
        left = []
    return ", ".join(left + _listed(transfer)) or None


def is_zipped(encoding: str) -> bool:
    """Whether `Unzipped` undoes an encoding that was left."""
    return encoding.lower() in _ZIPPED


def _listed(value: str | None) -> list[str]:
    names = (name.strip() for name in (value or "").split(","))
    return [name for name in names if name.lower() not in ("", "identity", "chunked")]


class Unzipped:
    """What a reader of aiohttp's gives out, decompressed, at most 256 KiB at a time; else it is like that reader."""

    def __init__(self, content: StreamReader) -> None:
        self._content = content
        self._zip = zlib.decompressobj(_EITHER)
        self._broken = False
        self.is_eof = content.is_eof
        self.set_exception = content.set_exception

    @property
    def total_bytes(self) -> int:
        return self._content.total_bytes

    def at_eof(self) -> bool:
        return self._content.at_eof() and self._zip.eof

    async def readany(self) -> bytes:
        while True:
            data = self._zip.unconsumed_tail or await self._content.readany()
            if self._zip.eof:  # what follows, if anything, is nobody's
                return b""
            plain = self._unzip(data) if data else self._zip.flush()
            if plain:
                return plain
            if not data:
                raise aiohttp.ClientPayloadError("the compressed body broke off")

    def read_nowait(self, n: int = -1) -> bytes:
        data = self._zip.unconsumed_tail or self._content.read_nowait(n)
        return self._unzip(data) if data and not self._broken else b""

    def _unzip(self, data: bytes) -> bytes:
        try:
            return self._zip.decompress(data, _MOST)
        except zlib.error as error:
            self._broken = True
            raise aiohttp.ClientPayloadError(f"the compressed body is broken: {error}") from error
