"""`relay`: what the client gets, and how it ends, whatever the client does. Upstream is on real sockets."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from typing import Any

import anyio
import pytest

from siliconflow_async import ChatCompletion, ConfigurationError, ErrorEvent, OverloadedError, TruncatedStreamError
from siliconflow_async.relay import Relayed, relay
from siliconflow_async.testing import Gate, Stall, Until

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio

TEXT = "".join(f"word{number} " for number in range(400))


class Client:
    """Keeps what was sent to it; `hold()` makes it slow until `go()`."""

    def __init__(self) -> None:
        self.frames: list[Any] = []
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.saved: list[tuple[ChatCompletion | None, Exception | None]] = []
        self._open = asyncio.Event()
        self._open.set()
        self._counts: dict[int, asyncio.Event] = {}

    def hold(self) -> None:
        self._open.clear()

    def go(self) -> None:
        self._open.set()

    async def send(self, text: str) -> None:
        await self._open.wait()
        self.frames.append(json.loads(text))
        if (event := self._counts.get(len(self.frames))) is not None:
            event.set()

    async def got(self, count: int) -> None:
        """Wait until so many frames came."""
        if len(self.frames) < count:
            await self._counts.setdefault(count, asyncio.Event()).wait()

    def save(self, completion: ChatCompletion | None, error: Exception | None) -> None:
        self.saved.append((completion, error))

    def text(self) -> str:
        return "".join(frame["text"] for frame in self.frames if frame["type"] == "content_delta")

    def kinds(self) -> list[str]:
        return [frame["type"] for frame in self.frames]


async def test_the_client_gets_the_events_of_the_stream() -> None:
    """One JSON object each, as `events()` gives them out, a call's name but once; `on_finish` is handed the answer."""
    async with served() as (server, client):
        server.reply("Hello there", reasoning="Hm.", tool_calls=[{"name": "f", "arguments": {"a": 1}}], times=2)
        async with client.chat.completions.stream(**ASK) as stream:
            expected = [json.loads(event.to_json()) async for event in stream.events()]
        browser = Client()
        tasks = asyncio.all_tasks()
        relayed = await relay(
            client.chat.completions.stream(**ASK), browser.send, left=browser.left, on_finish=browser.save, buffer=1000
        )
        assert asyncio.all_tasks() - tasks == set()
    later = [event for event in expected if event["type"] == "tool_call_delta"][1:]
    assert later
    for event in later:
        del event["id"], event["name"]
    # An id is of one answer only.
    assert browser.frames[0].keys() == expected[0].keys()
    assert browser.frames[1:] == expected[1:]
    assert relayed == Relayed("done", relayed.completion, None, len(expected))
    assert relayed.completion is not None
    assert relayed.completion.content == "Hello there"
    assert browser.saved == [(relayed.completion, None)]


async def test_an_open_stream_is_relayed_and_closed() -> None:
    """Also one that had been read in part: the rest of it is sent."""
    async with served() as (server, client):
        server.raw([chunk("a"), chunk("b"), chunk("c", finish="stop"), DONE])
        stream = await client.chat.completions.create(stream=True, **ASK)
        await anext(stream)
        browser = Client()
        assert (await relay(stream, browser.send, left=None)).ended == "done"
        assert browser.text() == "bc"
        assert stream.ended == "done"


@pytest.mark.parametrize("opened", [False, True])
async def test_upstream_is_aborted_when_the_client_has_gone_midway(opened: bool) -> None:
    """What had arrived is saved; nothing of the relay goes on."""
    async with served() as (server, client):
        server.raw([chunk("a") + chunk("b"), Stall()])
        manager = client.chat.completions.stream(**ASK)
        browser = Client()
        source = await manager.__aenter__() if opened else manager
        relaying = asyncio.create_task(
            relay(source, browser.send, left=browser.left, on_finish=browser.save, slow="wait")
        )
        await browser.got(3)
        browser.left.set_result(None)
        relayed = await relaying
        await server.left_early()
    assert (relayed.ended, relayed.error, relayed.frames) == ("left", None, 3)
    assert [(done.content, error) for done, error in browser.saved if done] == [("ab", None)]


async def test_upstream_is_aborted_when_the_client_has_gone_before_the_first_token() -> None:
    """While the stream is being opened."""
    async with served() as (server, client):
        server.raw([], before=[Stall()])
        browser = Client()
        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left, on_finish=browser.save)
        )
        await server.received()
        browser.left.set_result(None)
        assert await relaying == Relayed("left", None, None, 0)
        await server.left_early()
    assert browser.saved == [(None, None)]


