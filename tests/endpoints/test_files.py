"""`client.files`: what is uploaded comes back, whatever form the answers have."""

from __future__ import annotations

import asyncio
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    BusyError,
    InvalidRequestError,
    MalformedStreamError,
    NotFoundError,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, Stall

from ..asking import served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}
DATA = b'{"custom_id": "a"}\n' * 50_000


async def test_a_file_goes_up_and_comes_back(tmp_path: Path) -> None:
    """Whole, and as a stream; with progress on the way up."""
    path = tmp_path / "请求.jsonl"
    path.write_bytes(DATA)
    told: list[tuple[int, int]] = []
    async with served() as (server, client):
        file = await client.files.create(
            file=path, purpose="batch", on_progress=lambda sent, total: told.append((sent, total))
        )
        assert (file.filename, file.bytes, file.purpose, file.object) == ("请求.jsonl", len(DATA), "batch", "file")
        assert file.created_at > 0
        assert file.trace_id == server.requests[0].trace_id
        assert told[0][0] == 0
        assert told[-1][0] == told[-1][1] > len(DATA)
        whole = await client.files.content(file.id)
        assert whole.content == whole.read() == whole.text.encode() == DATA
        async with client.files.content(file.id) as stream:
            assert b"".join([piece async for piece in stream]) == DATA
        assert stream.ended == "finish"
    assert [(request.method, request.path) for request in server.requests] == [
        ("POST", "/v1/files"),
        ("GET", f"/v1/files/{file.id}/content"),
        ("GET", f"/v1/files/{file.id}/content"),
    ]


@pytest.mark.parametrize("given", [DATA, io.BytesIO(DATA), ("a.jsonl", DATA), ("a.jsonl", io.BytesIO(DATA), "x/y")])
async def test_a_file_may_be_what_the_openai_package_takes(given: Any) -> None:
    async with served() as (_, client):
        file = await client.files.create(file=given, purpose="batch")
        assert file.filename == ("a.jsonl" if isinstance(given, tuple) else "upload")
        assert (await client.files.content(file.id)).content == DATA


async def test_files_are_listed_told_of_and_deleted() -> None:
    async with served() as (_, client):
        made = [await client.files.create(file=(f"{at}.jsonl", b"x" * at), purpose="batch") for at in range(5)]
        files = await client.files.list(limit=2, order="asc", purpose="batch")
        assert [file.filename for file in files.data] == ["0.jsonl", "1.jsonl"]
        assert files.has_more
        assert [file.bytes async for file in client.files.list(limit=2)] == [4, 3, 2, 1, 0]
        assert (await client.files.list(purpose="other")).data == []
        assert (await client.files.retrieve(made[3].id)).to_dict() == made[3].to_dict()
        deleted = await client.files.delete(made[3].id)
        assert (deleted.id, deleted.deleted) == (made[3].id, True)
        for gone in (client.files.retrieve, client.files.delete, client.files.content):
            with pytest.raises(NotFoundError):
                await gone(made[3].id)


async def test_a_service_that_knows_no_pages_is_not_asked_for_ever() -> None:
    """Each file is told once, though it says that there are more and repeats them."""
    page = json.dumps({"data": [{"id": "a"}, {"id": "b"}], "has_more": True}).encode()
    async with served() as (server, client):
        for _ in range(3):
            server.raw([page], headers=JSON)
        assert [file.id async for file in client.files.list()] == ["a", "b"]
    assert [request.query.get("after") for request in server.requests] == [None, "b"]


FILE = {"id": "f", "object": "file", "bytes": 3, "created_at": 7, "filename": "a", "purpose": "batch"}


@pytest.mark.parametrize(
    "body",
    [
        FILE,
        {"code": 20000, "message": "Ok", "status": True, "data": FILE},
        {"code": 20000, "message": "", "data": {**FILE, "bytes": 3.0, "new": [1]}},
    ],
)
async def test_an_answer_may_be_wrapped_or_not(body: Any) -> None:
    async with served() as (server, client):
        server.raw([json.dumps(body).encode()], headers=JSON)
        file = await client.files.create(file=b"abc", purpose="batch")
    assert file.to_dict() == FILE
    assert file.raw == json.dumps(body).encode()


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"id":7}', b'{"code":20000,"data":null}', b"<html>", b'"x"'])
async def test_what_is_no_file_is_malformed(body: bytes) -> None:
    async with served() as (server, client):
        server.raw([body], headers=JSON)
        with pytest.raises(MalformedStreamError, match="no file"):
            await client.files.create(file=b"abc", purpose="batch")


