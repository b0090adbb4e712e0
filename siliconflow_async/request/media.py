"""Media types by content: `media_type(head, kind)` reads the first bytes of a file, never its name.

The signatures are those of the WHATWG MIME Sniffing Standard and, for what it leaves out, of the formats themselves.
Some containers hold sound or pictures that move; `kind` says what the caller takes them for.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

__all__ = ["HEAD", "Kind", "media_type"]

Kind: TypeAlias = Literal["image", "audio", "video"]

# How many of a file's first bytes `media_type` looks at.
HEAD = 64

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"fLaC", "audio/flac"),
    (b"ID3", "audio/mpeg"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"), "image/heic"),
    **dict.fromkeys((b"mif1", b"msf1"), "image/heif"),
    **dict.fromkeys((b"avif", b"avis"), "image/avif"),
    **dict.fromkeys((b"M4A ", b"M4B ", b"F4A "), "audio/mp4"),
    b"qt  ": "video/quicktime",
}
# Sizes of the headers that may follow a BMP's own.
_BMP_HEADERS = (12, 16, 40, 52, 56, 64, 108, 124)


def media_type(head: bytes, kind: Kind) -> str | None:
    """Return the media type of a file that begins with `head`; None if the type is not known."""
    for signature, found in _SIGNATURES:
        if head.startswith(signature):
            return found
    if head.startswith(b"RIFF"):
        return _RIFF.get(head[8:12])
    moving = "audio" if kind == "audio" else "video"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], f"{moving}/mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return f"{moving}/webm" if b"webm" in head else f"{moving}/x-matroska"
    if head.startswith(b"OggS"):
        return "video/ogg" if b"theora" in head else "audio/ogg"
    if head.startswith(b"BM") and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    return _frame_type(head)


def _frame_type(head: bytes) -> str | None:
    """Tell MP3 and AAC by the header of their first frame, where no tag comes before it."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    # Layer III, of a version, a bit rate and a sampling rate that exist: UTF-16's byte order mark is not one.
    is_mp3 = head[1] & 0x06 == 0x02 and head[1] & 0x18 != 0x08 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3
    return "audio/mpeg" if is_mp3 else None
