"""`client.audio`: speech whole and as it comes, transcriptions of files of any size, voices."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import tracemalloc
from contextlib import asynccontextmanager
from io import BytesIO
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from starlette.responses import StreamingResponse

from siliconflow_async import (
    APIStatusError,
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    BusyError,
    ClosedError,
    InvalidRequestError,
    MalformedStreamError,
    NotFoundError,
    PayloadTooLargeError,
    PermissionDeniedError,
    ServerError,
    Timeouts,
    TruncatedStreamError,
    audio,
)
from siliconflow_async.testing import FakeSiliconFlow, Fin, Stall

from ..asking import NO_WAIT, served
from ..connect_proxy import ConnectProxy
from ..tls import AUTHORITY, HOST, listening, speaking_tls, trusting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from siliconflow_async.answers import ByteStream

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
SOUND = {"content-type": "audio/mpeg"}
SPEAK: dict[str, Any] = {"model": "FunAudioLLM/CosyVoice2-0.5B", "input": "Hello", "voice": "m:anna"}
HEAR: dict[str, Any] = {"model": "FunAudioLLM/SenseVoiceSmall"}
MP3 = b"ID3" + bytes(range(256)) * 4


async def read(stream: ByteStream, pieces: list[bytes]) -> None:
    async for piece in stream:
        pieces.append(piece)


class TestSpeech:
    """All of it at once."""

    async def test_it_is_the_bytes_that_came(self, tmp_path: Path) -> None:
        """Under the names of the openai package too."""
        async with served() as (server, client):
            server.raw([MP3], headers=SOUND)
            speech = await client.audio.speech.create(**SPEAK)
            assert speech.content == speech.read() == MP3
            assert speech.headers["content-type"] == "audio/mpeg"
            assert speech.trace_id == server.requests[0].trace_id
            assert await speech.save(tmp_path / "a") == len(MP3)
            speech.write_to_file(tmp_path / "b")
            await speech.astream_to_file(tmp_path / "c")
        assert {(tmp_path / name).read_bytes() for name in "abc"} == {MP3}
        assert repr(speech) == "Speech()"

    async def test_only_what_was_given_is_sent(self) -> None:
        """And whether it is to come as a stream, which the service's default is."""
        full = {"response_format": "wav", "sample_rate": 16_000, "speed": 1.5, "gain": -3.0, "max_tokens": 9}
        async with served() as (server, client):
            await client.audio.speech.create(**SPEAK)
            async with client.audio.speech.stream(**SPEAK, **full) as stream:  # type: ignore[arg-type]
                await read(stream, [])
        plain, streamed = server.requests
        assert (plain.method, plain.path) == ("POST", "/v1/audio/speech")
        assert plain.json == {**SPEAK, "stream": False}
        assert streamed.json == {**SPEAK, **full, "stream": True}

    async def test_recordings_to_speak_like_are_sent_as_data_urls(self, tmp_path: Path) -> None:
        """From whatever a chat takes."""
        path = tmp_path / "me"
        path.write_bytes(MP3)
        spoken = {"model": "a/b", "input": "Hello"}
        async with served() as (server, client):
            references: Any = [{"audio": path, "text": "one"}, {"audio": audio(MP3), "text": "two"}]
            await client.audio.speech.create(**spoken, references=references)
            with pytest.raises(InvalidRequestError, match="references") as caught:
                await client.audio.speech.create(**spoken, references=["me.mp3"])  # type: ignore[list-item]
            assert caught.value.param == "references"
            with pytest.raises(InvalidRequestError, match="no audio"):
                await client.audio.speech.create(**spoken, references=[{"audio": b"no", "text": "a"}])
        url = audio(MP3).to_dict()["audio_url"]["url"]
        assert server.requests[0].json["references"] == [{"audio": url, "text": "one"}, {"audio": url, "text": "two"}]
        assert len(server.requests) == 1

    @pytest.mark.parametrize("body", [b'{"data": "x"}', b"<html><body>no", b"<!DOCTYPE html>"])
    @pytest.mark.parametrize("streaming", [False, True])
    async def test_what_is_no_sound_is_malformed(self, body: bytes, streaming: bool) -> None:
        """JSON or a page under 200; an error in it is the error that it says."""
        headers = {"content-type": "text/html" if body.startswith(b"<") else "application/json"}

        async def speak() -> None:
            if not streaming:
                await client.audio.speech.create(**SPEAK)
            else:
                await client.audio.speech.stream(**SPEAK).open()

        async with served() as (server, client):
            server.raw([body], headers=headers)
            with pytest.raises(MalformedStreamError) as caught:
                await speak()
            assert caught.value.trace_id == server.requests[0].trace_id
            server.fail(200, {"code": 20050, "message": "too long"})
            with pytest.raises(APIStatusError, match="too long") as refused:
                await speak()
            assert (refused.value.code, refused.value.trace_id) == (20050, server.requests[1].trace_id)

    async def test_samples_may_look_like_anything(self) -> None:
        """Raw ones begin with any byte."""
        async with served() as (server, client):
            server.raw([b"{\x00\x01\x02"], headers={"content-type": "audio/pcm"})
            assert (await client.audio.speech.create(**SPEAK)).content == b"{\x00\x01\x02"


