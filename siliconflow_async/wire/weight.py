"""What a JSON text takes once it is parsed: three bytes may become an object of a hundred.

Whatever is larger than `SMALL` is weighed before anything is built of it, and `TooHeavyError` raised for what would
take many times its size. What answers hold, texts of any length and log probabilities, is far from that.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["SMALL", "Signs", "TooHeavyError", "check_total", "check_weight", "weight"]

# So few bytes can't come to much, whatever they hold.
SMALL = 256 * 1024
_PIECE = 64 * 1024
# What CPython takes for the parts of a value, in bytes: an object with up to three members, each further one, a list,
# and an item with its place in what holds it; a text takes as much again.
_OBJECT = 200
_MEMBER = 110
_LIST = 90
_ITEM = 40
# How many times its size a text may weigh. Log probabilities of one-letter tokens come to 11, of usual ones to 7.
_DENSEST = 13
_SPARE = 8 * 1024 * 1024


class TooHeavyError(ValueError):
    """A JSON text that would take far more memory than its own size."""


class Signs:
    """What stands outside the texts of JSON that comes in pieces."""

    __slots__ = ("_held", "quotes")

    def __init__(self) -> None:
        self.quotes = 0
        self._held = b""

    def outside(self, piece: bytes) -> Iterator[bytes]:
        """Yield what of the next piece is not within quotes, with the colons, commas and brackets that are signs."""
        data = self._held + piece if self._held else piece
        # A backslash that hides what the next piece begins with.
        self._held = b"\\" if (len(data) - len(data.rstrip(b"\\"))) % 2 else b""
        size = len(data) - len(self._held)
        at = 0
        while at < size:
            part = data[at : min(at + _PIECE, size)]
            if (len(part) - len(part.rstrip(b"\\"))) % 2:
                part = data[at : at + len(part) - 1] or data[at : at + 2]
            at += len(part)
            # Once the escapes are gone, each quote begins or ends a text.
            texts = part.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
            inside = self.quotes % 2
            self.quotes += len(texts) - 1
            yield b"".join(texts[inside::2])


def weight(data: bytes) -> int:
    """Return how many bytes a JSON text takes once it is parsed, its texts' characters aside; rather more than less.

    Where the text is no JSON, what stands behind the first error does not count for anything.
    """
    objects = lists = commas = colons = 0
    signs = Signs()
    for outside in signs.outside(data):
        objects += outside.count(b"{")
        lists += outside.count(b"[")
        commas += outside.count(b",")
        colons += outside.count(b":")
    texts = max(0, signs.quotes // 2 - colons)
    members = max(0, colons - 3 * objects)
    return _OBJECT * objects + _MEMBER * members + _LIST * lists + _ITEM * (commas + texts)


def check_weight(data: bytes) -> None:
    """Raise TooHeavyError for what would take far more memory than its size."""
    if len(data) > SMALL:
        check_total(weight(data), len(data))


def check_total(weighs: int, size: int) -> None:
    """Raise TooHeavyError where JSON of so many bytes weighs too much."""
    bound = _DENSEST * size + _SPARE
    if weighs > bound:
        raise TooHeavyError(f"{size:,} bytes of JSON that would take {weighs:,} of memory, more than {bound:,}")
