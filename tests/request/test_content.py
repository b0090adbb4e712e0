"""Pictures, sound and video in a message: what is sent, and what is refused before anything is."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async import InvalidRequestError, MediaPart, audio, image, video
from siliconflow_async.request.media import HEAD, Kind, media_type

from ..asking import served

PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
WAV = b"RIFF\x24\0\0\0WAVEfmt " + bytes(20)
MP4 = b"\0\0\0\x20ftypisom\0\0\2\0isomiso2"
PNG_PART = image(PNG)
OMNI = "Qwen/Qwen3-Omni-30B-A3B-Instruct"


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def ask(*parts: object) -> dict[str, Any]:
    content = [*parts, {"type": "text", "text": "What is this?"}]
    return {"model": OMNI, "messages": [{"role": "user", "content": content}]}


@pytest.mark.parametrize(
    ("head", "kind", "expected"),
    [
        (PNG, "image", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF", "image", "image/jpeg"),
        (b"GIF89a\x01\0\x01\0", "image", "image/gif"),
        (b"RIFF\x1a\0\0\0WEBPVP8L", "image", "image/webp"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "image", "image/bmp"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image", "image/heic"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image", "image/heif"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "image", "image/avif"),
        (WAV, "audio", "audio/wav"),
        (b"ID3\x04\0\0\0\0\0\x23", "audio", "audio/mpeg"),
        (b"\xff\xfb\x90\x64\0", "audio", "audio/mpeg"),
        (b"\xff\xf1\x50\x80\0", "audio", "audio/aac"),
        (b"fLaC\0\0\0\x22", "audio", "audio/flac"),
        (b"OggS\0\2" + bytes(22) + b"\x01\x13OpusHead", "audio", "audio/ogg"),
        (b"OggS\0\2" + bytes(22) + b"\x01\x2a\x80theora", "video", "video/ogg"),
        (b"\0\0\0\x1cftypM4A \0\0\2\0", "audio", "audio/mp4"),
        (MP4, "audio", "audio/mp4"),
        (MP4, "video", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\2\0", "video", "video/quicktime"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video", "video/webm"),
        (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", "video", "video/x-matroska"),
        (b"RIFF\x1a\0\0\0AVI LIST", "video", "video/x-msvideo"),
        (b"<svg xmlns=", "image", None),
        (b"BMW is a maker of cars", "image", None),
        ("ÿþ in UTF-16".encode("utf-16"), "audio", None),
        (b"\xff", "audio", None),
        (b"", "image", None),
    ],
)
def test_the_first_bytes_tell_the_media_type(head: bytes, kind: Kind, expected: str | None) -> None:
    """Each known format is recognised; text that begins alike is not."""
    assert media_type(head[:HEAD], kind) == expected


@given(head=st.binary(max_size=HEAD), kind=st.sampled_from(["image", "audio", "video"]))
def test_any_bytes_are_told_or_not(head: bytes, kind: Kind) -> None:
    """No input breaks the telling."""
    assert (media_type(head, kind) or f"{kind}/").partition("/")[0] in ("image", "audio", "video")


@pytest.mark.anyio
@pytest.mark.parametrize("size", [0, 1, 2, 200, 500_000, 1_200_001])
@pytest.mark.parametrize("as_what", ["path", "str", "bytes", "file", "memoryview"])
async def test_every_kind_of_source_is_sent_as_a_data_url(size: int, as_what: str, tmp_path: Path) -> None:
    """A path, bytes and a file of any size arrive as the same base64, the options beside it."""
    data = PNG + os.urandom(size)
    path = tmp_path / "no picture by its name.txt"
    path.write_bytes(data)
    source = {
        "path": path,
        "str": str(path),
        "bytes": data,
        "file": io.BytesIO(data),
        "memoryview": memoryview(data),
    }[as_what]
    part = image(source, detail="low")  # type: ignore[arg-type]  # every kind of source in one dict
    expected = {"type": "image_url", "image_url": {"url": data_url("image/png", data), "detail": "low"}}
    assert part.to_dict() == expected
    async with served() as (server, client):
        await client.chat.completions.create(**ask(part))
        async with client.chat.completions.stream(**ask(part)) as stream:
            await stream.completion()
        for request in server.requests:
            assert request.json["messages"][0]["content"] == [expected, {"type": "text", "text": "What is this?"}]
            assert request.status == 200


@pytest.mark.anyio
async def test_audio_and_video_are_sent_with_their_options() -> None:
    """Each medium has its own type of part; what was not set is not sent."""
    async with served() as (server, client):
        await client.chat.completions.create(**ask(audio(WAV), video(MP4, max_frames=8, fps=0.5, detail="high")))
        sent = server.requests[0].json["messages"][0]["content"]
        assert sent[0] == {"type": "audio_url", "audio_url": {"url": data_url("audio/wav", WAV)}}
        options = {"detail": "high", "max_frames": 8, "fps": 0.5}
        assert sent[1] == {"type": "video_url", "video_url": {"url": data_url("video/mp4", MP4), **options}}


@pytest.mark.parametrize(
    "url", ["https://x.test/a.jpg?key=1", "HTTP://x.test/", "data:image/png;base64,AA==", "data:,é"]
)
def test_a_url_goes_as_it_is(url: str) -> None:
    """http, https and data URLs are not looked into."""
    assert image(url).to_dict() == {"type": "image_url", "image_url": {"url": url}}


@pytest.mark.anyio
async def test_a_part_serves_for_any_number_of_calls(tmp_path: Path) -> None:
    """A conversation with a picture in it is sent again with every turn, messages from an iterator too."""
    path = tmp_path / "cat"
    path.write_bytes(PNG)
    request = ask(image(path))
    async with served() as (server, client):
        for _ in range(2):
            await client.chat.completions.create(**{**request, "messages": iter(request["messages"])})
        first, second = server.requests
        assert first.json == second.json
        assert isinstance(request["messages"][0]["content"][0], MediaPart)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("missing.png", None, "No such file"),
        ("empty.png", b"", "nothing in it"),
        ("text.png", b"just words", "no image of a known type"),
        ("film.png", MP4, "video/mp4, not image; use video(…)"),
        ("nul\0.png", None, "can't read"),
        (".", None, "directory"),
    ],
)
async def test_a_bad_file_is_named_before_anything_is_sent(
    name: str, content: bytes | None, why: str, tmp_path: Path
) -> None:
    """The call that would send it names the file, the part and the parameter."""
    if content is not None:
        (tmp_path / name).write_bytes(content)
    path = str(tmp_path / name)
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match=r"messages\[0\]\.content\[0\]") as caught:
            await client.chat.completions.create(**ask(image(path)))
        assert caught.value.param == "messages"
        assert why in str(caught.value)
        assert repr(path) in str(caught.value)
        with pytest.raises(InvalidRequestError):
            async with client.chat.completions.stream(**ask(image(path))):
                pass
        assert server.requests == []


@pytest.mark.anyio
async def test_what_is_larger_than_the_service_takes_is_not_even_read(tmp_path: Path) -> None:
    """500 MB of base64 for all media together are the limit, and the size of a file tells: these hold only zeros."""
    for name, size in (("half", 200), ("large", 400)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size * 1024 * 1024)
    half, large = image(tmp_path / "half"), image(tmp_path / "large")
    async with served() as (server, client):
        for parts in ([PNG_PART, large], [half, half], [half, "text", half]):
            with pytest.raises(InvalidRequestError, match="500 MB") as caught:
                await client.chat.completions.create(**ask(*parts))
            assert str(caught.value).startswith(f"messages[0].content[{len(parts) - 1}]")
        with pytest.raises(InvalidRequestError, match="500 MB"):
            large.to_dict()
        assert server.requests == []


@pytest.mark.anyio
async def test_a_call_that_reads_can_be_cancelled(tmp_path: Path) -> None:
    """Reading happens elsewhere: the loop turns, and neither kind of cancellation waits for a pipe without a writer."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async with served() as (server, client):

        async def impatient() -> None:
            with anyio.move_on_after(0.05):
                await client.chat.completions.create(**ask(image(pipe)))

        calls = [
            asyncio.ensure_future(call) for call in (impatient(), client.chat.completions.create(**ask(image(pipe))))
        ]
        try:
            await asyncio.wait(calls[:1], timeout=5)
            assert [call.done() for call in calls] == [True, False]
            calls[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[1]
        finally:
            # Let the threads go that wait for a writer.
            os.close(os.open(pipe, os.O_RDWR | os.O_NONBLOCK))
        assert server.requests == []


class AsyncFile:
    async def read(self) -> bytes:
        return PNG


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (5, "not a value of type int"),
        (None, "not a value of type NoneType"),
        (b"", "nothing in it"),
        (b"text", "no image of a known type"),
        (WAV, "audio/wav, not image; use audio(…)"),
        (io.StringIO("text"), "open as text"),
        (AsyncFile(), "await file.read()"),
        ("ftp://x.test/a.png", "no http, https or data URL"),
        ("file:///a.png", "no http, https or data URL"),
    ],
)
def test_a_source_that_can_not_be_is_refused_at_once(source: Any, why: str) -> None:
    """What needs no file to be read is known as the part is made."""
    with pytest.raises(InvalidRequestError) as caught:
        image(source)
    assert why in str(caught.value)
    assert caught.value.param == "source"


def test_a_closed_file_is_refused() -> None:
    """A file that can't be read is named."""
    file = io.BytesIO(PNG)
    file.close()
    with pytest.raises(InvalidRequestError, match="can't read the file"):
        image(file)


@pytest.mark.anyio
async def test_options_and_urls_that_json_can_not_hold_are_refused() -> None:
    """They are named as any other parameter is."""
    for part in (video(MP4, fps=object()), image("https://x.test/\ud800")):  # type: ignore[arg-type]  # the point
        async with served() as (server, client):
            with pytest.raises(InvalidRequestError) as caught:
                await client.chat.completions.create(**ask(part))
            assert caught.value.param == "messages"
            assert server.requests == []


def test_a_part_shows_what_it_is_and_not_its_bytes() -> None:
    """No repr holds megabytes, nor the query of a signed URL."""
    assert repr(image(PNG)) == "<image, 28 bytes>"
    assert repr(audio("what?.wav")) == "<audio 'what?.wav'>"
    assert repr(video("https://x.test/a.mp4?signature=5")) == "<video 'https://x.test/a.mp4'>"
