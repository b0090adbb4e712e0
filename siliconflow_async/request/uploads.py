"""Files that are sent as they are: what a `file=` may be, and the form that carries it.

A file is named by its path, given as bytes or as an open binary file, or as a tuple of its name, one of these, and
perhaps its media type. It is read while it is sent, and again by a retry, so that it is never whole in memory; only
what can't be read twice, such as a pipe, is read at once.
"""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import IO, Any, TypeAlias

from anyio import to_thread

from ..errors import InvalidRequestError, SiliconFlowError
from ..transport.upload import Multipart, Part
from .plain import as_plain, kind_of

__all__ = ["FileParam", "OnUpload", "UploadProgress", "file_part", "form"]

_File: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]"
FileParam: TypeAlias = "_File | tuple[str | None, _File] | tuple[str | None, _File, str | None]"
OnUpload: TypeAlias = Callable[[int, int], object]
"""Told how many bytes of a request have been sent, and how many it has."""

# The name of what has none, as the openai package sends it.
_NAMELESS = "upload"
# What would end a header, or the name in it.
_UNSENDABLE = frozenset("\r\n\0")


class UploadProgress:
    """Tells a user's function how an upload gets on; what that raises ends the call, and is raised by it."""

    def __init__(self, tell: OnUpload) -> None:
        self._tell = tell
        self._failure: Exception | None = None

    def __call__(self, sent: int, total: int) -> None:
        try:
            if self._failure is None:
                self._tell(sent, total)
        except Exception as error:
            self._failure = error
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def raised(self) -> Iterator[None]:
        """Raise the function's error in place of what became of the call that it ended."""
        try:
            yield
        except SiliconFlowError:
            if self._failure is not None:
                raise self._failure from None
            raise


async def form(
    file: Any,
    fields: Mapping[str, Any],
    *,
    extra_body: Mapping[str, Any] | None = None,
    name: str = "file",
    on_progress: OnUpload | None = None,
) -> Multipart:
    """Return a form of fields and a file, the file last; a field that is None is left out.

    Raises InvalidRequestError that names what can't be sent.
    """
    if extra_body is not None and not isinstance(extra_body, Mapping):
        raise InvalidRequestError(f"extra_body must be a mapping, not {kind_of(extra_body)}", param="extra_body")
    given = {**fields, **(extra_body or {})}
    parts = [Part(name=key, value=_text(value, key)) for key, value in given.items() if value is not None]
    return Multipart((*parts, await file_part(name, file)), on_progress)


async def file_part(name: str, file: Any) -> Part:
    """Return the part of a form that a `FileParam` is; raise InvalidRequestError for what is none."""
    filename: str | None = None
    content_type: str | None = None
    if isinstance(file, tuple):
        if not 2 <= len(file) <= 3:
            raise _refused(name, "a tuple has a file name, a file, and perhaps a media type")
        filename, file, content_type = (*file, None)[:3]
        for value in (filename, content_type):
            if value is not None and (not isinstance(value, str) or _UNSENDABLE.intersection(value)):
                raise _refused(name, f"{value!r} is no file name or media type")
    try:
        value, own, start = await _opened(file)
    except (OSError, ValueError) as error:  # ValueError: a null character, or a file that is closed
        raise _refused(name, f"it can't be read: {error}") from error
    except _NoFileError as error:
        raise _refused(name, str(error)) from error
    filename = _sound(filename or own or _NAMELESS)
    if content_type is None:
        content_type = await to_thread.run_sync(_guessed, filename)
    return Part(name=name, value=value, filename=filename, content_type=content_type, start=start)


class _NoFileError(Exception):
    pass


async def _opened(file: Any) -> tuple[bytes | Path | IO[bytes], str | None, int]:
    """Return what is sent of a file, its own name if it has one, and from which byte on."""
    if isinstance(file, bytes | bytearray | memoryview):
        return bytes(file), None, 0
    if isinstance(file, str | os.PathLike):
        path = Path(os.fsdecode(file))
        mode = (await to_thread.run_sync(path.stat)).st_mode
        if not stat.S_ISREG(mode):
            raise _NoFileError(f"{path} is no regular file, which could be read again")
        return path, path.name, 0
    if not callable(getattr(file, "read", None)):
        raise _NoFileError(f"a file is a path, bytes, or a binary file, not {kind_of(file)}")
    if not isinstance(await to_thread.run_sync(file.read, 0), bytes):
        raise _NoFileError('a file has to be opened as binary: open(…, "rb")')
    name = getattr(file, "name", None)
    own = PurePath(name).name if isinstance(name, str) else None
    if callable(getattr(file, "seekable", None)) and file.seekable():
        return file, own, await to_thread.run_sync(file.tell)
    return await to_thread.run_sync(file.read), own, 0


def _guessed(filename: str) -> str | None:
    return mimetypes.guess_type(filename)[0]


def _text(value: Any, name: str) -> str:
    """Return a field as text, numbers and truth values as JSON has them."""
    plain = as_plain(value, name)
    if isinstance(plain, bool):
        return str(plain).lower()
    if not isinstance(plain, str | int | float):
        raise _refused(name, f"{kind_of(value)} can't be sent in a form")
    try:
        str(plain).encode()
    except UnicodeEncodeError as error:
        raise _refused(name, f"it can't be sent: {error}") from error
    return str(plain)


def _sound(filename: str) -> str:
    # Names of files need not be text.
    return "".join(" " if letter in _UNSENDABLE else letter for letter in filename).encode(errors="replace").decode()


def _refused(name: str, why: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name}: {why}", param=name)
