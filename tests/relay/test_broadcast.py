"""`Broadcast`: one stream, many readers, who leave and come back."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import pytest

from siliconflow_async import (
    BusyError,
    ChatCompletion,
    ClosedError,
    ConfigurationError,
    ContentDelta,
    ErrorEvent,
    Finished,
    Started,
)
from siliconflow_async.relay import Broadcast, Reader, Snapshot, relay, sse_response
from siliconflow_async.testing import Stall, Until

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio

WORDS = [f"word{number} " for number in range(20)]


async def take(reader: Reader, count: int) -> list[Any]:
    return [await anext(reader) for _ in range(count)]


async def rest(reader: Reader) -> list[Any]:
    return [event async for event in reader]


def texts(events: list[Any]) -> str:
    return "".join(event.text for event in events if isinstance(event, ContentDelta))


async def test_every_reader_gets_every_event_of_one_upstream() -> None:
    """Those that came early, midway and after the end, each at its own pace."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk("b", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        early = broadcast.reader()
        first = await take(early, 2)
        midway = broadcast.reader()
        assert broadcast.readers == 2
        gate.set()
        whole = [*first, *await rest(early)]
        assert [type(event) for event in whole] == [Started, ContentDelta, ContentDelta, Finished]
        assert await rest(midway) == whole
        assert broadcast.ended
        assert await rest(broadcast.reader()) == whole
        assert broadcast.partial is not None
        assert broadcast.partial.content == "ab"
        assert len(server.requests) == 1


