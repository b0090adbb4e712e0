"""Bodies of `multipart/form-data`, as they came."""

from __future__ import annotations

import re
from email.message import Message
from email.parser import BytesHeaderParser
from typing import NamedTuple

from ..serving.record import RecordedRequest
from ..serving.refusals import Refused

__all__ = ["FormPart", "read_form"]

_END = b"\r\n\r\n"


class FormPart(NamedTuple):
    """One part: a field, or with a `filename` a file."""

    data: bytes
    filename: str | None
    content_type: str | None

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace")


def read_form(request: RecordedRequest) -> dict[str, FormPart]:
    """Return the parts of a form by their names; raise Refused for what is no form."""
    head = Message()
    head["content-type"] = request.headers.get("content-type", "")
    boundary = head.get_boundary()
    if head.get_content_type() != "multipart/form-data" or not boundary:
        raise Refused(400)
    mark = b"--" + boundary.encode()
    parts: dict[str, FormPart] = {}
    start = request.body.find(mark)
    while start >= 0 and not request.body.startswith(b"--", start := start + len(mark)):
        end = request.body.find(b"\r\n" + mark, start)
        begin = request.body.find(_END, start)
        if not 0 <= begin < end:
            raise Refused(400)
        fields = BytesHeaderParser().parsebytes(request.body[start:begin].lstrip())
        named = _named(request.body[start:begin])
        if "name" not in named:
            raise Refused(400)
        data = request.body[begin + len(_END) : end]
        parts[named["name"]] = FormPart(data, named.get("filename"), fields.get("content-type"))
        start = end + 2
    return parts


def _named(head: bytes) -> dict[str, str]:
    """Return the name of a part, and of its file, which are UTF-8 as they are (RFC 7578)."""
    found = re.findall(r'(?i)[;\s](name|filename)="((?:[^"\\\r\n]|\\.)*)"', head.decode("utf-8", "replace"))
    return {name.lower(): re.sub(r"\\(.)", r"\1", value) for name, value in found}