async def test_upstream_is_not_asked_for_a_client_that_has_gone_before() -> None:
    """`left` was done when the relay began; an open stream is aborted, and saved."""
    async with served() as (server, client):
        browser = Client()
        browser.left.set_result(None)
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left)
        assert relayed.ended == "left"
        assert server.connections.accepted == 0
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(stream=True, **ASK)
        relayed = await relay(stream, browser.send, left=browser.left, on_finish=browser.save)
        await server.left_early()
        assert stream.ended == "closed"
    assert relayed.completion is not None
    assert relayed.completion.content == "a"
    assert browser.frames == []
    assert len(browser.saved) == 1


async def test_a_client_that_is_gone_while_it_is_sent_to_is_not_waited_for() -> None:
    """A `send` that hangs is cancelled."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        browser = Client()
        browser.hold()
        relaying = asyncio.create_task(relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left))
        await server.received()
        browser.left.set_result(None)
        assert (await relaying).ended == "left"
        await server.left_early()


async def test_a_send_that_fails_says_that_the_client_has_gone() -> None:
    """Its exception is returned and handed to `on_finish`; upstream is aborted."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        browser = Client()
        broken = OSError("gone")

        async def send(text: str) -> None:
            raise broken

        relayed = await relay(client.chat.completions.stream(**ASK), send, left=None, on_finish=browser.save)
        await server.left_early()
    assert (relayed.ended, relayed.error, relayed.frames) == ("left", broken, 0)
    assert [error for _, error in browser.saved] == [broken]


async def test_a_left_that_raises_says_that_the_client_has_gone() -> None:
    """It may be any awaitable, and is awaited no further once the relay has ended."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        server.reply("short")
        broken = OSError("reset")
        browser = Client()
        ended = []

        async def fails() -> None:
            await browser.got(2)
            raise broken

        async def waits() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                ended.append(True)

        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=fails())
        assert (relayed.ended, relayed.error) == ("left", broken)
        assert (await relay(client.chat.completions.stream(**ASK), browser.send, left=waits())).ended == "done"
        assert ended == [True]
        await server.left_early()


async def test_a_future_of_the_callers_is_not_cancelled() -> None:
    """`left` serves for the next answer on the same websocket."""
    async with served() as (_, client):
        browser = Client()
        for _ in range(2):
            assert (await relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left)).ended == "done"
        assert not browser.left.done()


@pytest.mark.parametrize("where", ["opening", "reading", "sending"])
async def test_cancelling_a_relay_aborts_upstream(where: str) -> None:
    """The cancellation passes, what had arrived is saved, and no task is left."""
    async with served() as (server, client):
        server.raw([Stall()] if where == "opening" else [chunk("a"), Stall()])
        browser = Client()
        if where == "sending":
            browser.hold()
        tasks = asyncio.all_tasks()
        saved = asyncio.Event()

        async def save(completion: ChatCompletion | None, error: Exception | None) -> None:
            await asyncio.sleep(0)
            browser.save(completion, error)
            saved.set()

        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left, on_finish=save)
        )
        await (browser.got(2) if where == "reading" else server.received())
        for _ in range(5):
            await asyncio.sleep(0)
        relaying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await relaying
        assert saved.is_set()
        await server.left_early()
        assert not {task for task in asyncio.all_tasks() - tasks if "relay" in repr(task)}
    ((completion, error),) = browser.saved
    assert error is None
    assert (completion is None) == (where == "opening")
    if where == "reading":
        assert completion is not None
        assert completion.content == "a"


async def test_a_cancel_scope_ends_a_relay_as_well() -> None:
    """anyio cancels again at each wait; what had arrived is saved all the same."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        browser = Client()

        async def save(completion: ChatCompletion | None, error: Exception | None) -> None:
            await asyncio.sleep(0)
            browser.save(completion, error)

        async with anyio.create_task_group() as group:
            group.start_soon(
                lambda: relay(client.chat.completions.stream(**ASK), browser.send, left=None, on_finish=save)
            )
            await browser.got(2)
            group.cancel_scope.cancel()
        assert [done.content for done, _ in browser.saved if done] == ["a"]
        await server.left_early()


