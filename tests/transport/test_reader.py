"""The reader of an answer's body: as aiohttp's, but for what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import StreamReader

from siliconflow_async.testing import Stall
from siliconflow_async.transport import reader
from siliconflow_async.transport.reader import AnswerReader

from ..asking import ASK, DONE, chunk, served
from ..connection import reading_pauses

if TYPE_CHECKING:
    from siliconflow_async import ChatStream

pytestmark = pytest.mark.anyio


def reader_of(stream: ChatStream) -> Any:
    return stream._reading._body._content


async def test_this_aiohttp_has_the_names_that_it_leans_on() -> None:
    """With others aiohttp's own reader would stay, and each token cost more."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            assert type(reader_of(stream)) is AnswerReader


@pytest.mark.parametrize("fits", [True, False])
async def test_another_aiohttp_is_read_as_it_comes(monkeypatch: pytest.MonkeyPatch, fits: bool) -> None:
    """Streams and whole answers are the same by aiohttp's own reader."""
    monkeypatch.setattr(reader, "_FITS", fits)
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b"), Stall()])
        async with client.chat.completions.stream(**ASK) as stream:
            assert type(reader_of(stream)) is (AnswerReader if fits else StreamReader)
            texts = stream.text()
            assert [await anext(texts), await anext(texts)] == ["a", "b"]
        server.reply("whole")
        assert (await client.chat.completions.create(**ASK)).content == "whole"


async def test_a_server_that_sends_byte_by_byte_is_held_back() -> None:
    """Each byte in an HTTP chunk of its own: the pieces that wait are counted too, and none is lost."""
    said = "x" * 40_000
    async with served() as (server, client):
        server.raw([chunk("first"), *(bytes([byte]) for byte in chunk(said)), DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            texts = stream.text()
            assert await anext(texts) == "first"
            pieces = reader_of(stream)._buffer
            await reading_pauses(client)
            # What one receive of 64 KiB adds to the limit, at six bytes on the wire for one.
            assert 4_096 < len(pieces) < 4_096 + 65_536 / 6
            assert await anext(texts) == said
