"""Observers are told of each call, once for each thing that happens to it, and end with it in whatever way it ends."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import pytest

from siliconflow_async import (
    APIConnectionError,
    APIStatusError,
    AsyncSiliconFlow,
    ConfigurationError,
    Limit,
    OverloadedError,
    RetryPolicy,
    SiliconFlowError,
    Timeouts,
)
from siliconflow_async.calls.observers import CallState, RunState
from siliconflow_async.testing import FakeSiliconFlow, Fin, Rst, Stall

from ..asking import ASK, DONE, NO_WAIT, chunk, served

pytestmark = pytest.mark.anyio

PLENTY = RetryPolicy(base=0.0, budget=3.0)
HOOKS = ("waited", "sent", "answered", "first_token", "progress", "retried", "ended")


class Told:
    """Notes what it is told, in order; `calls` are the states of different calls."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.calls: list[CallState] = []
        self.ends: list[CallState] = []

    def _note(self, name: str, state: CallState) -> None:
        self.names.append(name)
        if not any(state is known for known in self.calls):
            self.calls.append(state)

    def sent(self, state: CallState) -> None:
        self._note("sent", state)

    def waited(self, state: CallState) -> None:
        self._note("waited", state)

    def answered(self, state: CallState) -> None:
        self._note("answered", state)

    def first_token(self, state: CallState) -> None:
        self._note("first_token", state)

    def progress(self, state: CallState) -> None:
        self._note("progress", state)

    def retried(self, state: CallState) -> None:
        assert state.error is not None
        self._note("retried", state)

    def ended(self, state: CallState) -> None:
        self._note("ended", state)
        self.ends.append(state)

    @property
    def distinct(self) -> list[str]:
        """The names without repetitions of progress."""
        return [name for at, name in enumerate(self.names) if name != "progress" or self.names[at - 1] != "progress"]