async def test_a_failure_of_upstream_is_told_to_the_client() -> None:
    """As its last frame, after all that had arrived; the error is returned and not raised."""
    async with served(max_retries=0) as (server, client):
        server.raw([chunk("a") + chunk("b")])
        server.fail(503)
        browser = Client()
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=None, on_finish=browser.save)
        assert relayed.ended == "error"
        assert isinstance(relayed.error, TruncatedStreamError)
        assert browser.text() == "ab"
        assert browser.frames[-1]["type"] == "error"
        assert browser.frames[-1]["error"] == "TruncatedStreamError"
        assert browser.saved == [(relayed.completion, relayed.error)]
        assert relayed.completion is not None
        assert relayed.completion.content == "ab"
        browser = Client()
        relayed = await relay(
            client.chat.completions.stream(**ASK),
            browser.send,
            left=None,
            describe=lambda error: ErrorEvent(0, "Busy", "Try again later."),
        )
    assert isinstance(relayed.error, OverloadedError)
    assert browser.frames == [{"type": "error", "index": 0, "error": "Busy", "message": "Try again later."}]


async def test_an_error_that_is_kept_keeps_no_stream() -> None:
    """Not by its traceback either; whoever has the error has the answer so far, and nothing more."""
    async with served() as (server, client):
        server.raw([chunk("a")])
        stream = await client.chat.completions.create(**ASK, stream=True)
        was_there = weakref.ref(stream)
        browser = Client()
        gc.disable()
        try:
            relaying = asyncio.create_task(relay(stream, browser.send, left=None, on_finish=browser.save))
            del stream
            relayed = await relaying
            assert isinstance(relayed.error, TruncatedStreamError)
            assert relayed.error.__traceback__ is None
            assert was_there() is None
        finally:
            gc.enable()


async def test_upstream_waits_for_a_slow_client() -> None:
    """With slow="wait" no more is read than the buffer holds, and each event keeps its frame."""
    async with served() as (server, client):
        server.raw([*(chunk("x" * 4096) for _ in range(400)), chunk(finish="stop"), DONE])
        browser = Client()
        ahead = []
        async with client.chat.completions.stream(**ASK) as stream:

            async def send(text: str) -> None:
                await asyncio.sleep(0)
                await browser.send(text)
                ahead.append(len(stream.partial.content or "") - len(browser.text()))

            relayed = await relay(stream, send, left=browser.left, slow="wait", buffer=8)
    assert (relayed.ended, relayed.frames) == ("done", 402)
    assert len(browser.text()) == 4096 * 400
    assert 0 < max(ahead) <= 8 * 4096


@pytest.mark.parametrize("slow", ["wait", "merge"])
async def test_upstream_waits_for_a_client_that_is_slow_with_large_events(slow: Any) -> None:
    """No more is read than `buffer_bytes`, and one event, however few the frames."""
    size = 256 * 1024
    async with served() as (server, client):
        server.raw([*(chunk("x" * size) for _ in range(40)), chunk(finish="stop"), DONE])
        browser = Client()
        ahead = []
        async with client.chat.completions.stream(**ASK) as stream:

            async def send(text: str) -> None:
                for _ in range(20):  # as many turns as it takes to read on
                    await asyncio.sleep(0)
                await browser.send(text)
                ahead.append(len(stream.partial.content or "") - len(browser.text()))

            options: dict[str, Any] = {"slow": slow, "buffer": 1000, "buffer_bytes": 4 * size}
            relayed = await relay(stream, send, left=browser.left, **options)
    assert relayed.ended == "done"
    assert len(browser.text()) == 40 * size
    assert 2 * size <= max(ahead) <= 5 * size


async def test_deltas_are_merged_for_a_slow_client() -> None:
    """With slow="merge" upstream is read to its end, and what waited comes in few frames, in order."""
    async with served() as (server, client):
        server.reply(TEXT, reasoning="thinking " * 100, tool_calls=None)
        browser = Client()
        browser.hold()
        read = asyncio.Event()
        relaying = asyncio.create_task(
            relay(
                client.chat.completions.stream(**ASK),
                browser.send,
                left=browser.left,
                buffer=8,
                on_finish=lambda completion, error: read.set(),
            )
        )
        await read.wait()
        browser.go()
        relayed = await relaying
    assert relayed.ended == "done"
    assert relayed.frames <= 8
    assert browser.text() == TEXT
    assert "".join(f["text"] for f in browser.frames if f["type"] == "reasoning_delta") == "thinking " * 100
    assert browser.kinds()[0] == "started"
    assert browser.kinds()[-1] == "finished"
    assert browser.kinds().index("content_delta") > browser.kinds().index("reasoning_delta")


