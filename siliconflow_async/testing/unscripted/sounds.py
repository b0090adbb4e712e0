"""Speech that the stand-in makes: a tone for each letter, and silence in the formats that need a codec."""

from __future__ import annotations

import array
import math
import struct
import sys
from collections.abc import Iterator

__all__ = ["SECONDS", "TYPES", "sound"]

TYPES = {"mp3": "audio/mpeg", "opus": "audio/ogg", "wav": "audio/wav", "pcm": "audio/pcm"}
# How long a letter takes, and the most letters that are heard.
SECONDS = 0.06
_MOST = 500
# MPEG-1, layer III, 128 kbit/s, mono: what follows the head of a frame tells of no sound where it is 0.
_MP3_RATE = 128_000
_MP3_SAMPLES = 1152
_MP3_HEADS = {44_100: b"\xff\xfb\x90\xc0", 32_000: b"\xff\xfb\x98\xc0"}
# 20 ms of silence, of Opus at 48 kHz.
_OPUS_PACKET = b"\xf8\xff\xfe"
_OPUS_SAMPLES = 960
_OPUS_PACKETS_A_PAGE = 50


def sound(text: str, kind: str, rate: int) -> Iterator[bytes]:
    """Yield the pieces of a sound of the text, in a format of TYPES and at a rate in Hz."""
    letters = text[:_MOST]
    seconds = SECONDS * len(letters)
    if kind == "mp3":
        # The padding is left out, for which a player is none the worse.
        frame = _MP3_HEADS[rate].ljust(_MP3_SAMPLES // 8 * _MP3_RATE // rate, b"\0")
        for _ in range(math.ceil(seconds * rate / _MP3_SAMPLES)):
            yield frame
    elif kind == "opus":
        yield from _ogg(math.ceil(seconds * 48_000 / _OPUS_SAMPLES))
    else:
        each = int(SECONDS * rate)
        if kind == "wav":
            size = 2 * each * len(letters)
            yield struct.pack("<4sI8sIHHIIHH", b"RIFF", 36 + size, b"WAVEfmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
            yield struct.pack("<4sI", b"data", size)
        for letter in letters:
            yield _tone(ord(letter), each, rate)


def _tone(letter: int, samples: int, rate: int) -> bytes:
    pitch = 0.0 if chr(letter).isspace() else 220 * 2 ** (letter % 24 / 12)
    step = 2 * math.pi * pitch / rate
    # Louder, then softer, so that the next one does not begin with a crack.
    swell = math.pi / samples
    tone = array.array("h", (int(8000 * math.sin(step * at) * math.sin(swell * at)) for at in range(samples)))
    if sys.byteorder == "big":
        tone.byteswap()
    return tone.tobytes()


def _ogg(packets: int) -> Iterator[bytes]:
    """Yield the pages of an Ogg file of Opus packets without sound (RFC 7845)."""
    yield _page(0, 2, 0, [struct.pack("<8sBBHIhB", b"OpusHead", 1, 1, 0, 48_000, 0, 0)])
    yield _page(1, 0, 0, [struct.pack("<8sI8sI", b"OpusTags", 8, b"stand-in", 0)])
    for page, start in enumerate(range(0, packets, _OPUS_PACKETS_A_PAGE), 2):
        end = min(start + _OPUS_PACKETS_A_PAGE, packets)
        yield _page(page, 4 if end == packets else 0, end * _OPUS_SAMPLES, [_OPUS_PACKET] * (end - start))


def _page(number: int, flags: int, position: int, packets: list[bytes]) -> bytes:
    head = struct.pack("<4sBBqIIIB", b"OggS", 0, flags, position, 1, number, 0, len(packets))
    page = head + bytes(map(len, packets)) + b"".join(packets)
    return page[:22] + struct.pack("<I", _checksum(page)) + page[26:]


def _checksum(data: bytes) -> int:
    checksum = 0
    for byte in data:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = checksum << 1 ^ (0x104C11DB7 if checksum & 0x80000000 else 0)
    return checksum
