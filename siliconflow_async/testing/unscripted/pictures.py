"""Pictures and films that the stand-in paints: real files, small, and the same ones for the same seed."""

from __future__ import annotations

import struct
import zlib

__all__ = ["film", "picture"]

# Fields of the pattern, across and down; its left half is mirrored on the right.
_FIELDS = 8
_FRAMES_PER_SECOND = 8
# A film is this much smaller than was asked for: its frames are not compressed.
_SHRUNK = 8


def picture(width: int, height: int, seed: bytes) -> bytes:
    """Return a PNG of a pattern in one colour on white; `seed` has 32 bytes."""
    # One bit for a pixel.
    size = -(-width // 8)
    rows = [b"\0" + _bits(width, size, _row(seed, row)) for row in range(_FIELDS)]
    lines = b"".join(rows[at * _FIELDS // height] for at in range(height))
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 3, 0, 0, 0)),
            _chunk(b"PLTE", b"\xff\xff\xff" + _colour(seed)),
            _chunk(b"IDAT", zlib.compress(lines, 1)),
            _chunk(b"IEND", b""),
        )
    )


def film(width: int, height: int, seed: bytes) -> bytes:
    """Return an AVI of a second, whose frames are not compressed: the pattern, field by field."""
    width, height = max(4, width // _SHRUNK // 4 * 4), max(_FIELDS, height // _SHRUNK)
    rows = [_pixels(width, seed, row) for row in range(_FIELDS)]
    empty = b"\xff" * len(rows[0])
    # From the bottom up, as this format has them.
    shown = [rows[:count] + [empty] * (_FIELDS - count) for count in range(1, _FIELDS + 1)]
    frames = [b"".join(part[at * _FIELDS // height] for at in reversed(range(height))) for part in shown]
    size = len(frames[0])
    head = struct.pack(
        "<14I", 1_000_000 // _FRAMES_PER_SECOND, 0, 0, 0x10, _FIELDS, 0, 1, size, width, height, *[0] * 4
    )
    rate = (0, 0, 0, 1, _FRAMES_PER_SECOND, 0, _FIELDS, size, 0xFFFFFFFF, 0)
    stream = struct.pack("<4s4s10I4H", b"vids", b"DIB ", *rate, 0, 0, width, height)
    form = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, size, 0, 0, 0, 0)
    streams = _list(b"strl", _piece(b"strh", stream) + _piece(b"strf", form))
    headers = _list(b"hdrl", _piece(b"avih", head) + streams)
    movie = _list(b"movi", b"".join(_piece(b"00db", frame) for frame in frames))
    index = b"".join(
        struct.pack("<4sIII", b"00db", 0x10, 4 + at * (8 + size + size % 2), size) for at in range(_FIELDS)
    )
    return _piece(b"RIFF", b"AVI " + headers + movie + _piece(b"idx1", index))


def _row(seed: bytes, row: int) -> list[int]:
    half = [seed[row] >> at & 1 for at in range(_FIELDS // 2)]
    return half + half[::-1]


def _colour(seed: bytes) -> bytes:
    # Dark enough to be seen on white.
    return bytes(value // 2 for value in seed[-3:])


def _bits(width: int, size: int, fields: list[int]) -> bytes:
    text = "".join(str(fields[at * _FIELDS // width]) for at in range(width))
    return int(text.ljust(size * 8, "0"), 2).to_bytes(size)


def _pixels(width: int, seed: bytes, row: int) -> bytes:
    fields, colour = _row(seed, row), _colour(seed)[::-1]
    return b"".join(colour if fields[at * _FIELDS // width] else b"\xff\xff\xff" for at in range(width))


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _piece(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a RIFF."""
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def _list(kind: bytes, data: bytes) -> bytes:
    return _piece(b"LIST", kind + data)