async def test_fragments_of_tool_calls_are_merged_call_by_call() -> None:
    """The arguments add up to those of the whole call."""
    calls = [{"name": name, "arguments": {"text": TEXT}} for name in ("f", "g")]
    async with served() as (server, client):
        server.reply(tool_calls=calls)
        browser = Client()
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=None, buffer=4)
    whole = {frame["call"]: frame for frame in browser.frames if frame["type"] == "tool_call_done"}
    for call, done in whole.items():
        parts = [f for f in browser.frames if f["type"] == "tool_call_delta" and f["call"] == call]
        assert "".join(part["arguments"] for part in parts) == done["arguments"]
        assert [(part["id"], part["name"]) for part in parts if "name" in part] == [(done["id"], done["name"])]
    assert len(whole) == 2
    assert relayed.frames < 50


def fragment(arguments: str, *, call: int = 0, call_id: str | None = None, name: str | None = None) -> bytes:
    function = {"name": name, "arguments": arguments}
    return chunk(tool_calls=[{"index": call, "id": call_id, "type": "function", "function": function}])


@pytest.mark.parametrize("slow", ["wait", "merge"])
async def test_a_name_that_each_fragment_repeats_is_told_once(slow: Any) -> None:
    """As is an id; however long they are, the client gets little more than the server sent of anything else."""
    ids, names = ["i" * 65_536, "j"], ["n" * 65_536, "m"]
    fragments = [fragment(f"{n},", call=n % 2, call_id=ids[n % 2], name=names[n % 2]) for n in range(200)]
    async with served() as (server, client):
        server.raw([*fragments, chunk(finish="tool_calls"), DONE])
        browser = Client()
        await relay(client.chat.completions.stream(**ASK), browser.send, left=None, slow=slow, buffer=4)
    for call in range(2):
        first, *later = [f for f in browser.frames if f["type"] == "tool_call_delta" and f["call"] == call]
        assert (first["id"], first["name"]) == (ids[call], names[call])
        assert not [frame for frame in later if "id" in frame or "name" in frame]
        arguments = "".join(frame["arguments"] for frame in [first, *later])
        assert arguments == "".join(f"{n}," for n in range(call, 200, 2))
    done = [frame["name"] for frame in browser.frames if frame["type"] == "tool_call_done"]
    assert done == names


@pytest.mark.parametrize("buffer", [2, 64])
async def test_a_name_that_comes_late_is_told_when_it_comes(buffer: int) -> None:
    """Merged or not, the first frame that can know it has it; what adds nothing to the arguments has them empty."""
    early, late = [fragment("{"), fragment("", call_id="a")], [fragment('"x"', name="f"), fragment(":1}", name="g")]
    async with served() as (server, client):
        server.raw([b"".join(early + late), chunk(finish="tool_calls"), DONE])
        browser = Client()
        browser.hold()
        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), browser.send, left=None, buffer=buffer)
        )
        await server.received()
        browser.go()
        await relaying
    parts = [frame for frame in browser.frames if frame["type"] == "tool_call_delta"]
    assert "".join(part["arguments"] for part in parts) == '{"x":1}'
    known: dict[str, Any] = {}
    for part in parts:
        known |= part
    assert (known["id"], known["name"]) == ("a", "f")
    assert len([part for part in parts if "name" in part]) == 1


async def test_choices_that_interleave_are_merged_each_by_itself() -> None:
    """Each choice's text is whole and in order."""
    async with served() as (server, client):
        events = [chunk(f"{number},", index=number % 3) for number in range(300)]
        server.raw([b"".join(events), *(chunk(finish="stop", index=index) for index in range(3)), DONE])
        browser = Client()
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=None, buffer=10)
    for index in range(3):
        texts = [f["text"] for f in browser.frames if f["type"] == "content_delta" and f["index"] == index]
        assert "".join(texts) == "".join(f"{number}," for number in range(index, 300, 3))
    assert relayed.frames < 50


async def test_a_merged_frame_stays_below_64_ki_characters() -> None:
    """Then another one begins; when those fill the buffer, upstream waits."""
    async with served() as (server, client):
        server.raw([*(chunk("x" * 10_000) for _ in range(100)), chunk(finish="stop"), DONE])
        browser = Client()
        await relay(client.chat.completions.stream(**ASK), browser.send, left=None, buffer=2)
    sizes = [len(frame.get("text", "")) for frame in browser.frames]
    assert sum(sizes) == 1_000_000
    assert max(sizes) <= 65_536


