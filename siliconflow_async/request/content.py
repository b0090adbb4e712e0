"""Pictures, sound and video for a message: `image(…)`, `audio(…)` and `video(…)` make the parts of its content.

    messages = [{"role": "user", "content": [image("cat.jpg"), {"type": "text", "text": "What is this?"}]}]

A part is small: what it names is read and encoded by each call that sends it, in a thread where that may take long.
`to_dict()` does so at once. The media type is told by the first bytes (see `media`), never by a file's name.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, BinaryIO, Literal, TypeAlias

import msgspec
from anyio import to_thread

from ..checks import LISTS, MAPPINGS
from ..errors import InvalidRequestError
from .media import HEAD, Kind, media_type

__all__ = ["Detail", "MediaPart", "MediaSource", "audio", "image", "prepared", "prepared_urls", "video"]

MediaSource: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO"
Detail: TypeAlias = Literal["auto", "low", "high"]

# What the service takes in one request, as base64 and all.
_LIMIT = 500 * 1024 * 1024
# Up to here encoding takes less than a switch of threads and its turns of the loop are worth.
_INLINE = 256 * 1024
# Read and encoded at a time, in whole groups of three: base64 holds the GIL, and the loop wants it in between.
_STEP = 3 * 128 * 1024
_URL = re.compile(r"(https?://|data:)", re.IGNORECASE)
_OTHER_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class MediaPart(msgspec.Struct, frozen=True):
    """A part of a message's content; made by `image`, `audio` and `video`.

    `source` is a URL, a path, or the bytes themselves; `options` is what goes beside the URL, such as `detail`.
    """

    kind: Kind
    source: str | bytes
    is_url: bool
    options: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Read, encode, and return the part as the service wants it; blocks. Raises InvalidRequestError."""
        part: dict[str, Any] = msgspec.json.decode(self.encode(self.kind, _LIMIT))
        return part

    def encode(self, where: str, room: int) -> bytearray:
        """Return the part as JSON of at most `room` bytes; `where` names it in errors. Blocks."""
        url = f"{self.kind}_url"
        rest = b"".join(b",%b:%b" % (_json(name), _json(value)) for name, value in self.options.items())
        out = bytearray(b'{"type":%b,%b:{"url":' % (_json(url), _json(url)))
        self.encode_url(where, room, out)
        out += rest + b"}}"
        self._check(where, len(out), room)
        return out

    def encode_url(self, where: str, room: int, out: bytearray) -> bytearray:
        """Add what it is of as the JSON text of a URL; return `out`. Blocks."""
        self.check_size(where, room)
        if self.is_url:
            assert isinstance(self.source, str)
            out += _json_text(self.source, where)
        elif isinstance(self.source, bytes):
            self._begin(out, self.source[:HEAD], where)
            for at in range(0, len(self.source), _STEP):
                out += base64.b64encode(self.source[at : at + _STEP])
            out += b'"'
        else:
            self._read_file(self.source, out, where, room)
        return out

    def check_size(self, where: str, room: int) -> int:
        """Return how many bytes it will take, without reading it; raise InvalidRequestError if that is above `room`."""
        if self.is_url:
            size = len(self.source)
        elif isinstance(self.source, bytes):
            size = _encoded_size(len(self.source))
        else:
            try:
                size = _encoded_size(os.stat(self.source).st_size)
            except (OSError, ValueError) as error:  # ValueError: a null character
                raise _unreadable(where, self.source, error) from error
        self._check(where, size, room)
        return size

    def is_quick(self) -> bool:
        """Whether encoding it holds nobody up."""
        return (self.is_url or isinstance(self.source, bytes)) and len(self.source) <= _INLINE

    def __repr__(self) -> str:
        if isinstance(self.source, bytes):
            return f"<{self.kind}, {len(self.source)} bytes>"
        return f"<{self.kind} {self.source[:80].partition('?')[0] if self.is_url else self.source!r}>"

    def _read_file(self, path: str, out: bytearray, where: str, room: int) -> None:
        try:
            with open(path, "rb") as file:
                piece = file.read(_STEP)
                self._begin(out, piece[:HEAD], where)
                while piece:
                    out += base64.b64encode(piece)
                    # A file may grow, and a device has no size.
                    self._check(where, len(out), room)
                    piece = file.read(_STEP)
        except OSError as error:
            raise _unreadable(where, path, error) from error
        out += b'"'

    def _begin(self, out: bytearray, head: bytes, where: str) -> None:
        what = f"the {len(self.source)} bytes" if isinstance(self.source, bytes) else repr(self.source)
        out += b'"data:%b;base64,' % checked_type(self.kind, head, where, what).encode()

    def _check(self, where: str, size: int, room: int) -> None:
        if size > room:
            limit = f"{_LIMIT >> 20} MB for all media of a request"
            raise _refused(where, f"{self!r} takes {size} bytes as base64, more than what is left of {limit}")