async def test_a_whole_answer() -> None:
    """Sent, answered, ended, with what its struct then holds."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        ask = {**ASK, "messages": [{"role": "user", "content": "a wish"}], "extra_headers": {"X-Secret": "hush"}}
        done = await client.chat.completions.create(**ask, temperature=0.5)
    assert told.names == ["sent", "answered", "ended"]
    (state,) = told.calls
    assert (state.method, state.endpoint, state.base_url) == ("POST", "/chat/completions", server.base_url)
    assert (state.model, state.streaming, state.params) == (ASK["model"], False, {"temperature": 0.5})
    assert (state.attempt, state.status, state.ended, state.error) == (1, 200, "done", None)
    assert (state.trace_id, state.usage, state.finish_reasons) == (done.trace_id, done.usage, ["stop"])
    assert (state.response_id, state.response_model) == (done.id, done.model)
    assert state.first_token is None
    assert state.seconds is not None
    assert "hush" not in repr(state)
    assert "wish" not in repr(state)


async def test_a_stream() -> None:
    """The first token and progress between, and the usage at the end."""
    told = Told()
    async with served(observers=[told]) as (_, client), client.chat.completions.stream(**ASK) as stream:
        done = await stream.completion()
    assert told.distinct == ["sent", "answered", "first_token", "progress", "ended"]
    (state,) = told.calls
    assert state.streaming
    assert state.first_token is not None
    assert state.seconds is not None
    assert 0 < state.first_token <= state.seconds
    assert state.chunks > 1
    assert (state.usage, state.trace_id, state.ended) == (done.usage, done.trace_id, "done")


async def test_models_are_told_of_too() -> None:
    """Any endpoint: this one has no model and no usage."""
    told = Told()
    async with served(observers=[told]) as (_, client):
        await client.models.list()
    assert told.names == ["sent", "answered", "ended"]
    assert (told.calls[0].endpoint, told.calls[0].model, told.calls[0].method) == ("/models", None, "GET")


@pytest.mark.parametrize(
    ("script", "ended", "status"),
    [
        ([chunk("a"), chunk("", finish="stop"), DONE], "done", 200),
        ([chunk("a"), chunk("", finish="stop")], "finish", 200),
        ([chunk("a"), Fin()], "truncated", 200),
        ([chunk("a"), Rst()], "truncated", 200),
        ([chunk("a"), b'data: {"error": {"message": "no", "code": 20015}}\n\n'], "error", 200),
        ([chunk("a"), b"data: {nonsense\n\n"], "malformed", 200),
        ([chunk("a"), b"data: " + b"x" * 5000], "too_large", 200),
        ([chunk("a"), Stall()], "timeout", 200),
    ],
    ids=["done", "finish", "fin", "rst", "error", "malformed", "too_large", "timeout"],
)
@pytest.mark.parametrize("resume", [None, 1], ids=["", "resumable"])
async def test_each_ending_is_told_once(script: list[Any], ended: str, status: int, resume: int | None) -> None:
    """With its error, if it has one, and the usage of what had come; also where a continuation could not be had."""
    told = Told()
    options = {"max_event_size": 4096, "timeouts": Timeouts(idle=0.2), "retry": RetryPolicy(max_attempts=1, budget=0)}
    async with served(observers=[told], **options) as (server, client):
        server.raw(script)
        server.fail(400, times=3)
        async with client.chat.completions.stream(**ASK, resume=resume) as stream:
            caught: SiliconFlowError | None = None
            try:
                await stream.completion()
            except SiliconFlowError as error:
                caught = error
        assert stream.ended == ended
    (state,) = told.ends
    assert (state.ended, type(state.error)) == (ended, type(caught))
    assert told.names[-1] == "ended"


@pytest.mark.parametrize("how", ["break", "aclose", "cancel", "forget", "client"])
async def test_a_stream_that_is_left_is_closed(how: str) -> None:
    """By break, by close, by cancellation, by nobody holding it any more, by its client."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        server.raw([chunk("a"), Stall()])
        if how == "break":
            async with client.chat.completions.stream(**ASK) as stream:
                async for _ in stream:
                    break
        else:
            stream = await client.chat.completions.create(**ASK, stream=True)
            if how == "aclose":
                await stream.aclose()
            elif how == "cancel":
                task = asyncio.ensure_future(stream.completion())
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            elif how == "client":
                await client.aclose()
            del stream
            gc.collect()
            await asyncio.sleep(0)
    (state,) = told.ends
    assert (state.ended, state.error) == ("closed", None)


def test_a_stream_that_outlives_its_loop_is_told_of_once() -> None:
    """Whoever lets go of it last, in whatever thread."""
    told = Told()
    kept: list[Any] = []
    with FakeSiliconFlow().threaded() as server:
        server.raw([chunk("a"), Stall()])

        async def main() -> None:
            client = AsyncSiliconFlow("k", base_url=server.base_url, observers=[told])
            kept.append(await client.chat.completions.create(**ASK, stream=True))
            await client.aclose()

        asyncio.run(main())
        thread = threading.Thread(target=kept.clear)
        thread.start()
        thread.join()
        gc.collect()
    assert [state.ended for state in told.ends] == ["closed"]


async def test_retries_are_told_and_counted() -> None:
    """Each failed attempt, with its error, and then the one that follows."""
    told = Told()
    async with served(observers=[told], retry=PLENTY) as (server, client):
        server.fail(503, times=2)
        await client.chat.completions.create(**ASK)
    assert told.names == ["sent", "retried", "sent", "retried", "sent", "answered", "ended"]
    assert (told.ends[0].attempt, told.ends[0].status, told.ends[0].error) == (3, 200, None)