async def test_a_client_that_does_not_keep_up_is_dropped() -> None:
    """With slow="drop" the relay ends, upstream is aborted, and what had arrived is saved."""
    async with served() as (server, client):
        server.raw([chunk("a") * 100, Stall()])
        browser = Client()
        browser.hold()
        relayed = await relay(
            client.chat.completions.stream(**ASK),
            browser.send,
            left=browser.left,
            slow="drop",
            buffer=10,
            patience=0.01,
            on_finish=browser.save,
        )
        await server.left_early()
    assert (relayed.ended, relayed.frames, relayed.error) == ("dropped", 0, None)
    ((completion, _),) = browser.saved
    assert completion is not None
    assert set(completion.content or "") == {"a"}


async def test_a_client_that_keeps_up_is_not_dropped_for_a_burst() -> None:
    """More chunks at once than the buffer holds are nothing to drop a client for."""
    async with served() as (server, client):
        server.raw([chunk("a") * 1000, chunk(finish="stop"), DONE])
        browser = Client()
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=None, slow="drop", buffer=10)
    assert (relayed.ended, relayed.frames) == ("done", 1002)


async def test_a_client_that_has_caught_up_has_all_its_patience_again() -> None:
    """A burst long after another is no reason to drop a client that took all of the first."""
    patience = 0.3
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a") * 100, Until(gate), chunk("a") * 100, chunk(finish="stop"), DONE])
        browser = Client()
        relaying = asyncio.create_task(
            relay(
                client.chat.completions.stream(**ASK),
                browser.send,
                left=browser.left,
                slow="drop",
                buffer=10,
                patience=patience,
            )
        )
        await browser.got(101)
        # That more time passes than its patience is what is tested.
        await asyncio.sleep(1.2 * patience)
        gate.set()
        relayed = await relaying
    assert (relayed.ended, relayed.frames) == ("done", 202)


async def test_a_client_that_never_catches_up_is_dropped() -> None:
    """Though it takes one frame after the other: its patience runs from when it first fell behind."""
    async with served() as (server, client):
        server.raw([chunk("a") * 200, chunk(finish="stop"), DONE])
        browser = Client()

        async def send(text: str) -> None:
            # The client's slowness is what is tested.
            await asyncio.sleep(0.02)
            await browser.send(text)

        relayed = await relay(
            client.chat.completions.stream(**ASK), send, left=None, slow="drop", buffer=10, patience=0.1
        )
    assert relayed.ended == "dropped"
    assert 0 < len(browser.frames) < 200


async def test_a_client_that_takes_no_frame_is_dropped_in_the_end() -> None:
    """Whatever the policy, once one frame has taken `send_timeout` seconds."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        browser = Client()
        browser.hold()
        relayed = await relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left, send_timeout=0.01)
        await server.left_early()
    assert relayed.ended == "dropped"


@pytest.mark.parametrize(("seconds", "taken"), [(0.01, 1), (0.0, 2)])
async def test_each_frame_has_its_own_time(seconds: float, taken: int) -> None:
    """A client that took frames before is dropped all the same, also after a while in which there was none to take."""
    async with served() as (server, client):
        gate = Gate()
        server.raw([chunk("a"), Until(gate), chunk("b"), Stall()])
        browser = Client()

        async def send(text: str) -> None:
            await browser.send(text)
            if len(browser.frames) == taken:
                browser.hold()

        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), send, left=browser.left, send_timeout=seconds)
        )
        await browser.got(taken)
        gate.set()
        relayed = await relaying
        await server.left_early()
    assert (relayed.ended, relayed.frames) == ("dropped", taken)
    assert isinstance(relayed.error, TimeoutError)


async def test_a_send_that_times_out_by_itself_has_failed() -> None:
    """Its TimeoutError is not taken for `send_timeout`."""
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])

        async def send(text: str) -> None:
            raise TimeoutError("of my own")

        relayed = await relay(client.chat.completions.stream(**ASK), send, left=None)
        await server.left_early()
    assert (relayed.ended, str(relayed.error)) == ("left", "of my own")


async def test_smoothing_merges_what_comes_within_a_while() -> None:
    """The first delta goes at once; those after it wait for the others, and the end waits for nothing."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), *(chunk("b") for _ in range(50)), chunk(finish="stop"), DONE])
        browser = Client()
        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left, smooth=600)
        )
        await browser.got(2)
        assert browser.kinds() == ["started", "content_delta"]
        gate.set()
        assert (await relaying).ended == "done"
    assert [frame.get("text") for frame in browser.frames] == [None, "a", "b" * 50, None]


