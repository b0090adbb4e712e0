"""Who reads upstream: the task that sends, while the client keeps up, and another one while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from siliconflow_async import BusyError, ChatCompletion, ContentDelta
from siliconflow_async.relay import Broadcast, OpenAIChunks, relay, sse_response
from siliconflow_async.relay.peers import Left
from siliconflow_async.testing import Stall, Until

from ..asking import ASK, DONE, chunk, served
from .test_relay import Client

pytestmark = pytest.mark.anyio

PROTOCOLS = ["events", "ai", "ag-ui", "openai"]


class Noted:
    """An open answer that notes which task waited for each of its events."""

    def __init__(self, stream: Any) -> None:
        self.readers: list[Any] = []
        self.asked = asyncio.Event()
        self._stream = stream
        self._events = stream.events()

    @property
    def partial(self) -> ChatCompletion | None:
        partial: ChatCompletion | None = self._stream.partial
        return partial

    def events(self) -> AsyncIterator[Any]:
        return self

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        self.readers.append(asyncio.current_task())
        self.asked.set()
        return await anext(self._events)

    def abort(self) -> None:
        self._stream.abort()


def paced(words: list[str]) -> tuple[list[Any], list[asyncio.Event]]:
    """A stream whose every word waits for a gate of its own, the last of them with the end."""
    gates = [asyncio.Event() for _ in words]
    steps = [step for word, gate in zip(words, gates, strict=True) for step in (Until(gate), chunk(word))]
    return [chunk("first "), *steps, chunk(finish="stop"), DONE], gates


async def arrived(noted: Noted, content: str) -> None:
    """Wait until so much was read, and the next event is waited for."""
    while noted.partial is None or noted.partial.content != content:
        noted.asked.clear()
        await noted.asked.wait()
    await turns()


async def turns() -> None:
    """Let everyone come to where they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_task_that_sends_reads_as_long_as_the_client_keeps_up() -> None:
    """So that a token is one turn of one task."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b", "c"])
        server.raw(steps)
        browser = Client()
        senders: list[Any] = []

        async def send(text: str) -> None:
            senders.append(asyncio.current_task())
            await browser.send(text)
            if len(browser.frames) >= 2 and gates:
                gates.pop(0).set()

        noted = Noted(await client.chat.completions.create(**ASK, stream=True))
        # However many have come in all, as long as they don't come at once.
        assert (await relay(noted, send, left=None, buffer=3)).ended == "done"
        assert browser.text() == "first abc"
        (sender,) = set(senders)
        # What has come when it begins, and the event that it waits for, are read by the other one; the end by both.
        assert sender not in noted.readers[:3]
        assert set(noted.readers[3:-1]) == {sender}


async def test_upstream_is_read_on_as_soon_as_a_frame_takes_the_client_long() -> None:
    """To its end, midway in an answer that was read by the task that sends; and by that one again afterwards."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b", "c", "d", "e"])
        server.raw(steps)
        browser = Client()
        noted = Noted(await client.chat.completions.create(**ASK, stream=True))
        relaying = asyncio.create_task(relay(noted, browser.send, left=None, on_finish=browser.save))
        await browser.got(2)
        gates[0].set()
        await browser.got(3)
        browser.hold()
        sender = noted.readers[-1]
        gates[1].set()
        gates[2].set()
        await arrived(noted, "first abc")
        assert len(browser.frames) == 3
        assert noted.readers[-1] is not sender
        browser.go()
        await browser.got(5)
        for number, gate in enumerate(gates[3:]):
            gate.set()
            await browser.got(6 + number)
            if number == 0:
                assert noted.readers[-1] is sender
        assert (await relaying).ended == "done"
        assert browser.text() == "first abcde"