@pytest.mark.parametrize("seen", range(5))
async def test_a_reader_goes_on_after_the_event_that_it_saw_last(seen: int) -> None:
    """The header as text, or a number; nothing is lost or repeated."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b"), chunk("c", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        with_all = broadcast.reader()
        whole = await rest(with_all)
        reader = broadcast.reader(str(seen) if seen % 2 else seen)
        assert await rest(reader) == whole[seen:]
        assert reader.seq == with_all.seq == 5


@pytest.mark.parametrize("last_event_id", [None, "", "x", "-1", "99", "1e3", "٣", "9" * 5000, -1, 6])
async def test_an_id_that_means_nothing_here_begins_at_the_beginning(last_event_id: Any) -> None:
    """Such as one of an answer before the server was restarted."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b"), chunk("c", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        assert len(await rest(broadcast.reader(last_event_id))) == 5


async def test_a_reader_whose_event_is_no_longer_kept_gets_a_snapshot() -> None:
    """Of all that came so far, midway; then the events that follow."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([*map(chunk, WORDS), Until(gate), chunk("end", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=4)
        current = broadcast.reader(None)
        while broadcast.partial is None or broadcast.partial.content != "".join(WORDS):
            await anext(current)
        for last in (None, 3):
            reader = broadcast.reader(last)
            (snapshot,) = await take(reader, 1)
            assert isinstance(snapshot, Snapshot)
            assert snapshot.completion["choices"][0]["message"]["content"] == "".join(WORDS)
            assert reader.seq == len(WORDS) + 1
        assert json.loads(snapshot.to_json())["type"] == "snapshot"
        gate.set()
        events = await rest(reader)
        assert [type(event) for event in events] == [ContentDelta, Finished]
        assert texts(events) == "end"


@pytest.mark.parametrize(("text", "kept"), [("x" * 100_000, 4), ("汉" * 50_000, 4), ("x" * 1_000_000, 1)])
async def test_no_more_is_kept_than_may_be_in_bytes(text: str, kept: int) -> None:
    """However few the events; whoever wants an earlier one gets a snapshot. The latest is kept whatever its size."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([*[chunk(text)] * 20, Until(gate), chunk("end", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer_bytes=450_000)
        current = broadcast.reader()
        while current.seq < 21:
            await anext(current)
        reader = broadcast.reader(21 - kept)
        assert texts(await take(reader, kept)) == text * kept
        for last in (None, 20 - kept):
            (snapshot,) = await take(broadcast.reader(last), 1)
            assert isinstance(snapshot, Snapshot)
            assert snapshot.completion["choices"][0]["message"]["content"] == text * 20
        gate.set()
        assert [type(event) for event in await rest(reader)] == [ContentDelta, Finished]


async def test_a_client_that_comes_back_is_told_the_name_of_its_call_again() -> None:
    """With the first frame of the next connection, since that can't know what the last one was told."""
    function = {"name": "f", "arguments": "1"}
    fragment = chunk(tool_calls=[{"index": 0, "id": "a", "function": function}])
    async with served() as (server, client):
        server.raw([*[fragment] * 4, chunk(finish="tool_calls"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        await rest(broadcast.reader())
        for seen in (0, 2):
            frames: list[Any] = []

            async def send(text: str, to: list[Any] = frames) -> None:
                to.append(json.loads(text))

            await relay(broadcast.reader(seen), send, left=None, slow="wait")
            deltas = [frame for frame in frames if frame["type"] == "tool_call_delta"]
            assert [frame.get("name") for frame in deltas] == ["f"] + [None] * (len(deltas) - 1)
            assert len(deltas) == (4 if seen == 0 else 3)


@pytest.mark.parametrize("buffer", [1, 2, 3])
async def test_the_end_follows_a_snapshot(buffer: int) -> None:
    """Also where the buffer is smaller than the number of choices that finish."""
    async with served() as (server, client):
        choices = [chunk("a", index=index, finish="stop") for index in range(3)]
        server.raw([*choices, DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=buffer)
        await rest(broadcast.reader())
        snapshot, *end = await rest(broadcast.reader())
        assert [choice["message"]["content"] for choice in snapshot.completion["choices"]] == ["a"] * 3
        assert [type(event) for event in end] == [Finished] * 3
        assert await rest(broadcast.reader("8")) == end[2:]


async def test_a_slow_reader_holds_up_nobody() -> None:
    """Upstream is read to its end; whoever fell behind gets a snapshot."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("first "), Until(gate), *map(chunk, WORDS), chunk(finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=4)
        slow = broadcast.reader()
        await take(slow, 1)
        gate.set()
        await rest(broadcast.reader())
        snapshot, *end = await rest(slow)
        assert snapshot.completion["choices"][0]["message"]["content"] == "first " + "".join(WORDS)
        assert [type(event) for event in end] == [Finished]


@pytest.mark.parametrize("how", ["abort", "with", "drop"])
async def test_upstream_stops_when_the_last_reader_has_left(how: str) -> None:
    """It goes on while one is there; what had arrived is saved."""
    gc.disable()
    try:
        async with served() as (server, client):
            server.raw([chunk("a"), Stall()])
            saved: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            broadcast = Broadcast(
                client.chat.completions.stream(**ASK),
                grace=0,
                on_finish=lambda *what: saved.set_result(what),
            )
            first, last = broadcast.reader(), broadcast.reader()
            await take(first, 2)
            first.abort()
            first.abort()
            await take(last, 2)
            assert not broadcast.ended
            if how == "abort":
                last.abort()
            elif how == "with":
                async with last:
                    pass
            else:
                del last
                await asyncio.sleep(0)
            assert broadcast.readers == 0
            completion, error = await saved
            await server.left_early()
            assert (completion.content, error) == ("a", None)
            assert broadcast.ended
    finally:
        gc.enable()


async def test_a_reader_that_comes_back_in_time_keeps_upstream_going() -> None:
    """The grace period ends with it, and begins anew when it leaves."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk("b", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), grace=600)
        reader = broadcast.reader()
        await take(reader, 2)
        reader.abort()
        assert broadcast.readers == 0
        gate.set()
        assert texts(await rest(broadcast.reader(reader.seq))) == "b"
        assert server.requests[0].completed


async def test_nobody_ever_coming_is_nobody_there() -> None:
    """The grace period begins with the broadcast; with None upstream is read to its end."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        # Open already: however short the time without a reader, there is something to leave.
        Broadcast(await client.chat.completions.create(**ASK, stream=True), grace=0.01)
        await server.left_early()
        server.reply("whole")
        ended: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        Broadcast(client.chat.completions.stream(**ASK), grace=None, on_finish=lambda *what: ended.set_result(what))
        completion, _ = await ended
        assert completion.content == "whole"


async def test_stopping_ends_upstream_and_tells_every_reader() -> None:
    """By an error event, after what had arrived; whoever comes later is told as well."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        reader = broadcast.reader()
        await take(reader, 2)
        waiting = asyncio.ensure_future(rest(reader))
        await asyncio.sleep(0)
        broadcast.stop()
        (event,) = await waiting
        assert isinstance(event, ErrorEvent)
        assert event.error == "ClosedError"
        assert (await rest(broadcast.reader()))[-1] == event
        await server.left_early()
        await broadcast.aclose()
        assert broadcast.error is None


async def test_closing_waits_until_the_answer_is_saved() -> None:
    """`aclose()` is `stop()`, and awaits an async `on_finish`."""
    async with served() as (server, client):
        server.raw([Stall()])
        saved = []

        async def save(completion: ChatCompletion | None, error: Exception | None) -> None:
            await asyncio.sleep(0)
            saved.append((completion, error))

        broadcast = Broadcast(client.chat.completions.stream(**ASK), on_finish=save)
        await server.received()
        await broadcast.aclose()
        assert saved == [(None, None)]
        await server.left_early()


async def test_a_failure_of_upstream_is_told_to_every_reader() -> None:
    """As the last event, and again to whoever comes back."""
    async with served() as (server, client):
        server.raw([chunk("a")])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        events = await rest(broadcast.reader())
        assert events[-1].error == "TruncatedStreamError"
        assert await rest(broadcast.reader(2)) == events[2:]
        assert type(broadcast.error).__name__ == "TruncatedStreamError"


async def test_a_reader_that_has_left_reads_no_more() -> None:
    """Also one that is waiting; two tasks can't read one reader."""
    async with served() as (server, client):
        server.raw([Stall()])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), grace=0)
        reader = broadcast.reader()
        waiting = asyncio.ensure_future(anext(reader))
        await server.received()
        with pytest.raises(BusyError):
            await anext(reader)
        reader.abort()
        with pytest.raises(ClosedError):
            await waiting
        with pytest.raises(ClosedError):
            await anext(reader)
        await server.left_early()


async def test_a_websocket_resumes_where_it_was_cut() -> None:
    """Each frame has its `seq`; the next relay begins after the one that the client saw last."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), chunk("b"), Until(gate), chunk("c", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        frames: list[Any] = []

        async def breaks(text: str) -> None:
            frames.append(json.loads(text))
            if len(frames) == 2:
                raise OSError

        async def send(text: str) -> None:
            frames.append(json.loads(text))

        assert (await relay(broadcast.reader(), breaks, left=None)).ended == "left"
        gate.set()
        assert (await relay(broadcast.reader(frames[-1]["seq"]), send, left=None)).ended == "done"
        assert [frame["seq"] for frame in frames] == sorted({frame["seq"] for frame in frames})
        assert "".join(frame.get("text", "") for frame in frames) == "abc"
        assert frames[-1]["seq"] == 5


@pytest.mark.parametrize("choices", [1, 2])
@pytest.mark.parametrize("frames", [1, 2, 29])
async def test_merged_frames_of_a_broadcast_can_be_resumed_from(frames: int, choices: int) -> None:
    """With choices that interleave too, wherever it breaks: everything up to a frame's `seq` was sent."""
    async with served() as (server, client):
        many = [chunk(f"{number},", index=number % choices) for number in range(200)]
        server.raw([*many, *(chunk(finish="stop", index=index) for index in range(choices)), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        await rest(broadcast.reader())
        got = ["", ""]
        seen = 0
        while not (reader := broadcast.reader(seen)).at_end:
            taken = 0

            async def breaks(text: str) -> None:
                nonlocal seen, taken
                taken += 1
                if taken > frames:
                    raise OSError
                frame = json.loads(text)
                seen = frame["seq"]
                got[frame["index"]] += frame.get("text", "")

            await relay(reader, breaks, left=None, buffer=8)
    whole = ["".join(f"{number}," for number in range(first, 200, choices)) for first in range(choices)]
    assert got[:choices] == whole


async def test_an_event_source_resumes_by_its_last_event_id() -> None:
    """The ids are those of the broadcast; when all was seen, 204 ends its reconnecting."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b", finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        body = b"".join([piece async for piece in sse_response(broadcast.reader(), slow="wait")])
        ids = [line for line in body.splitlines() if line.startswith(b"id:")]
        assert ids == [b"id: 1", b"id: 2", b"id: 3", b"id: 4"]
        again = sse_response(broadcast.reader("3"))
        assert again.status == 200
        assert b"".join([piece async for piece in again]) == body[body.index(b"id: 4") :]
        nothing = sse_response(broadcast.reader("4"))
        assert nothing.status == 204
        assert [piece async for piece in nothing] == []


@pytest.mark.parametrize(
    "options", [{"buffer": 0}, {"buffer": True}, {"buffer_bytes": 0}, {"grace": -1}, {"grace": "1"}]
)
async def test_a_wrong_argument_is_named(options: dict[str, Any]) -> None:
    """Before upstream is asked."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match=next(iter(options))):
            Broadcast(client.chat.completions.stream(**ASK), **options)
        assert server.connections.accepted == 0
