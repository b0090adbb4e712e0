"""Sound and what is heard in it: what `/audio` and `/uploads/audio` send back.

The decoders raise APIStatusError for an error under 200, MalformedStreamError for what is no such answer. Fields of odd
types are left out.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from ..failures import Mask, malformed, unmasked, value_in, value_of
from ..lenient import to_text
from ..plain import Headed, Plain, nothing, told
from .wrapped import unwrapped

__all__ = [
    "Transcription",
    "Voice",
    "VoiceDeleted",
    "VoiceList",
    "check_sound",
    "decode_deleted",
    "decode_transcription",
    "decode_voice",
    "decode_voices",
    "no_sound",
]

_NO_SOUND = "no sound"
_NO_TEXT = "no transcription"
_NO_VOICE = "no voice"
_NO_VOICES = "no list of voices"


class Transcription(Headed, Plain):
    """What was said: `text`. `raw` is the body as it came, `trace_id` what SiliconFlow's support asks for."""

    text: str


class Voice(Headed, Plain):
    """A voice that was made of a recording: `uri` is what `voice=` takes.

    `text` is what is said in the recording. One that was just made has its `uri` alone.
    """

    uri: str
    model: str | None = None
    custom_name: str | None = msgspec.field(default=None, name="customName")
    text: str | None = None


class VoiceList(Headed, Plain):
    """The voices of an account, in `data`."""

    object: str = told("list")
    data: list[Voice] = msgspec.field(default_factory=nothing)


class VoiceDeleted(Headed, Plain):
    """That a voice is gone."""

    uri: str
    deleted: bool = told(True)


def check_sound(body: bytes, mask: Mask = unmasked) -> None:
    """Raise for a body that is JSON or a page; raw samples may begin as either, but don't go on so."""
    start = body[:64].lstrip()
    if start[:5].lower() in (b"<html", b"<!doc"):
        no_sound(body, mask)
    if start.startswith(b"{"):
        try:
            value_of(body)
        except ValueError:
            return
        no_sound(body, mask)


def no_sound(body: bytes, mask: Mask = unmasked) -> NoReturn:
    """Raise for a body that is said to be no sound: the error that it holds, if it does."""
    value_in(body, _NO_SOUND, mask)
    raise malformed(body, "JSON", _NO_SOUND, mask)


def decode_transcription(body: bytes, mask: Mask = unmasked) -> Transcription:
    """Decode the answer to a recording."""
    heard = to_text(unwrapped(body, _NO_TEXT, mask).get("text"))
    if heard is None:
        raise malformed(body, "no text", _NO_TEXT, mask)
    answer = Transcription(text=heard)
    answer.raw = body
    return answer


def decode_voice(body: bytes, mask: Mask = unmasked) -> Voice:
    """Decode the answer to a recording that a voice was made of."""
    voice = _voice(unwrapped(body, _NO_VOICE, mask))
    if voice is None:
        raise malformed(body, "no uri", _NO_VOICE, mask)
    voice.raw = body
    return voice


def decode_voices(body: bytes, mask: Mask = unmasked) -> VoiceList:
    """Decode a list of voices, which is at `result` or `results`, as the documentation leaves open, or at `data`."""
    value = value_in(body, _NO_VOICES, mask)
    given = value if isinstance(value, dict) else {}
    if isinstance(given.get("data"), dict):
        given = given["data"]
    entries = next((given[name] for name in ("result", "results", "data") if isinstance(given.get(name), list)), None)
    if entries is None:
        raise malformed(body, "no result", _NO_VOICES, mask)
    voices = VoiceList(data=[voice for entry in entries if (voice := _voice(entry)) is not None])
    voices.raw = body
    return voices


def decode_deleted(body: bytes, mask: Mask = unmasked) -> VoiceDeleted:
    """Decode what is said of a voice that was deleted, which is nothing in particular; an error is raised."""
    if body:
        value_in(body, _NO_VOICE, mask)
    return VoiceDeleted(uri="")


def _voice(entry: Any) -> Voice | None:
    uri = to_text(entry.get("uri")) if isinstance(entry, dict) else None
    if not uri:
        return None
    return Voice(
        uri=uri,
        model=to_text(entry.get("model")),
        custom_name=to_text(entry.get("customName")),
        text=to_text(entry.get("text")),
    )
