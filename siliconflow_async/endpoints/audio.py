"""`client.audio`: speech from text, text from speech, and voices of one's own.

The `Args:` of its methods are what editors show of a call; they repeat the words of the TypedDicts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Required, TypeAlias, TypedDict, Unpack

from ..calls.speech import Speech, SpeechStreamManager, decode_speech, sounding
from ..elsewhere import AUDIO, SPEECH, TRANSCRIPTIONS, VOICES, Explained
from ..errors import InvalidRequestError
from ..headers import conceal
from ..request.content import MediaPart, MediaSource, prepared_urls
from ..request.fields import CallOptions, Fields, PlainCallOptions
from ..request.uploads import FileParam, OnUpload
from ..wire.endpoints.audio import (
    Transcription,
    Voice,
    VoiceDeleted,
    VoiceList,
    decode_deleted,
    decode_transcription,
    decode_voice,
    decode_voices,
)
from .uploading import upload

if TYPE_CHECKING:
    from ..calls.service import Service
    from ..stream.bytestream import ByteStream

__all__ = [
    "Audio",
    "SpeechParams",
    "Speeches",
    "TranscriptionParams",
    "Transcriptions",
    "VoiceCreateParams",
    "VoiceReferenceParam",
    "Voices",
]

SpeechFormat: TypeAlias = Literal["mp3", "opus", "wav", "pcm"]


class VoiceReferenceParam(TypedDict):
    """A recording to speak like, and what is said in it."""

    audio: MediaPart | MediaSource
    text: str


class SpeechParams(CallOptions, total=False):
    """Keywords of `client.audio.speech`."""

    model: Required[str]
    """The model's name, "org/name"."""
    input: Required[str]
    """What to say; at most 128000 characters."""
    voice: str | None
    """"model:name" for one of the model's own, or the `uri` of one that was made of a recording."""
    references: Sequence[VoiceReferenceParam] | None
    """In place of a voice: recordings to speak like, each with its text."""
    response_format: SpeechFormat | None
    """"mp3" (default), "opus", "wav" or "pcm"."""
    sample_rate: int | None
    """In Hz. opus: 48000; wav and pcm: 8000 … 44100; mp3: 32000 or 44100."""
    speed: float | None
    """0.25 … 4; default 1."""
    gain: float | None
    """-10 … 10 dB; default 0."""
    max_tokens: int | None
    """At most so many tokens of sound."""


class TranscriptionParams(CallOptions, total=False):
    """Keywords of `client.audio.transcriptions.create`."""

    file: Required[FileParam]
    """A path, bytes, an open binary file, or a tuple of a name and one of these; at most 1 h and 50 MB."""
    model: Required[str]
    """The model's name, "org/name"."""
    on_progress: OnUpload | None
    """Told how many bytes have been sent, and of how many."""


class VoiceCreateParams(CallOptions, total=False):
    """Keywords of `client.audio.voices.create`."""

    model: Required[str]
    """The model that will speak so, "org/name"."""
    custom_name: Required[str]
    """A name to know it by."""
    text: Required[str]
    """What is said in the recording."""
    file: FileParam | None
    """The recording: a path, bytes, an open binary file, or a tuple of a name and one of these."""
    audio: MediaPart | MediaSource | None
    """In place of a file: a recording to send as base64, or its data URL."""
    on_progress: OnUpload | None
    """Told how many bytes of a file have been sent, and of how many."""


_SPEAK = Fields(SpeechParams, "model", "input")
_TRANSCRIBE = Fields(TranscriptionParams, "file", "model")
_VOICE = Fields(VoiceCreateParams, "model", "custom_name", "text", local=("custom_name", "on_progress"))
_PLAIN = Fields(PlainCallOptions)


class Audio(Explained):
    """The `audio` of a client."""

    __slots__ = ("speech", "transcriptions", "voices")
    elsewhere = AUDIO

    def __init__(self, service: Service) -> None:
        self.speech = Speeches(service)
        self.transcriptions = Transcriptions(service)
        self.voices = Voices(service)