@pytest.mark.parametrize(
    ("body", "ids"),
    [
        ([FILE, 7, {"id": ""}], ["f"]),
        ({"object": "list", "data": [FILE, FILE]}, ["f", "f"]),
        ({"code": 20000, "status": True, "data": {"data": [FILE], "has_more": False}}, ["f"]),
        ({"code": 20000, "status": True, "data": [FILE]}, ["f"]),
        ({"code": 20000, "status": True, "data": {"files": [FILE]}}, ["f"]),
    ],
)
async def test_lists_of_every_form_are_read(body: Any, ids: list[str]) -> None:
    async with served() as (server, client):
        server.raw([json.dumps(body).encode()], headers=JSON)
        assert [file.id for file in (await client.files.list()).data] == ids
        server.raw([b'{"object":"list"}'], headers=JSON)
        with pytest.raises(MalformedStreamError, match="no list of files"):
            await client.files.list()


@pytest.mark.parametrize(
    ("body", "deleted"),
    [
        ({"id": "f", "object": "file", "deleted": True}, True),
        ({"id": "f", "deleted": False}, False),
        ({"code": 20000, "status": True, "data": {"id": "f", "deleted": True}}, True),
        ({"code": 20000, "message": "Ok", "status": True, "data": None}, True),
        ({"code": 20000, "message": "Ok", "status": False, "data": None}, False),
    ],
)
async def test_deletions_of_every_form_are_read(body: Any, deleted: bool) -> None:
    async with served() as (server, client):
        server.raw([json.dumps(body).encode()], headers=JSON)
        told = await client.files.delete("f")
    assert (told.id, told.deleted) == ("f", deleted)


async def test_no_words_say_that_a_file_is_gone() -> None:
    async with served() as (server, client):
        server.raw([], status=204)
        assert (await client.files.delete("f")).to_dict() == {"id": "f", "object": "file", "deleted": True}
        server.raw([b"[]"], headers=JSON)
        with pytest.raises(MalformedStreamError):
            await client.files.delete("f")


@pytest.mark.parametrize("bad", ["", " ", ".", "..", None, 7, "\ud800"])
async def test_an_id_that_is_none_is_named(bad: Any) -> None:
    async with served() as (server, client):
        for method in (client.files.retrieve, client.files.delete, client.files.content):
            with pytest.raises(InvalidRequestError, match="file_id") as caught:
                await method(bad)
            assert caught.value.param == "file_id"
        assert server.requests == []


async def test_an_id_is_one_part_of_the_path() -> None:
    async with served() as (server, client):
        server.raw([b'{"id":"x"}'], headers=JSON)
        await client.files.retrieve("a/b?c#d é")
    assert server.requests[0].path == "/v1/files/a/b?c#d é"
    assert server.requests[0].query == {}


async def test_a_wrong_argument_is_named_before_anything_is_sent(tmp_path: Path) -> None:
    async with served() as (server, client):
        with pytest.raises(TypeError, match="missing required keyword argument: 'purpose'"):
            await client.files.create(file=b"x")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="'files'; did you mean 'file'"):
            await client.files.create(files=b"x", purpose="batch")  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="the service decides"):
            await client.files.create(file=b"x", purpose="batch", expires_after={})  # type: ignore[call-arg]
        with pytest.raises(InvalidRequestError, match="No such file") as caught:
            await client.files.create(file=tmp_path / "none", purpose="batch")
        assert caught.value.param == "file"
        with pytest.raises(InvalidRequestError, match="limit: a value of type list"):
            await client.files.list(limit=[1])  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="purpose"):
            await client.files.create(file=b"x", purpose=None)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="on_progress must be a function"):
            await client.files.create(file=b"x", purpose="batch", on_progress=7)  # type: ignore[arg-type]
        assert server.requests == []


async def test_what_the_users_function_raises_ends_the_upload() -> None:
    def tell(sent: int, total: int) -> None:
        raise ZeroDivisionError

    async with served() as (server, client):
        with pytest.raises(ZeroDivisionError):
            await client.files.create(file=DATA, purpose="batch", on_progress=tell)
        assert server.requests == []


async def test_an_upload_is_repeated_where_the_service_was_away(tmp_path: Path) -> None:
    """And one that is cancelled leaves nothing."""
    path = tmp_path / "a"
    path.write_bytes(DATA)
    async with served() as (server, client):
        server.fail(503)
        file = await client.files.create(file=path, purpose="batch")
        assert (file.bytes, file.timing.attempts) == (len(DATA), 2)
        server.raw([Stall()])
        task = asyncio.create_task(client.files.create(file=path, purpose="batch"))
        await server.received(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.disconnected()


async def test_content_that_breaks_off_says_so() -> None:
    """What had come is given out first; an opened one is opened once."""
    async with served(max_retries=0) as (server, client):
        for _ in range(2):
            server.raw([b"abc", Fin()])
        with pytest.raises(TruncatedStreamError):
            await client.files.content("f")
        content = client.files.content("f")
        pieces = []
        async with content as stream:
            pieces.append(await anext(stream))
            with pytest.raises(TruncatedStreamError):
                await anext(stream)
        assert b"".join(pieces) == b"abc"
        with pytest.raises(BusyError):
            async with content:
                pass
