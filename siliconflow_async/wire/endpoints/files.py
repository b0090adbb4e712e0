"""Files that the service keeps: what `/files` sends back, wrapped or as the openai package knows it.

The decoders raise APIStatusError for an error under 200, MalformedStreamError for what is no such answer. Of fields of
odd types, what can be read is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer, to_text
from ..plain import Headed, Plain, nothing, told
from .wrapped import page_in, unwrapped

__all__ = [
    "FileDeleted",
    "FileList",
    "FileObject",
    "decode_deleted",
    "decode_file",
    "decode_files",
]

_NO_FILE = "no file"
_NO_LIST = "no list of files"


class FileObject(Headed, Plain):
    """A file that the service keeps: `bytes` long, made at `created_at` (Unix seconds).

    `id` is what a batch names it by. `raw` is the body as it came, `headers` the answer's headers with lower-case
    names, `trace_id` what SiliconFlow's support asks for; an entry of a list has none of these.
    """

    id: str
    object: str = told("file")
    bytes: int = told(0)
    created_at: int = told(0)
    filename: str = told("")
    purpose: str = told("")
    status: str | None = None
    expires_at: int | None = None


class FileList(Headed, Plain):
    """Files that the service keeps, in `data`; where it `has_more`, `list(after=last_id)` goes on."""

    object: str = told("list")
    data: list[FileObject] = msgspec.field(default_factory=nothing)
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = told(False)


class FileDeleted(Headed, Plain):
    """Whether a file is gone."""

    id: str
    object: str = told("file")
    deleted: bool = told(False)


def decode_file(body: bytes, mask: Mask = unmasked) -> FileObject:
    """Decode the answer to an upload, or to a question about one file."""
    value = unwrapped(body, _NO_FILE, mask)
    if not to_text(value.get("id")):
        raise malformed(body, "no id", _NO_FILE, mask)
    file = _file(value)
    file.raw = body
    return file


def decode_files(body: bytes, mask: Mask = unmasked) -> FileList:
    """Decode a list of files: the list itself, `{"data": […]}` or that within a wrapping."""
    page = page_in(body, _NO_LIST, mask)
    files = FileList(
        data=[_file(entry) for entry in page.entries],
        first_id=page.first_id,
        last_id=page.last_id,
        has_more=page.has_more,
    )
    files.raw = body
    return files


def decode_deleted(body: bytes, mask: Mask = unmasked) -> FileDeleted:
    """Decode what is said of a file that was deleted; no words at all (204) say that it is."""
    if not body:
        return FileDeleted(id="", deleted=True)
    value = value_in(body, _NO_FILE, mask)
    told_of = value.get("data") if isinstance(value, dict) and isinstance(value.get("data"), dict) else value
    if not isinstance(value, dict) or not isinstance(told_of, dict):
        raise malformed(body, "no object", _NO_FILE, mask)
    # A wrapping alone, without `data`, says by its status that all is well.
    deleted = FileDeleted(
        id=to_text(told_of.get("id")) or "",
        deleted=told_of.get("deleted") is True or ("deleted" not in told_of and value.get("status") is True),
    )
    deleted.raw = body
    return deleted


def _file(value: Mapping[str, Any]) -> FileObject:
    return FileObject(
        id=value["id"],
        object=to_text(value.get("object")) or "file",
        bytes=to_integer(value.get("bytes")) or 0,
        created_at=to_integer(value.get("created_at")) or 0,
        filename=to_text(value.get("filename")) or "",
        purpose=to_text(value.get("purpose")) or "",
        status=to_text(value.get("status")),
        expires_at=to_integer(value.get("expires_at")),
    )
