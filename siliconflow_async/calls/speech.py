"""Speech as an answer: whole, or as it comes."""

from __future__ import annotations

from ..stream.bytestream import ByteStream
from ..stream.manager import StreamManager
from ..wire.endpoints.audio import check_sound, no_sound
from ..wire.failures import MAX_ERROR_BODY, Mask, unmasked
from .wholebytes import WholeBytes

__all__ = ["Speech", "SpeechStreamManager", "decode_speech", "sounding"]


class Speech(WholeBytes):
    """Speech, whole: `content` is the sound, in the format that was asked for.

    `headers` are the answer's headers with lower-case names, `trace_id` what SiliconFlow's support asks for.
    """


def decode_speech(body: bytes, mask: Mask = unmasked) -> Speech:
    """Return a body as speech; raise what `check_sound` raises."""
    check_sound(body, mask)
    speech = Speech()
    speech.raw = body
    return speech


async def sounding(stream: ByteStream) -> ByteStream:
    """Return the stream if it says that sound comes; else raise what is said in place of it."""
    kind = stream.headers.get("content-type", "")
    return await stream.whole(no_sound, MAX_ERROR_BODY) if "json" in kind or "html" in kind else stream


class SpeechStreamManager(StreamManager[ByteStream]):
    """What `speech.stream(…)` returns: `async with` opens the stream, and closes it on leaving.

    `await open()` opens it too, for who reads it to its end, such as a web server's response.
    """

    __slots__ = ()
    _opens = ByteStream
    _awaited = "speech.stream(…).open()"

    async def open(self) -> ByteStream:
        """Return the stream once its first bytes are there; it is the caller's to close."""
        return await self._begin()
