"""The heads of answers: what is taken of them, and what an error says of those that can't be read."""

from __future__ import annotations

import asyncio
import gzip
import importlib.util
import json
import zlib
from typing import Any

import pytest

from siliconflow_async import APIConnectionError, AsyncSiliconFlow, TruncatedStreamError
from siliconflow_async.testing import Fin, Stall
from siliconflow_async.transport.connector import MAX_HEAD

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio

STREAMING = pytest.mark.parametrize("streaming", [False, True], ids=["whole", "stream"])

WHOLE = json.dumps({"choices": [{"index": 0, "message": {"content": "abc"}, "finish_reason": "stop"}]}).encode()
STREAM = b"".join([chunk("a"), chunk("b"), chunk("c", finish="stop"), DONE])


# What aiohttp undoes where the package is there.
PACKAGES = {"br": ["brotli", "brotlicffi"], "zstd": ["compression", "backports"]}
WITHOUT = [name for name, packages in PACKAGES.items() if not any(map(importlib.util.find_spec, packages))]


def head(*fields: bytes, streaming: bool) -> bytes:
    kind = b"text/event-stream" if streaming else b"application/json"
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"content-type: " + kind, *fields, b"", b""])


def pieces_of(body: bytes, *, size: int = 7) -> bytes:
    """Return a chunked body in many small chunks, so that each read may end anywhere."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


async def ask(client: AsyncSiliconFlow, *, streaming: bool) -> str | None:
    if not streaming:
        return (await client.chat.completions.create(**ASK)).content
    async with client.chat.completions.stream(**ASK) as stream:
        return (await stream.completion()).content


@STREAMING
@pytest.mark.parametrize(
    "fields",
    [[b"x-trace: " + b"v" * (65_536 - 7)], [b"x-%d: v" % number for number in range(296)]],
    ids=["64 KiB", "300 fields"],
)
async def test_large_headers_are_taken(fields: list[bytes], streaming: bool) -> None:
    """Gateways put whole policies and long traces there."""
    body = STREAM if streaming else WHOLE
    async with served() as (server, client):
        start = head(*fields, b"content-length: %d" % len(body), streaming=streaming)
        server.raw([start + body], framing="verbatim")
        assert await ask(client, streaming=streaming) == "abc"


@STREAMING
@pytest.mark.parametrize("fields", [[b"x-trace: " + b"v" * 70_000], [b"x-%d: v" % number for number in range(300)]])
async def test_beyond_their_limits_headers_are_an_error(fields: list[bytes], streaming: bool) -> None:
    """Or a server could fill the memory with them. Its words are of the headers: nobody answered with a 400."""
    async with served() as (server, client):
        server.raw([head(*fields, streaming=streaming)], framing="verbatim", times=None)
        with pytest.raises(APIConnectionError, match=r"^the answer's headers can't be read: ") as caught:
            await ask(client, streaming=streaming)
    assert "400" not in str(caught.value)
    assert caught.value.attempts == 1


async def test_a_head_has_a_bound_as_a_whole() -> None:
    """Fields within their limits come to no more than 1 MiB, and hints count, however they come in."""
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    fields = [b"x-%d: " % number + b"v" * 60_000 for number in range(30)]
    for before in ([], [hint], [hint] * 40_000):
        async with served() as (server, client):
            server.raw([*before, head(*fields, streaming=False)], framing="verbatim")
            with pytest.raises(
                APIConnectionError,
                match=r"^the answer's headers can't be read: .*(bytes of them, or more|came at once)",
            ):
                await ask(client, streaming=False)
        assert len(server.requests) == 1


async def test_a_head_of_exactly_its_bound_is_beyond_it() -> None:
    """There is no size from which on nobody counts."""
    begun = head(*[b"x-%d: " % number + b"v" * 60_000 for number in range(17)], streaming=False)[:-2]
    begun += b"x: " + b"v" * (MAX_HEAD - len(begun) - 3)
    async with served() as (server, client):
        server.raw([begun, Stall()], framing="verbatim")
        with pytest.raises(APIConnectionError, match="bytes of them, or more"):
            async with asyncio.timeout(5):
                await ask(client, streaming=False)


async def test_an_answer_after_hints_is_read() -> None:
    """Their heads are not the answer's."""
    hint = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    whole = head(b"content-length: %d" % len(WHOLE), streaming=False) + WHOLE
    for steps in ([hint + whole], [hint, whole], [hint, hint, whole[:20], whole[20:90], whole[90:]]):
        async with served() as (server, client):
            server.raw(steps, framing="verbatim")
            assert await ask(client, streaming=False) == "abc"