class ToldOfWaits(Told):
    """Says when a wait begins, and of how many seconds each is told."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []
        self.waiting = asyncio.Event()

    def retried(self, state: CallState) -> None:
        super().retried(state)
        self.waits.append(state.delay)
        self.waiting.set()


async def test_a_retry_is_told_as_its_wait_begins() -> None:
    """With the seconds that it will take; a call that is cancelled meanwhile is closed, and sent no more."""
    told = ToldOfWaits()
    async with served(observers=[told]) as (server, client):
        server.fail(503, headers={"Retry-After": "59"})
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await told.waiting.wait()
        assert (told.waits, told.calls[0].attempt, type(told.calls[0].error)) == ([59], 1, OverloadedError)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert len(server.requests) == 1
    assert told.names == ["sent", "retried", "ended"]
    assert [(state.ended, state.error, state.delay) for state in told.ends] == [("closed", None, None)]


async def test_a_continuation_is_told_as_its_wait_begins() -> None:
    """As any retry."""
    told = ToldOfWaits()
    async with served(observers=[told], retry=RetryPolicy(base=60)) as (server, client):
        server.raw([chunk("Once "), Rst()])
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            reader = asyncio.ensure_future(stream.completion())
            await told.waiting.wait()
            (wait,) = told.waits
            assert wait is not None
            assert 30 <= wait <= 60
            assert (told.calls[0].resumes, told.calls[0].attempt, len(server.requests)) == (1, 1, 1)
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader


async def test_a_wait_that_is_prolonged_is_told_again() -> None:
    """Of the same attempt: whoever looks for a service that is away may have to leave the look to another."""
    told = ToldOfWaits()
    retry = RetryPolicy(base=0, budget=0, max_attempts=2)
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:1", retry=retry, observers=[told]) as client:
        for _ in range(5):  # which takes all the credit that there is
            with pytest.raises(APIConnectionError):
                await client.chat.completions.create(**ASK)
        assert told.names == ["sent", "retried", "sent", "retried", "sent", "ended"] * 5
        told.names.clear()
        with pytest.raises(APIConnectionError) as caught:
            await client.chat.completions.create(**ASK)
    assert caught.value.budget_spent
    assert told.names == ["sent", "retried", "retried", "ended"]
    assert told.ends[-1].attempt == 1


async def test_a_refusal_that_waits_at_the_gate_has_no_wait_of_its_own() -> None:
    """How long it stood there is told after it."""
    told = ToldOfWaits()
    async with served(observers=[told]) as (server, client):
        server.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.05"})
        async with client.chat.completions.map([ASK]) as results:
            assert [result.error async for result in results] == [None]
    assert told.waits == [0]
    assert told.names[:4] == ["sent", "retried", "waited", "sent"]


async def test_a_continuation_is_a_retry_of_the_same_call() -> None:
    """The break does not end it, and its usage is that of all parts."""
    told = Told()
    async with served(observers=[told], retry=PLENTY) as (server, client):
        server.raw([chunk("Once "), Rst()])
        async with client.chat.completions.stream(**ASK, resume=1) as stream:
            done = await stream.completion()
    assert told.distinct.count("sent") == 2
    assert told.names.count("retried") == 1
    (state,) = told.ends
    assert (state.ended, state.attempt, state.error, state.usage) == ("done", 2, None, done.usage)
    assert told.names.count("first_token") == 1


async def test_a_stream_whose_first_frame_is_an_error_has_not_ended() -> None:
    """It is asked for again, and its end is that of the attempt that was answered."""
    told = Told()
    async with served(observers=[told], retry=PLENTY) as (server, client):
        server.raw([b'data: {"code":50505,"message":"busy"}\n\n'])
        async with client.chat.completions.stream(**ASK) as stream:
            await stream.completion()
        assert told.distinct == ["sent", "answered", "retried", "sent", "answered", "first_token", "progress", "ended"]
        assert [(state.ended, state.attempt) for state in told.ends] == [("done", 2)]
        server.raw([DONE])
        async with client.chat.completions.stream(**ASK) as stream:
            assert [chunk async for chunk in stream] == []
    assert [(state.ended, state.attempt) for state in told.ends] == [("done", 2), ("done", 1)]


async def test_a_continuation_that_comes_to_nothing_ends_the_call_with_the_break() -> None:
    """Whatever its own first frame said."""
    told = Told()
    async with served(observers=[told], retry=RetryPolicy(base=0.0, max_attempts=1, budget=3.0)) as (server, client):
        server.raw([chunk("Once "), Rst()])
        server.raw([b'data: {"code":20015,"message":"no"}\n\n'])
        with pytest.raises(SiliconFlowError):
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                await stream.completion()
    assert [(state.ended, state.attempt) for state in told.ends] == [("truncated", 2)]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_refusal_ends_a_call(stream: bool) -> None:
    """With its status, error and trace id."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        server.fail(400)
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(**ASK, stream=stream)
    assert told.names == ["sent", "ended"]
    (state,) = told.ends
    assert (state.ended, state.status, state.error) == ("error", 400, caught.value)
    assert state.trace_id == caught.value.trace_id