class Speeches(Explained):
    """Speech from text."""

    __slots__ = ("_service",)
    elsewhere = SPEECH

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[SpeechParams]) -> Speech:
        """Have a text spoken, and return all of it: `await speech.save("hello.mp3")`.

        It may be as large as the client's `max_body_size`; `stream` has no limit.

        Args:
            model: The model's name, "org/name".
            input: What to say; at most 128000 characters.
            voice: "model:name" for one of the model's own, or the `uri` of one that was made of a recording.
            references: In place of a voice: recordings to speak like, each with its text.
            response_format: "mp3" (default), "opus", "wav" or "pcm".
            sample_rate: In Hz. opus: 48000; wav and pcm: 8000 … 44100; mp3: 32000 or 44100.
            speed: 0.25 … 4; default 1.
            gain: -10 … 10 dB; default 0.
            max_tokens: At most so many tokens of sound.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _SPEAK.check(params)
        body = await _spoken(params, stream=False)
        return await self._service.fetch("POST", "/audio/speech", decode_speech, params, body=body, weighs=params)

    def stream(self, **params: Unpack[SpeechParams]) -> SpeechStreamManager:
        """Have a text spoken, and get it as it comes: `async with … .stream(…) as stream`, a ByteStream.

        `async for data in stream`, or `await stream.save(path)`. One that breaks off raises TruncatedStreamError after
        the last bytes that came, whose `received` counts them. `await ….stream(…).open()` opens one without `async
        with`, such as for a web server's response.

        Args:
            model: The model's name, "org/name".
            input: What to say; at most 128000 characters.
            voice: "model:name" for one of the model's own, or the `uri` of one that was made of a recording.
            references: In place of a voice: recordings to speak like, each with its text.
            response_format: "mp3" (default), "opus", "wav" or "pcm".
            sample_rate: In Hz. opus: 48000; wav and pcm: 8000 … 44100; mp3: 32000 or 44100.
            speed: 0.25 … 4; default 1.
            gain: -10 … 10 dB; default 0.
            max_tokens: At most so many tokens of sound.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Entering raises what `create` raises; reading raises TruncatedStreamError, APITimeoutError and ClosedError.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _SPEAK.check(params)

        async def opener() -> ByteStream:
            body = await _spoken(params, stream=True)
            return await sounding(await self._service.stream("POST", "/audio/speech", params, body=body, weighs=params))

        return SpeechStreamManager(opener)


class Transcriptions(Explained):
    """Text from speech."""

    __slots__ = ("_service",)
    elsewhere = TRANSCRIPTIONS

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[TranscriptionParams]) -> Transcription:
        """Have a recording written down: `done.text`.

        The file is read while it is sent, and never whole in memory.

        Args:
            file: A path, bytes, an open binary file, or a tuple of a name and one of these; at most 1 h and 50 MB.
            model: The model's name, "org/name".
            on_progress: Told how many bytes have been sent, and of how many.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises, InvalidRequestError also for a file that can't be read.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _TRANSCRIBE.check(params)
        fields = {"model": params["model"]}
        return await upload(self._service, "/audio/transcriptions", decode_transcription, params, fields, weighs=params)


class Voices(Explained):
    """Voices that were made of recordings."""

    __slots__ = ("_service",)
    elsewhere = VOICES

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[VoiceCreateParams]) -> Voice:
        """Make a voice of a recording; its `uri` is what `voice=` takes.

        It is sent again only where the service has surely not begun, since it would make two of them.

        Args:
            model: The model that will speak so, "org/name".
            custom_name: A name to know it by.
            text: What is said in the recording.
            file: The recording: a path, bytes, an open binary file, or a tuple of a name and one of these.
            audio: In place of a file: a recording to send as base64, or its data URL.
            on_progress: Told how many bytes of a file have been sent, and of how many.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises; PermissionDeniedError, code 20051, where the account's owner has yet to
        prove who they are.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _VOICE.check(params)
        file, audio = params.get("file"), params.get("audio")
        if (file is None) == (audio is None):
            raise InvalidRequestError("file or audio: give the recording as one of them", param="file")
        path = "/uploads/audio/voice"
        if file is None:
            json = _VOICE.body(await prepared_urls(params, "audio", "audio"), customName=params["custom_name"])
            return await self._service.fetch("POST", path, decode_voice, params, body=json, repeatable=False)
        fields = {"model": params["model"], "customName": params["custom_name"], "text": params["text"]}
        return await upload(self._service, path, decode_voice, params, fields, repeatable=False)

    async def list(self, **params: Unpack[PlainCallOptions]) -> VoiceList:
        """Ask for the account's voices: they are in `data`.

        Args:
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        return await self._service.fetch("GET", "/audio/voice/list", decode_voices, params)

    async def delete(self, uri: str, **params: Unpack[PlainCallOptions]) -> VoiceDeleted:
        """Forget a voice.

        Args:
            uri: The voice's `uri`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        if not isinstance(uri, str) or not uri:
            raise InvalidRequestError(f"uri must be text, not {uri!r}", param="uri")
        body = _PLAIN.body({"uri": uri})
        deleted = await self._service.fetch("POST", "/audio/voice/deletions", decode_deleted, params, body=body)
        deleted.uri = uri
        return deleted


async def _spoken(params: SpeechParams, *, stream: bool) -> bytes:
    """Return the JSON body of a request for speech, recordings encoded off the loop."""
    references = params.get("references")
    if references is None:
        return _SPEAK.body(params, stream=stream)
    if isinstance(references, str | Mapping) or not all(isinstance(item, Mapping) for item in references):
        raise InvalidRequestError("references must be a list of mappings of audio and text", param="references")
    ready = [await prepared_urls(item, "audio", "audio") for item in references]
    return _SPEAK.body({**params, "references": ready}, stream=stream)
