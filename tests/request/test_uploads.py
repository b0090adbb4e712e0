"""What may be sent as a file, and how: in forms, on real sockets."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import threading
import tracemalloc
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web

from siliconflow_async import APIConnectionError, InvalidRequestError, PayloadTooLargeError
from siliconflow_async.request.uploads import UploadProgress, form

from ..calls.test_service import Endpoint, asked, content, parts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio

DATA = bytes(range(256)) * 8_000  # more than aiohttp takes as one piece without a warning
DIGEST = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "声音.wav"
    path.write_bytes(DATA)
    return path


async def arrived(file: Any, *, failures: int = 0, **fields: Any) -> list[list[Any]]:
    """Send a form with the file; return its parts: name, file name, type, size, digest."""

    async def overloaded(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=503, text="{}")

    async with asked(Endpoint(*[overloaded] * failures, parts)) as service:
        done = await service.fetch("POST", "/thing", content, {}, body=await form(file, fields))
    found: list[list[Any]] = msgspec.json.decode(done.data)["parts"]
    return found


def renamed(path: Path) -> tuple[str, Path, str]:
    return "other.bin", path, "audio/x-mine"


KINDS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "path": (lambda path: path, "声音.wav", "audio/x-wav"),
    "name of a file": (str, "声音.wav", "audio/x-wav"),
    "bytes": (lambda _: DATA, "upload", "application/octet-stream"),
    "bytearray": (lambda _: bytearray(DATA), "upload", "application/octet-stream"),
    "name and bytes": (lambda _: ("a.jsonl", DATA), "a.jsonl", "application/octet-stream"),
    "no name and bytes": (lambda _: (None, DATA), "upload", "application/octet-stream"),
    "name, path and type": (renamed, "other.bin", "audio/x-mine"),
    "in memory": (lambda _: io.BytesIO(DATA), "upload", "application/octet-stream"),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_each_kind_of_file_arrives_whole(kind: str, path: Path) -> None:
    """With its name, and again where the service was overloaded the first time."""
    make, filename, content_type = KINDS[kind]
    *fields, file = await arrived(make(path), failures=1, purpose="batch", count=2, is_it=True, none=None)
    assert [field[0] for field in fields] == ["purpose", "count", "is_it"]
    assert [field[4] for field in fields] == [hashlib.sha256(text).hexdigest() for text in (b"batch", b"2", b"true")]
    assert file[:2] == ["file", filename]
    assert file[2] in (content_type, content_type.replace("x-wav", "wav"), "audio/vnd.wave")
    assert file[3:] == [len(DATA), DIGEST]


async def test_an_open_file_is_sent_from_where_it_stands_and_stays_open(path: Path) -> None:
    """A retry begins there too."""
    with path.open("rb") as file:
        file.seek(1000)
        (sent,) = await arrived(file, failures=1)
        assert not file.closed
    assert sent[1:2] == ["声音.wav"]
    assert sent[3:] == [len(DATA) - 1000, hashlib.sha256(DATA[1000:]).hexdigest()]


async def test_what_cannot_be_read_twice_is_read_at_once(path: Path) -> None:
    """Such as a pipe, also where a retry needs it again."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(DATA)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(reading, "rb") as pipe:
        (sent,) = await arrived(pipe, failures=1)
    thread.join()
    assert sent[1:] == ["upload", "application/octet-stream", len(DATA), DIGEST]


async def test_a_file_is_never_whole_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 * 1024 * 1024)

    async def counted(request: web.Request) -> web.StreamResponse:
        size = 0
        async for data in request.content.iter_any():
            size += len(data)
        return web.json_response(size)

    async with asked(Endpoint(counted)) as service:
        tracemalloc.start()
        try:
            done = await service.fetch("POST", "/thing", content, {}, body=await form(path, {}))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert int(done.data) > 64 * 1024 * 1024
    assert peak < 8 * 1024 * 1024


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.parent / "none", "No such file"),
        (lambda path: path.parent, "no regular file"),
        (lambda path: "a\0b", "null"),
        (lambda path: path.open(encoding="latin-1"), "opened as binary"),
        (lambda path: io.StringIO("x"), "opened as binary"),
        (lambda path: 7, "a value of type int"),
        (lambda path: None, "a value of type NoneType"),
        (lambda path: ("a", b"x", "text/plain", {}), "a tuple has"),
        (lambda path: ("a\r\nb", b"x"), "no file name"),
        (lambda path: (7, b"x"), "no file name"),
        (lambda path: ("a", b"x", "text/plain\n"), "media type"),
    ],
)
async def test_what_is_no_file_is_refused_by_name(make: Callable[[Path], Any], words: str, path: Path) -> None:
    file = make(path)
    try:
        with pytest.raises(InvalidRequestError, match=words) as caught:
            await form(file, {})
    finally:
        if hasattr(file, "close"):
            file.close()
    assert caught.value.param == "file"