async def test_smoothing_lets_text_go_when_its_time_has_come() -> None:
    """Also while nothing more comes."""
    async with served() as (server, client):
        gate = asyncio.Event()
        server.raw([chunk("a"), Until(gate), chunk("b"), Stall()])
        browser = Client()
        relaying = asyncio.create_task(
            relay(client.chat.completions.stream(**ASK), browser.send, left=browser.left, smooth=0.02)
        )
        await browser.got(2)
        gate.set()
        await browser.got(3)
        browser.left.set_result(None)
        await relaying
    assert browser.text() == "ab"


@pytest.mark.parametrize("how", ["sync", "async"])
async def test_what_on_finish_raises_is_raised_by_the_relay(how: str) -> None:
    """After everything is sent and closed."""
    async with served() as (_, client):

        def fails(completion: ChatCompletion | None, error: Exception | None) -> None:
            raise ZeroDivisionError

        async def fails_later(completion: ChatCompletion | None, error: Exception | None) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

        browser = Client()
        with pytest.raises(ZeroDivisionError):
            await relay(
                client.chat.completions.stream(**ASK),
                browser.send,
                left=browser.left,
                on_finish=fails if how == "sync" else fails_later,
            )
        assert browser.kinds()[-1] == "finished"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slow": "hurry"}, "slow must be one of 'wait', 'merge', 'drop', not 'hurry'"),
        ({"buffer": 0}, "buffer must be an integer >= 1, not 0"),
        ({"buffer": 1.5}, "buffer must be"),
        ({"buffer_bytes": 0}, "buffer_bytes must be an integer >= 1, not 0"),
        ({"buffer_bytes": True}, "buffer_bytes must be"),
        ({"patience": -1}, "patience must be a number of seconds >= 0, not -1"),
        ({"smooth": "1"}, "smooth must be"),
        ({"send_timeout": float("nan")}, "send_timeout must be"),
    ],
)
async def test_a_wrong_argument_is_named(options: dict[str, Any], words: str) -> None:
    """Before upstream is asked for anything."""
    async with served() as (server, client):
        with pytest.raises(ConfigurationError, match=words):
            await relay(client.chat.completions.stream(**ASK), Client().send, left=None, **options)
        assert server.connections.accepted == 0


async def test_what_is_no_stream_is_named() -> None:
    """A whole answer, say, or a coroutine that was not awaited."""
    with pytest.raises(ConfigurationError, match=r"stream must be an open stream .*, not ChatCompletion"):
        await relay(ChatCompletion(), Client().send, left=None)  # type: ignore[arg-type]


async def test_a_stream_of_someone_elses_may_fail_as_it_likes() -> None:
    """Its exception is raised, once `on_finish` knows."""

    class Odd:
        partial = ChatCompletion(model="odd")

        def events(self) -> Any:
            return self

        def __aiter__(self) -> Any:
            return self

        async def __anext__(self) -> Any:
            raise ZeroDivisionError

        def abort(self) -> None:
            pass

    browser = Client()
    with pytest.raises(ZeroDivisionError):
        await relay(Odd(), browser.send, left=browser.left, on_finish=browser.save)
    assert [(done, type(error)) for done, error in browser.saved] == [(Odd.partial, ZeroDivisionError)]


@pytest.mark.parametrize("wrong", [{"stream": 42}, {"buffer": 0}, {"send_timeout": -1}, {"left": 42}])
async def test_a_wrong_argument_leaves_nothing_behind(wrong: dict[str, Any]) -> None:
    """No task, and no coroutine that would complain: the arguments are looked at before anything begins."""

    async def never() -> None:
        await asyncio.get_running_loop().create_future()

    async with served() as (_, client):
        left = {} if "left" in wrong else {"left": never()}
        keywords: dict[str, Any] = {"stream": client.chat.completions.stream(**ASK), **left, **wrong}
        before = asyncio.all_tasks()
        with pytest.raises(ConfigurationError, match=next(iter(wrong))):
            await relay(send=str, **keywords)  # type: ignore[arg-type]  # nothing is sent
        assert asyncio.all_tasks() == before