@pytest.mark.parametrize("protocol", [*PROTOCOLS, OpenAIChunks(calls=False)])
async def test_what_comes_one_by_one_is_what_comes_at_once(protocol: Any) -> None:
    """In every protocol, with calls and reasoning, events that are several frames, and such as are none."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x":'}}
    events = [
        chunk(reasoning_content="Hm."),
        chunk(tool_calls=[call]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": "1"}}]),
        chunk(tool_calls=[{"index": 0, "function": {"arguments": "}"}}]),
        chunk("a"),
        chunk("b"),
        chunk(finish="tool_calls"),
    ]
    got: list[list[str]] = []
    async with served() as (server, client):
        for one_by_one in (False, True):
            frames: list[str] = []

            async def send(text: str, frames: list[str] = frames) -> None:
                frames.append(text)

            gates = [asyncio.Event() for _ in events[1:]]
            steps = [step for event, gate in zip(events[1:], gates, strict=True) for step in (Until(gate), event)]
            server.raw([events[0], *steps, DONE] if one_by_one else [b"".join(events), DONE])
            noted = Noted(await client.chat.completions.create(**ASK, stream=True))
            relaying = asyncio.create_task(relay(noted, send, left=None, protocol=protocol))
            for gate in gates if one_by_one else ():
                await noted.asked.wait()
                await turns()
                noted.asked.clear()
                gate.set()
            assert (await relaying).ended == "done"
            got.append(frames)
    assert got[0] == got[1]


async def test_no_more_is_read_than_the_buffer_holds_once_the_client_is_slow() -> None:
    """Also where it is the frames of one event, read by the task that sends, which fill it."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b"])
        gate = asyncio.Event()
        server.raw([*steps[:-2], Until(gate), chunk(reasoning_content="Hm."), chunk(finish="stop"), DONE])
        browser = Client()
        noted = Noted(await client.chat.completions.create(**ASK, stream=True))
        got = asyncio.Event()

        async def send(text: str) -> None:
            if "text-end" in text:
                got.set()
            await browser.send(text)

        relaying = asyncio.create_task(relay(noted, send, left=None, protocol="ai", buffer=2, slow="wait"))
        for number, ready in enumerate(gates):
            ready.set()
            await arrived(noted, "first ab"[: 7 + number])
        browser.hold()
        read = len(noted.readers)
        gate.set()
        await got.wait()
        await turns()
        assert noted.readers[read:] == []
        browser.go()
        assert (await relaying).ended == "done"


@pytest.mark.parametrize("source", ["stream", "reader", "run", "tool", "deaf"])
async def test_stopping_ends_what_the_sending_task_waits_for(source: str) -> None:
    """A stream, a reader, the next answer of a run, one of its tools, and what no abort wakes; what came is saved."""
    async with served() as (server, client):
        calls = [{"name": "work", "arguments": {}}]
        browser = Client()
        working = asyncio.Event()

        async def work() -> str:
            """Work."""
            working.set()
            if source == "tool":
                await asyncio.get_running_loop().create_future()
            return "done"

        class Deaf(Noted):
            def abort(self) -> None:
                pass

        completions = client.chat.completions
        upstream: Any
        if source in ("run", "tool"):
            server.reply("a", tool_calls=calls)
            server.raw([], before=[Stall()])
            upstream = completions.run_tools(**ASK, tools=[work])
        else:
            server.raw([chunk("a"), Stall()])
            upstream = completions.stream(**ASK)
            if source == "reader":
                upstream = Broadcast(upstream, grace=0).reader()
            elif source == "deaf":
                upstream = Deaf(await completions.create(**ASK, stream=True))
        heard: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def receive() -> str:
            return await heard

        left = Left(receive, None)
        relaying = asyncio.create_task(
            relay(upstream, browser.send, left=left, on_finish=browser.save, send_timeout=None)
        )
        await browser.got(2)
        if source in ("run", "tool"):
            await working.wait()
        if source == "run":
            await server.received(2)
        await turns()
        assert left.on_stop is not None
        left.on_stop()
        relayed = await relaying
        heard.cancel()
    assert (relayed.ended, relayed.error) == ("stopped", None)
    assert browser.frames[-1]["error"] == "ClosedError"
    assert browser.text() == "a"
    assert [(done.content, error) for done, error in browser.saved if done] == [("a", None)]