async def test_a_closed_file_is_refused(path: Path) -> None:
    with path.open("rb") as file:
        pass
    with pytest.raises(InvalidRequestError, match="closed"):
        await form(file, {})


@pytest.mark.parametrize("value", ["\ud800", [1], {"a": 1}, object()])
async def test_a_field_that_is_no_text_is_refused_by_name(value: Any) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        await form(b"x", {"purpose": value})
    assert caught.value.param == "purpose"


async def test_what_has_no_keyword_goes_along() -> None:
    async with asked(Endpoint(parts)) as service:
        body = await form(b"x", {"a": "1"}, extra_body={"b": 2.5, "c": None})
        done = await service.fetch("POST", "/thing", content, {}, body=body)
    assert [part[0] for part in msgspec.json.decode(done.data)["parts"]] == ["a", "b", "file"]
    with pytest.raises(InvalidRequestError, match="extra_body must be a mapping"):
        await form(b"x", {}, extra_body=[("b", 1)])  # type: ignore[arg-type]


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
async def test_a_name_that_is_no_text_is_sent_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"a\xff\nb")
    path.touch()
    (sent,) = await arrived(path)
    assert sent[1] == "a? b"


async def test_progress_is_told_up_to_the_last_byte(path: Path) -> None:
    """From 0, ever more, of one total, which is that of the form; anew for a retry."""
    told: list[tuple[int, int]] = []

    async def overloaded(request: web.Request) -> web.StreamResponse:
        await request.read()
        return web.Response(status=503, text="{}")

    async with asked(Endpoint(overloaded, parts)) as service:
        body = await form(path, {}, on_progress=lambda sent, total: told.append((sent, total)))
        await service.fetch("POST", "/thing", content, {}, body=body)
    (total,) = {total for _, total in told}
    assert total > len(DATA)
    again = told.index((0, total), 1)
    for attempt in (told[:again], told[again:]):
        sizes = [sent for sent, _ in attempt]
        assert sizes == sorted(sizes)
        assert (sizes[0], sizes[-1]) == (0, total)


async def test_an_error_of_the_users_own_ends_the_call_and_is_raised(path: Path) -> None:
    """Not what became of the call."""

    def tell(sent: int, total: int) -> None:
        raise KeyError(sent)

    endpoint = Endpoint(parts)
    progress = UploadProgress(tell)
    async with asked(endpoint) as service:
        with pytest.raises(KeyError), progress.raised():
            await service.fetch("POST", "/thing", content, {}, body=await form(path, {}, on_progress=progress))


async def test_a_refusal_amid_the_upload_is_seen(tmp_path: Path) -> None:
    """And the file is closed."""
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(32 * 1024 * 1024)

    async def refuse(request: web.Request) -> web.StreamResponse:
        await request.content.readany()
        response = web.Response(status=413, text="{}")
        response.force_close()
        return response

    async with asked(Endpoint(refuse)) as service:
        with pytest.raises(PayloadTooLargeError):
            await service.fetch("POST", "/thing", content, {}, body=await form(path, {}))


async def test_a_file_that_becomes_shorter_is_no_success() -> None:
    """What the form promised can't be kept."""

    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 10)) if self.tell() < 10 else b""

    async with asked(Endpoint(parts), max_retries=0) as service:
        with pytest.raises(APIConnectionError, match="no answer"):
            await service.fetch("POST", "/thing", content, {}, body=await form(Shrinking(b"x" * 100), {}))


async def test_a_temporary_file_will_do() -> None:
    with tempfile.TemporaryFile() as file:
        file.write(DATA)
        file.seek(0)
        (sent,) = await arrived(file)
    assert sent[3:] == [len(DATA), DIGEST]