async def test_no_connection_and_no_answer() -> None:
    """No status; a clock is a timeout."""
    told = Told()
    async with AsyncSiliconFlow("k", base_url="http://127.0.0.1:1", retry=NO_WAIT, observers=[told]) as client:
        with pytest.raises(APIConnectionError):
            await client.with_options(max_retries=0).chat.completions.create(**ASK)
    async with served(observers=[told]) as (server, client):
        server.raw([Stall()])
        with pytest.raises(TimeoutError):
            await client.chat.completions.create(**ASK, timeout=0.1)
    assert [(state.ended, state.status) for state in told.ends] == [("error", None), ("timeout", None)]


async def test_a_cancelled_call_is_closed() -> None:
    """While it waits for its answer."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        server.raw([Stall()])
        call = asyncio.ensure_future(client.chat.completions.create(**ASK))
        await server.received(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert [(state.ended, state.error) for state in told.ends] == [("closed", None)]


async def test_waits_at_a_gate_are_told() -> None:
    """Before the attempt that waited."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        server.fail(429, {"code": 20042, "message": "RPM limit reached"}, {"Retry-After": "0.05"})
        async with client.chat.completions.map([ASK]) as results:
            (result,) = [result async for result in results]
    assert told.distinct == ["sent", "retried", "waited", "sent", "answered", "first_token", "progress", "ended"]
    assert told.ends[0].waited == result.times.waited > 0


async def test_map_and_tools_tell_too() -> None:
    """One call for each request, one for each round."""
    told = Told()
    async with served(observers=[told]) as (server, client):
        async with client.chat.completions.map([ASK] * 5) as results:
            assert len([result async for result in results]) == 5
        assert len(told.ends) == 5
        server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Xi'an"}}])
        run = client.chat.completions.run_tools(**ASK, tools=[weather])
        await run.completion()
    assert len(told.ends) == 7
    assert {state.ended for state in told.ends} == {"done"}


class ToldOfRuns:
    """Notes the runs, as they begin and once they have ended, and the calls that have ended."""

    def __init__(self) -> None:
        self.began: list[RunState] = []
        self.ended_runs: list[RunState] = []
        self.ends: list[CallState] = []

    def run_began(self, run: RunState) -> None:
        assert (run.ended, run.seconds, run.calls) == (None, None, 0)
        self.began.append(run)

    def run_ended(self, run: RunState) -> None:
        self.ended_runs.append(run)

    def ended(self, state: CallState) -> None:
        self.ends.append(state)