@STREAMING
@pytest.mark.parametrize("split", [0, 1, 30, 90])
@pytest.mark.parametrize(
    ("fields", "press"),
    [
        ([b"transfer-encoding: gzip, chunked"], gzip.compress),
        ([b"Transfer-Encoding: GZIP , chunked"], gzip.compress),
        ([b"transfer-encoding: x-gzip, chunked"], gzip.compress),
        ([b"transfer-encoding: deflate, chunked"], zlib.compress),
        ([b"transfer-encoding: chunked", b"content-encoding: x-gzip"], gzip.compress),
        ([b"transfer-encoding: chunked", b"content-encoding: gzip"], gzip.compress),
        ([b"transfer-encoding: chunked", b"content-encoding: identity"], bytes),
    ],
)
async def test_what_is_compressed_on_its_way_is_read(
    fields: list[bytes], press: Any, split: int, streaming: bool
) -> None:
    """However it comes in; and the connection serves the next request."""
    answer = head(*fields, streaming=streaming) + pieces_of(press(STREAM if streaming else WHOLE))
    async with served() as (server, client):
        server.raw([answer[:split], answer[split:]] if split else [answer], framing="verbatim", times=None)
        for _ in range(2):
            assert await ask(client, streaming=streaming) == "abc"
    assert server.connections.accepted == 1


async def test_a_compressed_stream_is_given_out_as_it_comes() -> None:
    """What a server has flushed is not held back until the end."""
    press = zlib.compressobj(wbits=31)
    start = head(b"transfer-encoding: gzip, chunked", streaming=True)
    first = press.compress(chunk("a")) + press.flush(zlib.Z_SYNC_FLUSH)
    async with served() as (server, client):
        server.raw([start + pieces_of(first)[:-5], Stall()], framing="verbatim")
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await anext(stream)).content == "a"


@STREAMING
@pytest.mark.parametrize("damage", ["cut", "broken"])
async def test_a_compressed_answer_that_is_broken_is_truncated(damage: str, streaming: bool) -> None:
    """The end of the HTTP body is not the end of what it holds."""
    packed = gzip.compress(STREAM[: -len(DONE) - 60] if streaming else WHOLE)
    packed = packed[:-4] if damage == "cut" else packed[:15] + b"\xff" * 9 + packed[24:]
    answer = head(b"transfer-encoding: gzip, chunked", streaming=streaming) + pieces_of(packed)
    async with served(max_retries=0) as (server, client):
        server.raw([answer], framing="verbatim")
        with pytest.raises(TruncatedStreamError):
            await ask(client, streaming=streaming)


@STREAMING
@pytest.mark.parametrize("encoding", ["compress", "gzip, gzip", "aws-chunked", *WITHOUT])
async def test_an_encoding_that_nobody_undoes_is_named(encoding: str, streaming: bool) -> None:
    """Instead of taking for the answer what is none; br and zstd are read where their packages are."""
    async with served() as (server, client):
        fields = [b"content-encoding: " + encoding.encode(), b"content-length: 4"]
        server.raw([head(*fields, streaming=streaming) + b"\x8b\x02\x80\x03"], framing="verbatim")
        with pytest.raises(APIConnectionError, match=f"can't be read.*{encoding}") as caught:
            await ask(client, streaming=streaming)
    assert not caught.value.transient


@STREAMING
@pytest.mark.parametrize("encoding", PACKAGES)
async def test_an_encoding_is_undone_where_its_package_is(encoding: str, streaming: bool) -> None:
    """Nothing is asked for but plain bodies; some send them regardless."""
    body = STREAM if streaming else WHOLE
    if encoding == "br":
        packed = pytest.importorskip("brotli").compress(body)
    else:
        packed = pytest.importorskip("compression.zstd").compress(body)
    fields = [b"content-encoding: " + encoding.encode(), b"content-length: %d" % len(packed)]
    async with served() as (server, client):
        server.raw([head(*fields, streaming=streaming) + packed], framing="verbatim")
        assert await ask(client, streaming=streaming) == "abc"


@STREAMING
async def test_headers_that_break_off_are_not_shown(streaming: bool) -> None:
    """The error says what happened, not what aiohttp made of the half."""
    async with served(max_retries=0) as (server, client):
        server.raw([head(streaming=streaming)[:-2], Fin()], framing="verbatim")
        with pytest.raises(APIConnectionError, match="closed amid the answer's headers") as caught:
            await ask(client, streaming=streaming)
    assert caught.value.transient
