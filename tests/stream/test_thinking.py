"""Reasoning: split off where it comes as `<think>`, and sent back where it is wanted."""

from __future__ import annotations

import pytest

from siliconflow_async import ContentDelta, ReasoningDelta, TruncatedStreamError
from siliconflow_async.testing import Rst

from ..asking import ASK, chunk, served

pytestmark = pytest.mark.anyio

PIECES = ["<thi", "nk>\nLight", ", then.</thi", "nk>\n", "\nRayleigh", " scattering."]


async def test_every_way_to_read_sees_the_split() -> None:
    """Chunks, `text()`, `events()`, `completion()` and whole answers agree."""
    async with served() as (server, client):
        server.reply(PIECES, times=5)
        ask = {**ASK, "split_think": True}
        done = await client.chat.completions.create(**ask)
        assert (done.reasoning_content, done.content) == ("Light, then.", "Rayleigh scattering.")
        async with client.chat.completions.stream(**ask) as stream:
            chunks = [c async for c in stream]
        assert "".join(c.reasoning_content or "" for c in chunks) == done.reasoning_content
        assert "".join(c.content or "" for c in chunks) == done.content
        async with client.chat.completions.stream(**ask) as stream:
            assert "".join([text async for text in stream.text()]) == done.content
        async with client.chat.completions.stream(**ask) as stream:
            events = [event async for event in stream.events()]
        assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == done.reasoning_content
        assert "".join(e.text for e in events if isinstance(e, ContentDelta)) == done.content
        async with client.chat.completions.stream(**ask) as stream:
            folded = await stream.completion()
        assert (folded.reasoning_content, folded.content) == (done.reasoning_content, done.content)
        assert all("split_think" not in request.json for request in server.requests)


async def test_nothing_is_split_unasked() -> None:
    """Content stays as it came."""
    async with served() as (server, client):
        server.reply(PIECES, times=2)
        assert (await client.chat.completions.create(**ASK)).content == "".join(PIECES)
        async with client.chat.completions.stream(**ASK, split_think=False) as stream:
            assert (await stream.completion()).content == "".join(PIECES)


async def test_half_a_tag_is_not_lost_where_the_connection_breaks_or_is_left() -> None:
    """What is held back is given out before the error, and is in `partial` after leaving."""
    async with served() as (server, client):
        server.raw([chunk("<think>Hm"), chunk(".</th"), Rst()])
        async with client.chat.completions.stream(**ASK, split_think=True) as stream:
            with pytest.raises(TruncatedStreamError) as caught:
                await stream.completion()
        assert caught.value.partial is not None
        assert caught.value.partial.reasoning_content == "Hm.</th"
        server.raw([chunk("<thi")], times=1)
        async with client.chat.completions.stream(**ASK, split_think=True) as stream:
            pass
        assert stream.partial.content == "<thi"


async def test_reasoning_goes_back_where_it_is_wanted() -> None:
    """A message takes its reasoning along on tool turns; as `to_dict()` always."""
    async with served() as (server, client):
        server.reply("Blue.", reasoning="Hm.")
        plain = (await client.chat.completions.create(**ASK)).choices[0].message
        server.reply(reasoning="Hm.", tool_calls=[{"name": "f", "arguments": {}}])
        calling = (await client.chat.completions.create(**ASK)).choices[0].message
        answer = {"role": "tool", "tool_call_id": calling.tool_calls[0].id, "content": "5"}
        for message in (plain, plain.to_dict(), calling, calling.to_dict()):
            server.reply("Yes.")
            await client.chat.completions.create(
                model=ASK["model"], messages=[*ASK["messages"], message, answer, *ASK["messages"]]
            )
        sent = [request.json["messages"][1] for request in server.requests[2:]]
        assert [turn.get("reasoning_content") for turn in sent] == [None, "Hm.", "Hm.", "Hm."]
        assert "reasoning_content" not in sent[0]
        assert [turn["content"] for turn in sent] == ["Blue.", "Blue.", "", ""]
