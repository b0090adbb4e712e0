"""Lines of a file that comes in pieces."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["LONGEST_LINE", "LineBuffer"]

# A file that is one endless line must not fill the memory. Lines with pictures are long.
LONGEST_LINE = 128 * 1024 * 1024


class LineBuffer:
    """Makes lines of pieces, holding no more than one line, of that LONGEST_LINE bytes and one, and one piece."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield the lines that end in `piece`."""
        *ended, rest = piece.split(b"\n")
        for end in ended:
            self._hold(end)
            yield self._take()
        self._hold(rest)

    def rest(self) -> Iterator[bytes]:
        """Yield the last line, if there is one without an end."""
        if self._held:
            yield self._take()

    def _hold(self, piece: bytes) -> None:
        self._held += piece[: LONGEST_LINE + 1 - len(self._held)]

    def _take(self) -> bytes:
        line = bytes(self._held)
        self._held.clear()
        return line
