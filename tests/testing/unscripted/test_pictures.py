"""What the stand-in paints are real files."""

from __future__ import annotations

import struct
import zlib
from hashlib import sha256

import pytest

from siliconflow_async.testing.unscripted.pictures import film, picture

SEED = sha256(b"a cat").digest()


def chunks(png: bytes) -> dict[bytes, bytes]:
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    found, at = {}, 8
    while at < len(png):
        (size,) = struct.unpack(">I", png[at : at + 4])
        kind, data = png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        assert png[at + 8 + size : at + 12 + size] == struct.pack(">I", zlib.crc32(kind + data))
        found[kind] = data
        at += 12 + size
    return found


@pytest.mark.parametrize(("width", "height"), [(1024, 1024), (1, 1), (7, 3), (1280, 720), (9999, 2)])
def test_a_picture_is_a_png_of_its_size(width: int, height: int) -> None:
    """Its chunks are whole, and its lines as many and as long as it says."""
    found = chunks(picture(width, height, SEED))
    assert list(found) == [b"IHDR", b"PLTE", b"IDAT", b"IEND"]
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (width, height)
    lines = zlib.decompress(found[b"IDAT"])
    assert len(lines) == height * (1 + -(-width // 8))
    assert set(lines[:: 1 + -(-width // 8)]) == {0}


@pytest.mark.parametrize(("width", "height"), [(1280, 720), (1, 1), (961, 961)])
def test_a_film_is_an_avi_whose_parts_are_where_it_says(width: int, height: int) -> None:
    """All lengths add up, and the index leads to each frame."""
    data = film(width, height, SEED)
    assert data[:4] + data[8:12] == b"RIFFAVI "
    assert struct.unpack("<I", data[4:8])[0] == len(data) - 8
    lists = {}
    at = 12
    while at < len(data):
        (size,) = struct.unpack("<I", data[at + 4 : at + 8])
        lists[data[at + 8 : at + 12] if data[at : at + 4] == b"LIST" else data[at : at + 4]] = (at + 8, size)
        at += 8 + size + size % 2
    assert list(lists) == [b"hdrl", b"movi", b"idx1"]
    start, size = lists[b"idx1"]
    movie, _ = lists[b"movi"]
    frames = list(struct.iter_unpack("<4sIII", data[start : start + size]))
    assert len(frames) == 8
    for kind, _, offset, length in frames:
        assert data[movie + offset : movie + offset + 8] == kind + struct.pack("<I", length)
    assert len({data[movie + offset + 8 : movie + offset + 8 + length] for _, _, offset, length in frames}) > 1