class TestSpeechStreams:
    """As it comes."""

    async def test_bytes_are_given_out_as_they_come(self, tmp_path: Path) -> None:
        """One by one, the rest to a file; the connection serves again."""
        async with served() as (server, client):
            for _ in range(2):
                async with client.audio.speech.stream(**SPEAK, response_format="wav") as stream:
                    first = await anext(stream)
                    rest = await stream.save(tmp_path / "rest")
                assert (stream.ended, stream.received) == ("finish", len(first) + rest)
            whole = await client.audio.speech.create(**SPEAK, response_format="wav")
        assert first + (tmp_path / "rest").read_bytes() == whole.content
        assert {request.connection for request in server.requests} == {1}

    async def test_one_that_breaks_off_says_how_much_had_come(self, tmp_path: Path) -> None:
        """After the last byte of it; a file that it was to fill is not there."""
        async with served() as (server, client):
            server.raw([b"abc", b"def", Fin()], headers=SOUND, times=2)
            pieces: list[bytes] = []
            async with client.audio.speech.stream(**SPEAK) as stream:
                with pytest.raises(TruncatedStreamError, match="after 6 bytes") as caught:
                    await read(stream, pieces)
            assert (b"".join(pieces), caught.value.received) == (b"abcdef", 6)
            async with client.audio.speech.stream(**SPEAK) as stream:
                with pytest.raises(TruncatedStreamError):
                    await stream.save(tmp_path / "a")
        assert os.listdir(tmp_path) == []

    async def test_a_manager_opens_once(self) -> None:
        """By `open` too, for who reads it to its end; that is the reader's to close."""
        async with served() as (_, client):
            manager = client.audio.speech.stream(**SPEAK)
            assert "not entered" in repr(manager)
            stream = await manager.open()
            with pytest.raises(BusyError, match="opened before"):
                await manager.open()
            await read(stream, [])
            assert stream.ended == "finish"

    async def test_leaving_it_closes_the_connection(self) -> None:
        """In whatever way: the block's end, a cancellation."""
        async with served() as (server, client):
            server.raw([b"abc", Stall()], headers=SOUND, times=2)
            async with client.audio.speech.stream(**SPEAK) as stream:
                await anext(stream)
            await server.left_early(1)
            with pytest.raises(ClosedError):
                await anext(stream)

            async def speak() -> None:
                async with client.audio.speech.stream(**SPEAK) as stream:
                    await read(stream, [])

            task = asyncio.create_task(speak())
            await server.received(2)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await server.left_early(2)

    async def test_silence_is_a_timeout_and_a_refusal_comes_on_entering(self) -> None:
        """Where it may help, it is asked for again."""
        async with served(timeouts=Timeouts(idle=0.2)) as (server, client):
            server.raw([b"abc", Stall()], headers=SOUND)
            async with client.audio.speech.stream(**SPEAK) as stream:
                with pytest.raises(APITimeoutError):
                    await read(stream, [])
            server.fail(503, times=2)
            async with client.audio.speech.stream(**SPEAK) as stream:
                assert await anext(stream)
            server.fail(400)
            with pytest.raises(BadRequestError):
                await client.audio.speech.stream(**SPEAK).open()

    async def test_a_web_server_hands_it_on(self) -> None:
        """To the end, which gives the connection back; a browser that leaves ends it."""
        left = asyncio.Event()
        sent: list[bytes] = []

        async def receive() -> dict[str, Any]:
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        async with served() as (server, client):
            server.raw([b"abc", b"def"], headers=SOUND)
            stream = await client.audio.speech.stream(**SPEAK).open()
            scope: Any = {"type": "http", "asgi": {"spec_version": "2.3"}, "method": "GET", "headers": []}
            await StreamingResponse(stream, media_type="audio/mpeg")(scope, receive, send)
            assert (b"".join(sent), stream.ended) == (b"abcdef", "finish")
            server.raw([b"abc", Stall()], headers=SOUND)
            stream = await client.audio.speech.stream(**SPEAK).open()
            serving = asyncio.create_task(StreamingResponse(stream)(scope, receive, send))
            left.set()
            await serving
            await server.left_early()
            assert stream.ended == "closed"