async def test_runs_are_told_and_calls_know_theirs() -> None:
    """A `map` with how many calls it had; a conversation, and each tool of it; a call by itself has no run."""
    told = ToldOfRuns()
    async with served(observers=[told]) as (server, client):
        await client.chat.completions.create(**ASK)
        server.fail(400)
        async with client.chat.completions.map([ASK] * 3) as results:
            assert len([result async for result in results]) == 3
        server.reply(tool_calls=[{"name": "weather", "arguments": {"city": "Xi'an"}}])
        await client.chat.completions.run_tools(**ASK, tools=[weather]).completion()
    run, conversation, tool = told.began
    assert (run.kind, run.ended, run.calls, run.failed, run.parent) == ("map", "done", 3, 1, None)
    assert (conversation.kind, conversation.model, conversation.calls) == ("run_tools", ASK["model"], 2)
    assert (tool.kind, tool.name, tool.parent, tool.ended) == ("execute_tool", "weather", conversation, "done")
    assert tool.call_id
    assert [state.parent for state in told.ends] == [None, run, run, run, conversation, conversation]
    assert told.ended_runs == [run, tool, conversation]
    assert all(run.seconds is not None for run in told.ended_runs)


def test_a_run_that_outlives_its_loop_is_told_of_once(complaints: list[str]) -> None:
    """It has ended when its loop cancelled its tasks, whoever still holds it."""

    class Sent(ToldOfRuns):
        def sent(self, state: CallState) -> None:
            sent.set()

    told, sent = Sent(), asyncio.Event()
    kept: list[Any] = []
    with FakeSiliconFlow().threaded() as server:
        server.raw([chunk("a"), Stall()])

        async def main() -> None:
            client = AsyncSiliconFlow("k", base_url=server.base_url, observers=[told])
            kept.append(client.chat.completions.map([ASK]))
            await kept[0].__aenter__()
            await sent.wait()

        asyncio.run(main())
        assert all("a task is left when its loop ends" in complaint for complaint in complaints)
        complaints.clear()
        assert [run.ended for run in told.ended_runs] == ["error"]
        kept.clear()
        gc.collect()
    assert len(told.ended_runs) == 1


async def test_an_observer_may_say_that_it_does_not_watch() -> None:
    """It is asked as a call or a run begins, and told of none that began while it, and all others, did not."""

    class Sleepy(ToldOfRuns):
        awake = False

        def watches(self) -> bool:
            return self.awake

    told = Sleepy()
    async with served(observers=[told]) as (_, client):
        for told.awake in (False, True, False):
            await client.chat.completions.create(**ASK)
            async with client.chat.completions.map([ASK]) as results:
                assert [result.error async for result in results] == [None]
    assert (len(told.ends), len(told.ended_runs)) == (2, 1)


async def test_an_observer_is_told_of_its_clients() -> None:
    """A client and each of its copies, once they are ready."""
    clients: list[AsyncSiliconFlow] = []

    class Attached:
        def attached(self, client: AsyncSiliconFlow) -> None:
            assert client.limits == {}
            clients.append(client)

    async with served(observers=[Attached()]) as (_, client):
        assert clients == [client]
        copy = client.with_options(timeout=5)
        assert clients == [client, copy]


def weather(city: str) -> str:
    return f"sunny in {city}"


async def test_one_that_raises_is_left_out_and_the_call_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once; the others hear everything."""

    class Broken:
        def sent(self, state: CallState) -> None:
            raise RuntimeError("observer's own fault")

        def ended(self, state: CallState) -> None:
            raise AssertionError

    told = Told()
    async with served(observers=[Broken(), told]) as (_, client):
        for _ in range(3):
            await client.chat.completions.create(**ASK)
    assert told.names == ["sent", "answered", "ended"] * 3
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == ["an observer raised in sent and is left out: Broken"]


async def test_content_is_for_those_who_ask() -> None:
    """And only in what they are told."""
    seen: dict[str, list[Any]] = {"asked": [], "not": []}
    requests: list[Any] = []

    class Asks:
        content = True

        def ended(self, state: CallState) -> None:
            seen["asked"].append(state.answer)
            assert state.request is not None
            requests.append(state.request["messages"])

    class Not:
        def ended(self, state: CallState) -> None:
            seen["not"].append(state.answer)
            assert state.request is None

    async with served(observers=[Asks(), Not()]) as (_, client):
        done = await client.chat.completions.create(**ASK)
        async with client.chat.completions.stream(**ASK) as stream:
            folded = await stream.completion()
    assert [answer.content for answer in seen["asked"]] == [done.content, folded.content]
    assert seen["not"] == [None, None]
    assert requests == [ASK["messages"]] * 2


async def test_headers_of_an_observer_are_sent() -> None:
    """Beside the caller's own, with every attempt."""

    class Traced:
        def sent(self, state: CallState) -> None:
            state.headers["traceparent"] = "00-1-2-01"

    async with served(observers=[Traced()]) as (server, client):
        server.fail(503)
        await client.chat.completions.create(**ASK, extra_headers={"X-Mine": "1"})
    assert [(r.headers["traceparent"], r.headers["X-Mine"]) for r in server.requests] == [("00-1-2-01", "1")] * 2