async def test_a_client_may_be_sent_the_rest_by_the_send_that_stops_the_answer() -> None:
    """It is not that `send` which is cancelled, nor the next one."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b"])
        server.raw([*steps[:-2], Stall()])
        browser = Client()
        left = Left(asyncio.get_running_loop().create_future, None)  # type: ignore[arg-type]  # it can be awaited

        async def send(text: str) -> None:
            if '"b"' in text and left.on_stop is not None:
                left.on_stop()
            if '"error"' in text:
                await asyncio.sleep(0)
            await browser.send(text)

        relaying = asyncio.create_task(relay(client.chat.completions.stream(**ASK), send, left=left))
        for number, gate in enumerate(gates):
            await browser.got(2 + number)
            gate.set()
        assert (await relaying).ended == "stopped"
        assert browser.kinds()[-2:] == ["content_delta", "error"]
        assert browser.text() == "first ab"
        await server.left_early()


@pytest.mark.parametrize("goes_on", [False, True])
async def test_an_answer_may_be_stopped_by_what_is_being_read(goes_on: bool) -> None:
    """An observer, say: what was read is sent, if there is anything, and no `send` is cancelled."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b"])
        server.raw([*steps[:-2], Stall()])
        browser = Client()
        left = Left(asyncio.get_running_loop().create_future, None)  # type: ignore[arg-type]  # it can be awaited

        class Stopping(Noted):
            async def __anext__(self) -> Any:
                event = await super().__anext__()
                if getattr(event, "text", "") == "b" and left.on_stop is not None:
                    left.on_stop()
                    if goes_on:
                        await asyncio.get_running_loop().create_future()
                return event

            def abort(self) -> None:
                pass

        async def send(text: str) -> None:
            await asyncio.sleep(0)
            await browser.send(text)

        async def quick(text: str) -> None:
            await (send if '"b"' in text or '"error"' in text else browser.send)(text)

        noted = Stopping(await client.chat.completions.create(**ASK, stream=True))
        relaying = asyncio.create_task(relay(noted, quick, left=left))
        for number, gate in enumerate(gates):
            await browser.got(2 + number)
            gate.set()
        assert (await relaying).ended == "stopped"
        assert browser.text() == ("first a" if goes_on else "first ab")
        assert browser.kinds()[-1] == "error"


async def test_a_send_may_have_a_timeout_of_its_own() -> None:
    """It passes in the task that it began in, whoever reads meanwhile."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b"])
        server.raw(steps)
        browser = Client()
        late = []

        async def send(text: str) -> None:
            await browser.send(text)
            if '"a"' in text:
                gates[1].set()
                try:
                    async with asyncio.timeout(0.01):
                        await asyncio.get_running_loop().create_future()
                except TimeoutError:
                    late.append(text)

        relaying = asyncio.create_task(relay(client.chat.completions.stream(**ASK), send, left=None))
        await browser.got(2)
        gates[0].set()
        assert (await relaying).ended == "done"
        assert len(late) == 1
        assert browser.text() == "first ab"


async def test_a_failure_that_the_sending_task_meets_ends_the_relay_as_any() -> None:
    """An exception that is none of this library's is raised by the relay, once `on_finish` knows."""

    class Odd:
        partial = ChatCompletion(model="odd")
        count = 0

        def events(self) -> Any:
            return self

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            await asyncio.sleep(0)
            self.count += 1
            if self.count > 4:
                raise StopAsyncIteration
            if self.count > 3:
                raise ZeroDivisionError
            return ContentDelta(0, "a")

        def abort(self) -> None:
            pass

    browser = Client()
    with pytest.raises(ZeroDivisionError):
        await relay(Odd(), browser.send, left=browser.left, on_finish=browser.save)
    assert browser.text() == "aaa"
    assert [(done, type(error)) for done, error in browser.saved] == [(Odd.partial, ZeroDivisionError)]