class TestTranscriptions:
    """Files of any kind and size."""

    async def test_a_file_may_be_anything_that_openai_takes(self, tmp_path: Path) -> None:
        """The service sees the same bytes, with the name that the file has."""
        path = tmp_path / "a.mp3"
        path.write_bytes(MP3)
        digest = hashlib.sha256(MP3).hexdigest()[:16]
        async with served() as (server, client):
            for file, name in (
                (path, "a.mp3"),
                (str(path), "a.mp3"),
                (MP3, "upload"),
                (BytesIO(MP3), "upload"),
                (("b.wav", MP3), "b.wav"),
                (("c.wav", BytesIO(MP3), "audio/x-wav"), "c.wav"),
            ):
                done = await client.audio.transcriptions.create(**HEAR, file=file)
                assert f"{name} has {len(MP3)} bytes and begins its SHA-256 with {digest}" in done.text
            with path.open("rb") as opened:
                assert "a.mp3" in (await client.audio.transcriptions.create(**HEAR, file=opened)).text
        assert done.trace_id
        assert {(request.method, request.path) for request in server.requests} == {("POST", "/v1/audio/transcriptions")}

    @pytest.mark.parametrize("body", [b"{}", b'{"text":1}', b"[]", b"<html>", b"hello"])
    async def test_what_has_no_text_is_malformed(self, body: bytes) -> None:
        """An empty text is one: nobody spoke."""
        async with served() as (server, client):
            server.raw([b'{"text":""}'], headers=JSON)
            assert (await client.audio.transcriptions.create(**HEAR, file=MP3)).text == ""
            server.raw([body], headers=JSON)
            with pytest.raises(MalformedStreamError):
                await client.audio.transcriptions.create(**HEAR, file=MP3)

    async def test_what_can_not_be_sent_is_named_before_anything_is(self, tmp_path: Path) -> None:
        """And what is too large says so."""
        async with served() as (server, client):
            create = client.audio.transcriptions.create
            for file in (tmp_path / "none", tmp_path, 7, None):
                with pytest.raises(InvalidRequestError, match="file") as caught:
                    await create(**HEAR, file=file)  # type: ignore[arg-type]
                assert caught.value.param == "file"
            with pytest.raises(InvalidRequestError, match="on_progress"):
                await create(**HEAR, file=MP3, on_progress=7)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="extra_body"):
                await create(**HEAR, file=MP3, language="en")  # type: ignore[call-arg]
            assert server.requests == []
            server.fail(413)
            with pytest.raises(PayloadTooLargeError):
                await create(**HEAR, file=MP3)

    @pytest.mark.parametrize("way", ["http", "https", "proxy"])
    async def test_a_large_file_is_sent_in_flat_memory_anew_after_a_failure(self, tmp_path: Path, way: str) -> None:
        """Also over TLS, and through a proxy's tunnel; each attempt tells how it gets on."""
        size = 8 << 20 if way != "http" else 32 << 20
        path = tmp_path / "large.wav"
        with path.open("wb") as file:
            file.truncate(size)
        told: list[tuple[int, int]] = []
        async with hearing(tls=way != "http") as heard, ConnectProxy() as proxy:
            options: dict[str, Any] = {} if way == "http" else {"ssl": trusting()}
            if way == "proxy":
                options["proxy"] = proxy.url()
            async with AsyncSiliconFlow("k", base_url=heard.url, retry=NO_WAIT, **options) as client:
                heard.failures = 1
                tracemalloc.start()
                try:
                    done = await client.audio.transcriptions.create(
                        **HEAR, file=path, on_progress=lambda *so_far: told.append(so_far)
                    )
                    _, peak = tracemalloc.get_traced_memory()
                finally:
                    tracemalloc.stop()
            assert len(proxy.heads) == (way == "proxy")
        assert done.text == str(size)
        assert peak < 6 << 20
        (sent, of), restarts = told[-1], sum(sent == 0 for sent, _ in told)
        assert sent == of > size
        assert restarts == 2