def image(source: MediaSource, *, detail: Detail | None = None) -> MediaPart:
    """Return a picture as a part of a message's content.

    source: a path; an http, https or data URL (a str that begins so); bytes; or a binary file, which is read at once.
        PNG, JPEG, GIF, WebP, BMP and HEIC are known; a data URL goes as it is.
    detail: how closely to look, "auto", "low" or "high"; None: as the service sees fit.
    Raises InvalidRequestError for anything else; the call that sends the part raises it for a file that is
    missing, can't be read, is empty or of another type, and where the media of a request exceed 500 MB.
    """
    return _part("image", source, {"detail": detail})


def audio(source: MediaSource) -> MediaPart:
    """Return a sound as a part of a message's content; up to 30 s is advised.

    source: as for `image`; WAV, MP3, FLAC, Ogg, AAC, M4A and WebM are known.
    """
    return _part("audio", source, {})


def video(
    source: MediaSource, *, max_frames: int | None = None, fps: float | None = None, detail: Detail | None = None
) -> MediaPart:
    """Return a video as a part of a message's content; up to 30 s is advised.

    source: as for `image`; MP4, QuickTime, WebM, Matroska, AVI and Ogg are known.
    max_frames, fps: how many frames to look at, in all and in a second.
    detail: as for `image`.
    """
    return _part("video", source, {"detail": detail, "max_frames": max_frames, "fps": fps})


async def prepared(messages: Any) -> Any:
    """Return the messages with their media parts as JSON (`msgspec.Raw`), read and encoded off the loop if need be.

    Messages without such parts come back as they are. Raises InvalidRequestError that names the part.
    """
    if not isinstance(messages, LISTS):
        if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Iterable):
            return messages
        messages = list(messages)
    parts = [
        (f"messages[{at}].content[{place}]", part)
        for at, message in enumerate(messages)
        if isinstance(message, MAPPINGS) and isinstance(content := message.get("content"), LISTS)
        for place, part in enumerate(content)
        if isinstance(part, MediaPart)
    ]
    if not parts:
        return messages
    if sum(len(part.source) for _, part in parts) <= _INLINE and all(part.is_quick() for _, part in parts):
        encoded = _encode_all(parts)
    else:
        # What it reads changes nothing, so a cancelled call need not wait for a slow disk.
        encoded = await to_thread.run_sync(_encode_all, parts, abandon_on_cancel=True)
    return [_with_raw(message, f"messages[{at}]", encoded) for at, message in enumerate(messages)]


async def prepared_urls(given: Mapping[str, Any], kind: Kind, *names: str) -> dict[str, Any]:
    """Return parameters, those of some names as JSON texts of URLs: what they are of is read and encoded as above.

    Each is a part, or what one of that kind is made of. Raises InvalidRequestError that names the parameter.
    """
    parts = {name: _made(kind, name, given[name]) for name in names if given.get(name) is not None}
    if not parts:
        return dict(given)
    if all(part.is_quick() for part in parts.values()):
        return {**given, **_encode_urls(parts)}
    return {**given, **await to_thread.run_sync(_encode_urls, parts, abandon_on_cancel=True)}


