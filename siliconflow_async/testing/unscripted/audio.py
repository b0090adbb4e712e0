"""What the stand-in says, hears, and which voices it knows."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import msgspec

from ..serving.refusals import Refused, refuse
from .forms import read_form
from .question import Question
from .rules import Range, check_number, check_one_of, require
from .sounds import TYPES, sound

__all__ = ["ANSWERS"]

_MOST_CHARACTERS = 128_000
_MOST_BYTES = 50 * 1024 * 1024
_MOST_VOICES = 1000
_RATES = {"mp3": (32_000, 44_100), "opus": (48_000,)}
_SAMPLES = Range(int, 8000, 44_100)
_RANGES = {"speed": Range(float, 0.25, 4), "gain": Range(float, -10, 10), "max_tokens": Range(int, 1)}
_encode = msgspec.json.Encoder().encode


async def _speech(question: Question) -> None:
    """Answer `POST /audio/speech`."""
    request = question.json()
    question.model(request)
    text = request.get("input")
    if not isinstance(text, str) or not text:
        refuse("input: Must be a string")
    require(len(text) <= _MOST_CHARACTERS, "input: The text is too long.", code=20050)
    _check_voice(question, request)
    for name, limits in _RANGES.items():
        if request.get(name) is not None:
            check_number(name, request[name], limits)
    kind = request.get("response_format") or "mp3"
    check_one_of("response_format", kind, TYPES)
    pieces = sound(text, kind, _rate(kind, request.get("sample_rate")))
    headers = {"content-type": TYPES[kind]}
    if request.get("stream") is False:
        await question.writer.whole(200, b"".join(pieces), headers)
    else:
        await question.writer.pieces(pieces, headers)


def _rate(kind: str, rate: Any) -> int:
    allowed = _RATES.get(kind)
    if rate is None:
        return 44_100 if allowed is None else allowed[-1]
    check_number("sample_rate", rate, _SAMPLES if allowed is None else Range(int))
    require(allowed is None or rate in allowed, f"sample_rate: {kind} has {' or '.join(map(str, allowed or ()))}")
    return int(rate)


def _check_voice(question: Question, request: Mapping[str, Any]) -> None:
    voice, references = request.get("voice"), request.get("references")
    require(voice is None or isinstance(voice, str), "voice: Must be a string")
    if references is not None:
        is_list = isinstance(references, list) and all(isinstance(item, dict) for item in references)
        require(is_list, "references: Must be a list of objects")
        for item in references:
            _check_recording(item.get("audio"))
        require(not voice, "voice and references can't be set together")
    elif not voice:
        refuse("voice or references must be set")
    elif voice.startswith("speech:"):
        require(voice in question.world.voices, "voice: does not exist")
    else:
        require(":" in voice, "voice: Must be model:name")


def _check_recording(audio: Any) -> None:
    is_url = isinstance(audio, str) and audio.startswith(("data:audio/", "http://", "https://"))
    require(is_url, "audio: Must be a URL or base64 with its type before it")


async def _transcription(question: Question) -> None:
    """Answer `POST /audio/transcriptions`."""
    form = read_form(question.writer.recorded)
    file = form.get("file")
    question.model({"model": form["model"].text} if "model" in form else {})
    if file is None or file.filename is None:
        refuse("file: is required")
    if len(file.data) > _MOST_BYTES:
        raise Refused(413)
    digest = hashlib.sha256(file.data).hexdigest()[:16]
    text = f"A stand-in can't hear: {file.filename} has {len(file.data)} bytes and begins its SHA-256 with {digest}."
    await question.writer.whole(200, _encode({"text": text}))


async def _create_voice(question: Question) -> None:
    """Answer `POST /uploads/audio/voice`, of JSON or of a form."""
    recorded = question.writer.recorded
    if recorded.headers.get("content-type", "").startswith("multipart/"):
        form = read_form(recorded)
        given: dict[str, Any] = {name: form[name].text for name in ("model", "customName", "text") if name in form}
        require("file" in form and form["file"].filename is not None, "file: is required")
    else:
        given = question.json()
        _check_recording(given.get("audio"))
    for name in ("customName", "text"):
        require(bool(given.get(name)) and isinstance(given[name], str), f"{name}: Must be a string")
    model, _ = question.model(given)
    voices = question.world.voices
    uri = f"speech:{given['customName']}:{secrets.token_hex(6)}:{secrets.token_hex(8)}"
    voices[uri] = {"model": model, "customName": given["customName"], "text": given["text"], "uri": uri}
    if len(voices) > _MOST_VOICES:
        del voices[next(iter(voices))]
    await question.writer.whole(200, _encode({"uri": uri}))


async def _voices(question: Question) -> None:
    """Answer `GET /audio/voice/list`."""
    question.fail()
    await question.writer.whole(200, _encode({"result": list(question.world.voices.values())}))


async def _delete_voice(question: Question) -> None:
    """Answer `POST /audio/voice/deletions`."""
    uri = question.json().get("uri")
    question.fail()
    if question.world.voices.pop(uri if isinstance(uri, str) else "", None) is None:
        refuse("The voice does not exist.", code=20063, status=404)
    await question.writer.whole(200, b"{}")


ANSWERS = {
    ("POST", "/audio/speech"): _speech,
    ("POST", "/audio/transcriptions"): _transcription,
    ("POST", "/uploads/audio/voice"): _create_voice,
    ("GET", "/audio/voice/list"): _voices,
    ("POST", "/audio/voice/deletions"): _delete_voice,
}