class Heard:
    url = ""
    failures = 0


@asynccontextmanager
async def hearing(*, tls: bool) -> AsyncIterator[Heard]:
    """A service that counts the bytes of a file, and holds none of them."""
    heard = Heard()

    async def handle(request: web.Request) -> web.StreamResponse:
        size = 0
        async for part in await request.multipart():
            while piece := await part.read_chunk(256 * 1024):  # type: ignore[union-attr]
                size += len(piece) if part.name == "file" else 0
        if heard.failures:
            heard.failures -= 1
            return web.Response(status=503, text="{}")
        return web.json_response({"text": str(size)})

    app = web.Application()
    app.router.add_post("/v1/audio/transcriptions", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    context = speaking_tls(AUTHORITY.issue_cert(HOST)) if tls else None
    await web.TCPSite(runner, HOST, 0, ssl_context=context).start()
    heard.url = f"http{'s' if tls else ''}://{HOST}:{runner.addresses[0][1]}"
    try:
        yield heard
    finally:
        await runner.cleanup()


class TestVoices:
    """Made of a recording, listed, used, deleted."""

    @pytest.mark.parametrize("how", ["file", "audio"])
    async def test_from_making_one_to_forgetting_it(self, how: str) -> None:
        """As a form or as base64."""
        recording: dict[str, Any] = {how: MP3}
        async with served() as (_, client):
            voices = client.audio.voices
            made = await voices.create(model="a/b", custom_name="me", text="Hi.", **recording)
            (listed,) = (await voices.list()).data
            assert (listed.uri, listed.model, listed.custom_name, listed.text) == (made.uri, "a/b", "me", "Hi.")
            assert listed.to_dict()["customName"] == "me"
            assert (await client.audio.speech.create(model="a/b", input="Hi", voice=made.uri)).content
            deleted = await voices.delete(made.uri)
            assert (deleted.uri, deleted.deleted) == (made.uri, True)
            assert (await voices.list()).data == []
            with pytest.raises(NotFoundError):
                await voices.delete(made.uri)
            with pytest.raises(BadRequestError, match="does not exist"):
                await client.audio.speech.create(model="a/b", input="Hi", voice=made.uri)

    @pytest.mark.parametrize("key", ["result", "results", "data"])
    async def test_the_list_may_be_under_several_names(self, key: str) -> None:
        """Entries without a uri are left out."""
        body = {key: [{"uri": "speech:a", "customName": 7}, {}, 7, {"uri": ""}]}
        async with served() as (server, client):
            for form in (body, {"code": 20000, "status": True, "data": body}):
                if key == "data" and form is not body:
                    continue
                server.raw([json.dumps(form).encode()], headers=JSON)
                voices = await client.audio.voices.list()
                assert [voice.to_dict() for voice in voices.data] == [{"uri": "speech:a"}]
            server.raw([b"{}"], headers=JSON)
            with pytest.raises(MalformedStreamError):
                await client.audio.voices.list()

    async def test_one_is_never_made_twice(self) -> None:
        """What may have been begun is not sent again."""
        async with served() as (server, client):
            for how in ({"file": MP3}, {"audio": MP3}):
                server.fail(500)
                with pytest.raises(ServerError):
                    await client.audio.voices.create(model="a/b", custom_name="me", text="Hi.", **how)  # type: ignore[arg-type]
                server.fail(503)
                made = await client.audio.voices.create(model="a/b", custom_name="me", text="Hi.", **how)  # type: ignore[arg-type]
                assert made.timing.attempts == 2
            server.fail(403, {"code": 20051, "message": "real-name"})
            with pytest.raises(PermissionDeniedError):
                await client.audio.voices.create(model="a/b", custom_name="me", text="Hi.", file=MP3)

    async def test_what_can_not_be_sent_is_named(self) -> None:
        """Neither, or both, of the ways to give it; a uri that is none."""
        async with served() as (server, client):
            voices = client.audio.voices
            for how in ({}, {"file": MP3, "audio": MP3}):
                with pytest.raises(InvalidRequestError, match="give the recording as one of them"):
                    await voices.create(model="a/b", custom_name="me", text="Hi.", **how)  # type: ignore[arg-type]
            with pytest.raises(InvalidRequestError, match="uri"):
                await voices.delete("")
            with pytest.raises(InvalidRequestError, match="audio") as caught:
                await voices.create(model="a/b", custom_name="me", text="Hi.", audio=b"no")
            assert caught.value.param == "audio"
            assert server.requests == []


class TestStandIn:
    """It answers as the service does."""

    @pytest.mark.parametrize(
        "given",
        [
            {"input": ""},
            {"voice": None},
            {"voice": "anna"},
            {"voice": "speech:none"},
            {"speed": 5},
            {"gain": -11},
            {"sample_rate": 44_100, "response_format": "opus"},
            {"sample_rate": 100, "response_format": "wav"},
            {"response_format": "flac"},
            {"references": [{"audio": MP3, "text": "a"}]},
        ],
    )
    async def test_it_refuses_what_the_service_refuses(self, given: dict[str, Any]) -> None:
        """With 400."""
        async with served() as (_, client):
            with pytest.raises(BadRequestError):
                await client.audio.speech.create(**{**SPEAK, **given})

    async def test_a_text_that_is_too_long_and_a_file_that_is_too_large(self) -> None:
        """With the codes of its documentation."""
        async with served() as (_, client):
            with pytest.raises(BadRequestError) as caught:
                await client.audio.speech.create(**{**SPEAK, "input": "a" * 128_001})
            assert caught.value.code == 20050
            with pytest.raises(PayloadTooLargeError):
                await client.audio.transcriptions.create(**HEAR, file=bytes((50 << 20) + 1))

    async def test_it_speaks_over_tls_too(self) -> None:
        """Forms and bytes alike."""
        with listening(speaking_tls(AUTHORITY.issue_cert(HOST))) as server:
            async with AsyncSiliconFlow("k", base_url=server.base_url, ssl=trusting()) as client:
                speech = await client.audio.speech.create(**SPEAK)
                assert (await client.audio.transcriptions.create(**HEAR, file=speech.content)).text
                done = await client.images.generate(model="a/b", prompt="a")
                assert done.images[0].url.startswith("https://")
                assert await done.images[0].read()

    async def test_its_pace_holds_for_speech(self) -> None:
        """So that a demo sounds like the service."""
        async with (
            FakeSiliconFlow(tokens_per_second=2000) as server,
            AsyncSiliconFlow("k", base_url=server.base_url) as client,
            client.audio.speech.stream(**SPEAK, response_format="pcm") as stream,
        ):
            pieces: list[bytes] = []
            await read(stream, pieces)
        assert len(pieces) > 1
