"""What the stand-in has made, at URLs of its own: whoever has one gets the file, without a key.

The URL says what the file is, so nothing has to be kept. A key that is sent there is a client's fault: as the stores of
signed URLs do, the stand-in then refuses the request.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from ..serving.refusals import Refused
from .pictures import film, picture

if TYPE_CHECKING:
    from ..serving.writer import AnswerWriter
    from .question import Question

__all__ = ["PATH", "made", "url_of"]

PATH = re.compile(r"/made/(?P<seed>[0-9a-f]{64})-(?P<width>[0-9]{1,4})x(?P<height>[0-9]{1,4})\.(?P<kind>png|avi)")
_TWO_KEYS = b"<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>"
_TYPES = {"png": "image/png", "avi": "video/x-msvideo"}


def url_of(question: Question, prompt: str, size: str, kind: str) -> str:
    """Return where a picture or film is that was made of a prompt, in `size` "1024x1024"."""
    seed = hashlib.sha256(prompt.encode("utf-8", "replace")).hexdigest()
    return f"{question.writer.origin}/made/{seed}-{size}.{kind}"


async def made(writer: AnswerWriter, named: re.Match[str]) -> None:
    """Send a file."""
    asked = writer.recorded
    if "authorization" in asked.headers:
        raise Refused(400, _TWO_KEYS)
    width, height, kind = int(named["width"]), int(named["height"]), named["kind"]
    if not width or not height:
        raise Refused(404)
    paint = picture if kind == "png" else film
    await writer.whole(200, paint(width, height, bytes.fromhex(named["seed"])), {"content-type": _TYPES[kind]})