def _made(kind: Kind, name: str, value: Any) -> MediaPart:
    try:
        part = value if isinstance(value, MediaPart) else _part(kind, value, {})
    except InvalidRequestError as error:
        raise _refused(name, error.message.partition(": ")[2]) from error
    if part.kind != kind:
        raise _refused(name, f"{part!r} is no {kind}")
    return part


def _encode_urls(parts: Mapping[str, MediaPart]) -> dict[str, msgspec.Raw]:
    room = _LIMIT
    encoded: dict[str, msgspec.Raw] = {}
    for name, part in parts.items():
        json = part.encode_url(name, room, bytearray())
        room -= len(json)
        encoded[name] = msgspec.Raw(json)
    return encoded


def _encode_all(parts: list[tuple[str, MediaPart]]) -> dict[str, msgspec.Raw]:
    room = _LIMIT
    for where, part in parts:
        room -= part.check_size(where, room)
    encoded: dict[str, msgspec.Raw] = {}
    room = _LIMIT
    for where, part in parts:
        json = part.encode(where, room)
        room -= len(json)
        encoded[where] = msgspec.Raw(json)
    return encoded


def _with_raw(message: Any, where: str, encoded: Mapping[str, msgspec.Raw]) -> Any:
    if not isinstance(message, Mapping) or not isinstance(content := message.get("content"), list | tuple):
        return message
    return {
        **message,
        "content": [encoded.get(f"{where}.content[{place}]", part) for place, part in enumerate(content)],
    }


def _part(kind: Kind, source: Any, options: dict[str, Any]) -> MediaPart:
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(source, os.PathLike):
        return MediaPart(kind, os.fsdecode(source), False, options)
    if isinstance(source, str):
        is_url = _URL.match(source) is not None
        if not is_url and _OTHER_URL.match(source):
            raise _refused(kind, f"{source[:80]!r} is no http, https or data URL", "source")
        return MediaPart(kind, source, is_url, options)
    what = "the bytes"
    if hasattr(source, "read"):
        what = f"the file {getattr(source, 'name', None) or source!r}"
        source = _read(kind, source, what)
    if not isinstance(source, bytes | bytearray | memoryview):
        kinds = "a path, a URL, bytes or a binary file"
        raise _refused(kind, f"source must be {kinds}, not a value of type {type(source).__name__}", "source")
    data = bytes(source)
    checked_type(kind, data[:HEAD], kind, what, "source")
    return MediaPart(kind, data, False, options)


def _read(kind: Kind, file: Any, what: str) -> Any:
    try:
        data = file.read()
    except (OSError, ValueError) as error:
        raise _refused(kind, f"can't read {what}: {error}", "source") from error
    if hasattr(data, "close"):
        data.close()
        raise _refused(kind, f"{what} is read with await: give what `await file.read()` returns", "source")
    if isinstance(data, str):
        raise _refused(kind, f"{what} is open as text: open it with mode 'rb'", "source")
    return data


def checked_type(kind: Kind, head: bytes, where: str, what: str, param: str | None = None) -> str:
    """Return the media type of what begins with `head`; raise InvalidRequestError if it is no such medium."""
    if not head:
        raise _refused(where, f"{what}: nothing in it", param)
    found = media_type(head, kind)
    if found is None:
        raise _refused(where, f"{what}: no {kind} of a known type; a data: URL goes as it is", param)
    if not found.startswith(f"{kind}/"):
        raise _refused(where, f"{what}: {found}, not {kind}; use {found.partition('/')[0]}(…)", param)
    return found


def _encoded_size(size: int) -> int:
    return (size + 2) // 3 * 4


def _unreadable(where: str, path: str, error: OSError | ValueError) -> InvalidRequestError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _refused(where, f"can't read {path!r}: {why}")


def _json(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidRequestError(f"an option of a media part can't be sent: {error}", param="messages") from error


def _json_text(url: str, where: str) -> bytes:
    try:
        return msgspec.json.encode(url)
    except UnicodeEncodeError as error:
        raise _refused(where, f"the URL can't be sent: {error}") from error


def _refused(where: str, why: str, param: str | None = None) -> InvalidRequestError:
    return InvalidRequestError(f"{where}: {why}", param=where.partition("[")[0] if param is None else param)