@pytest.mark.parametrize("slow", [False, True])
async def test_a_relay_can_be_cancelled_at_any_turn(slow: bool) -> None:
    """Upstream is left, what had arrived is saved once, and no task goes on."""
    async with served() as (server, client):
        for number in range(0, 60, 3):
            server.raw([chunk("a"), chunk("b"), chunk("c"), Stall()])
            browser = Client()

            async def send(text: str, browser: Client = browser) -> None:
                if slow:
                    await asyncio.sleep(0)
                await browser.send(text)

            before = asyncio.all_tasks()
            stream = client.chat.completions.stream(**ASK)
            relaying = asyncio.create_task(relay(stream, send, left=browser.left, on_finish=browser.save))
            for _ in range(number):
                await asyncio.sleep(0)
            relaying.cancel()
            with pytest.raises(asyncio.CancelledError):
                await relaying
            assert len(browser.saved) == (1 if number else 0)
            assert not {task for task in asyncio.all_tasks() - before if "relay" in repr(task)}
            if number > 30:
                await server.left_early()


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_all_readers_of_a_broadcast_are_sent_the_same_text(protocol: Any) -> None:
    """An event is encoded once, whoever reads it."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b"])
        server.raw(steps)
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        sent: list[list[str]] = [[], []]

        async def send(to: list[str], text: str) -> None:
            to.append(text)

        relaying = [
            asyncio.create_task(
                relay(broadcast.reader(), lambda text, to=to: send(to, text), left=None, protocol=protocol)  # type: ignore[misc]
            )
            for to in sent
        ]
        for gate in gates:
            gate.set()
        for relayed in await asyncio.gather(*relaying):
            assert relayed.ended == "done"
        assert sent[0] == sent[1]
        same = [one for one, other in zip(*sent, strict=True) if one is other]
        assert [word for word in ('"first "', '"a"', '"b"') if not any(word in text for text in same)] == []


def awaited(task: asyncio.Task[None]) -> Any:
    """What a task waits for, in the end."""
    found: Any = task.get_coro()
    while hasattr(found, "cr_await"):
        found = found.cr_await
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_a_body_is_fed_by_its_broadcast(protocol: Any) -> None:
    """Nobody has to wait for its reader in between, and nobody else can; what it is late for comes as well."""
    async with served() as (server, client):
        steps, gates = paced(["a", "b", "c"])
        server.raw(steps)
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        before = broadcast.reader()
        for _ in range(2):
            await anext(before)
        reader = broadcast.reader()
        body = sse_response(reader, protocol=protocol)
        pieces = [await anext(body)]
        await turns()
        with pytest.raises(BusyError):
            await anext(reader)
        waiting = awaited(body._pump.task)
        for gate in gates[:2]:
            gate.set()
            pieces.append(await anext(body))
            # Where it waited before: it had no turn.
            assert awaited(body._pump.task) is waiting
        gates[2].set()
        pieces += [piece async for piece in body]
        whole = [piece async for piece in sse_response(broadcast.reader(), protocol=protocol)]
        assert b"".join(pieces) == b"".join(whole)
        assert body.error is None


async def test_a_body_that_nobody_takes_from_does_not_fill_its_memory() -> None:
    """Its broadcast goes on; what is late is merged, and when that makes no room it waits in the broadcast."""
    async with served() as (server, client):
        gate = asyncio.Event()
        many = [chunk("x", index=number % 3) for number in range(300)]
        server.raw([chunk("first "), Until(gate), *many, chunk(finish="stop"), DONE])
        broadcast = Broadcast(client.chat.completions.stream(**ASK), buffer=10)
        body = sse_response(broadcast.reader(), buffer=2, slow="wait")
        first = await anext(body)
        gate.set()
        async for _ in broadcast.reader():
            pass
        assert len(body._queue._frames) <= 2
        rest = b"".join([piece async for piece in body])
        assert b"snapshot" in rest
        assert first.count(b"data:") + rest.count(b"data:") < 30


async def test_a_reader_that_leaves_ends_its_body() -> None:
    """By an error, as it ends a relay; the broadcast goes on for the others."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        broadcast = Broadcast(client.chat.completions.stream(**ASK))
        other = broadcast.reader()
        reader = broadcast.reader()
        body = sse_response(reader)
        await anext(body)
        await turns()
        reader.abort()
        pieces = [piece async for piece in body]
        assert b"ClosedError" in pieces[-1]
        assert not broadcast.ended
        other.abort()
        await broadcast.aclose()