async def test_a_secret_header_of_an_observer_is_masked() -> None:
    """As one of the caller's own would be, whatever it is sent beside."""

    class Keyed:
        def sent(self, state: CallState) -> None:
            state.headers["X-Api-Key"] = "observers-own-key"

    async with served(observers=[Keyed()]) as (server, client):
        server.fail(400, {"code": 20015, "message": "not with observers-own-key"})
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(**ASK)
    assert server.requests[0].headers["X-Api-Key"] == "observers-own-key"
    assert "observers-own-key" not in str(caught.value)


async def test_a_header_that_cannot_be_sent_leaves_no_place_at_the_gate_taken() -> None:
    """The call fails by name, before a byte is sent, and the next one has its place."""

    class Broken:
        def sent(self, state: CallState) -> None:
            state.headers["traceparent"] = "a\r\nb"

    async with served(observers=[Broken()], limits=Limit(rpm=1)) as (server, client):
        with pytest.raises(ConfigurationError, match="traceparent"):
            await client.chat.completions.create(**ASK)
        state = client.limits[ASK["model"]]
        assert (state.in_flight, state.requests, state.reserved) == (0, 0, 0)
        await client.with_options(observers=()).chat.completions.create(**ASK, timeout=5)
        assert len(server.requests) == 1


async def test_one_debug_line_for_each_call(caplog: pytest.LogCaptureFixture) -> None:
    """Without an observer too; neither key nor content in it."""
    caplog.set_level(logging.DEBUG, "siliconflow_async")
    async with served() as (_, client):
        done = await client.chat.completions.create(**ASK)
        async with client.chat.completions.stream(**ASK) as stream:
            await stream.completion()
    lines = [record.getMessage() for record in caplog.records if record.name == "siliconflow_async"]
    assert len(lines) == 2
    assert done.usage is not None
    assert done.trace_id is not None
    for part in ("/chat/completions", ASK["model"], "done", "HTTP 200", f"{done.usage.total_tokens} tokens"):
        assert all(part in line for line in lines)
    assert done.trace_id in lines[0]
    assert not any("test-key" in line or done.content in line for line in lines)


async def test_observers_that_are_read_once_serve_copies_too() -> None:
    """A generator of them, or none."""
    told = Told()
    async with served(observers=(one for one in [told])) as (_, client):
        await client.with_options(max_retries=0).chat.completions.create(**ASK)
        await client.with_options(observers=()).chat.completions.create(**ASK)
        await client.with_options(observers=None).chat.completions.create(**ASK)
    assert told.names == ["sent", "answered", "ended"]


def test_what_is_no_observer_is_refused() -> None:
    """By name, before anything is sent."""
    with pytest.raises(ConfigurationError, match="an observer has one of waited, sent"):
        AsyncSiliconFlow("k", observers=[object()])
    with pytest.raises(ConfigurationError, match="observers must be"):
        AsyncSiliconFlow("k", observers=5)  # type: ignore[arg-type]
