"""AG-UI's own client: every event by the published schemas, the messages, and that no cut run passes for the whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from siliconflow_async import Started
from siliconflow_async.relay import AGUI, Broadcast
from siliconflow_async.testing import Stall, Until

from ..asking import DONE, chunk
from .app import Front, front
from .conftest import Client, Clients

pytestmark = pytest.mark.anyio

WEATHER = {"name": "get_weather", "description": "Look it up.", "parameters": {"type": "object", "properties": {}}}


async def run(client: Client, app: Front, **given: Any) -> Any:
    """Let the agent run; nothing that it got was against the schemas, or worth a warning."""
    told = await client("run", url=f"{app.address}/ag-ui", **{"text": "Hi", **given})
    assert told["invalid"] == []
    assert told["warnings"] == []
    return told


def said(told: Any) -> list[tuple[Any, ...]]:
    """The messages in short, without the first question."""
    found: list[tuple[Any, ...]] = []
    for message in told["messages"][1:]:
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("toolCalls", [])]
        found.append((message["role"], message.get("content"), *([calls] if calls else [])))
    return found


async def test_an_answer_is_a_run(clients: Clients) -> None:
    """With the ids that were asked for; reasoning is messages of its own, all text of the answer is one."""
    async with front() as app, clients("ag_ui.mjs") as client:
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        usage |= {"completion_tokens_details": {"reasoning_tokens": 2}, "prompt_tokens_details": {"cached_tokens": 1}}
        last = {"id": "1", "model": "m", "choices": [], "usage": usage}
        app.server.raw(
            [
                chunk(reasoning_content="Hm."),
                chunk("Ray"),
                chunk(reasoning_content="Sure?"),
                chunk("leigh \u2028🌤", finish="stop"),
                b"data: " + json.dumps(last).encode() + b"\n\n",
                DONE,
            ]
        )
        told = await run(client, app)
        assert told["error"] is None
        assert said(told) == [("reasoning", "Hm."), ("assistant", "Rayleigh \u2028🌤"), ("reasoning", "Sure?")]
        (asked,) = app.bodies
        first, ended = told["events"][0], told["events"][-1]
        assert (first["type"], first["threadId"], first["runId"]) == ("RUN_STARTED", "thread", asked["runId"])
        assert (ended["type"], ended["outcome"], ended["metadata"]) == (
            "RUN_FINISHED",
            {"type": "success"},
            {"finishReason": "stop"},
        )
        tokens = {"inputTokens": 3, "outputTokens": 5, "totalTokens": 8, "reasoningTokens": 2, "cachedInputTokens": 1}
        assert ended["usage"] == [{"provider": "siliconflow", "model": "m", **tokens}]


async def test_tools_of_the_page_are_pending_and_answered_by_the_next_run(clients: Clients) -> None:
    """Parallel ones too; each call ends once it is whole, and its id is the same when it comes back."""
    async with front() as app, clients("ag_ui.mjs") as client:
        calls = [{"name": "get_weather", "arguments": {"city": city}} for city in ("Shanghai", "Beijing")]
        app.server.reply("Let me look.", tool_calls=calls)
        app.server.reply("It is sunny.")
        answers = {"get_weather": "sunny"}
        told = await run(client, app, tools=[WEATHER], answers=answers)
        assert [(name, given) for _, name, given in told["called"]] == [
            ("get_weather", {"city": "Shanghai"}),
            ("get_weather", {"city": "Beijing"}),
        ]
        pending = told["events"][-1]["outcome"]["pendingToolCallIds"]
        assert pending == [identity for identity, _, _ in told["called"]]
        told = await client("run", url=f"{app.address}/ag-ui", tools=[WEATHER])
        assert said(told)[-1] == ("assistant", "It is sunny.")
        sent = app.server.requests[-1].json["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "tool", "tool"]
        assert [turn["tool_call_id"] for turn in sent[2:]] == pending


async def test_tools_of_the_server_have_results(clients: Clients) -> None:
    """A round is a message with its calls, their results follow it, and nothing is pending."""

    def get_weather(city: str) -> dict[str, str]:
        return {"sky": "sunny"}

    def get_time() -> str:
        raise ValueError("no clock")

    async with front() as app, clients("ag_ui.mjs") as client:
        calls = [{"name": "get_weather", "arguments": {"city": "Shanghai"}}, {"name": "get_time", "arguments": {}}]
        app.server.reply(tool_calls=calls)
        app.server.reply("It is sunny.")
        app.ask = lambda messages: app.client.chat.completions.run_tools(
            model="org/model", messages=messages, tools=[get_weather, get_time]
        )
        told = await run(client, app)
        (first, *results, last) = said(told)
        assert [name for name, _ in first[2]] == ["get_weather", "get_time"]
        assert sorted(results) == [("tool", "Error: ValueError: no clock"), ("tool", '{"sky":"sunny"}')]
        assert last == ("assistant", "It is sunny.")
        assert told["events"][-1]["outcome"] == {"type": "success"}


async def test_a_call_that_comes_before_the_text_is_in_its_message(clients: Clients) -> None:
    """Whatever comes first makes the message."""
    async with front() as app, clients("ag_ui.mjs") as client:
        fragment = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        app.server.raw([chunk(tool_calls=[fragment]), chunk("So?"), chunk(finish="tool_calls"), DONE])
        assert said(await run(client, app)) == [("assistant", "So?", [("f", "{}")])]


@pytest.mark.parametrize("how", ["error frame", "cut", "refused"])
async def test_a_failure_is_told(clients: Clients, how: str) -> None:
    """As the run's error, also before it began; the client takes what just ends for the whole."""
    async with front(max_retries=0) as app, clients("ag_ui.mjs") as client:
        if how == "refused":
            app.server.fail(503)
        else:
            error = b"data: " + json.dumps({"code": 50507, "message": "Too hot."}).encode() + b"\n\n"
            app.server.raw([chunk("Ray"), *([error] if how == "error frame" else [])])
        told = await run(client, app)
        assert told["events"][-1]["type"] == "RUN_ERROR"
        if how != "refused":
            assert said(told) == [("assistant", "Ray")]
        if how == "error frame":
            assert told["events"][-1]["code"] == "50507"
            assert "Too hot." in told["events"][-1]["message"]


@pytest.mark.parametrize("what", ["text", "call"])
async def test_a_stop_at_the_server_is_told(clients: Clients, what: str) -> None:
    """As cancelled; within a call as an error, for a call that ends is one to be run."""
    fragment = {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x'}}
    async with front() as app, clients("ag_ui.mjs") as client:
        pieces = [chunk("Ray"), *([chunk(tool_calls=[fragment])] if what == "call" else [])]
        app.server.raw([*pieces, Stall()])
        broadcasts: list[Broadcast] = []

        def ask(messages: list[Any]) -> Any:
            broadcasts.append(Broadcast(app.stream(messages)))
            return broadcasts[0].reader()

        app.ask = ask
        running = client.begin("run", url=f"{app.address}/ag-ui", text="Hi")
        await app.server.received()
        reader = broadcasts[0].reader()
        for _ in range(1 + len(pieces)):
            await anext(reader)
        broadcasts[0].stop()
        told = await running
        assert told["invalid"] == told["warnings"] == []
        if what == "text":
            assert told["events"][-1]["outcome"] == {"type": "cancelled"}
        else:
            assert (told["events"][-1]["type"], told["events"][-1]["code"]) == ("RUN_ERROR", "abort")
            assert told["called"] == []
        assert said(told)[0][:2] == ("assistant", "Ray")


async def test_an_agent_that_aborts_ends_upstream(clients: Clients) -> None:
    """By leaving."""
    async with front() as app, clients("ag_ui.mjs") as client:
        app.server.raw([chunk("Ray"), Stall()])
        running = client.begin("run", url=f"{app.address}/ag-ui", text="Hi")
        await app.server.received()
        await client("abort")
        await app.server.left_early()
        await running


async def test_choices_are_messages_of_their_own(clients: Clients) -> None:
    """However they interleave."""
    async with front() as app, clients("ag_ui.mjs") as client:
        texts = [chunk(text, index=index) for text in ("a", "b") for index in (0, 1)]
        app.server.raw([*texts, *(chunk(finish="stop", index=index) for index in (0, 1)), DONE])
        app.ask = lambda messages: app.stream(messages, n=2)
        assert said(await run(client, app)) == [("assistant", "ab")] * 2


async def test_a_seam_is_a_custom_event(clients: Clients) -> None:
    """The text goes on in one message."""
    async with front() as app, clients("ag_ui.mjs") as client:
        app.server.raw([chunk("Ray")])
        app.server.raw([chunk("leigh", finish="stop"), DONE])
        app.ask = lambda messages: app.stream(messages, resume=1)
        told = await run(client, app)
        assert said(told) == [("assistant", "Rayleigh")]
        (seam,) = [event for event in told["events"] if event["type"] == "CUSTOM"]
        assert (seam["name"], seam["value"]["at"]) == ("seam", 3)


async def test_a_reader_that_comes_late_gets_all_of_the_run(clients: Clients) -> None:
    """In few events, where most are no longer kept."""
    text = "".join(f"word{number} " for number in range(500))
    async with front() as app, clients("ag_ui.mjs") as client:
        gate = asyncio.Event()
        words = [chunk(reasoning_content="Hm."), *(chunk(word + " ") for word in text.split())]
        app.server.raw([*words, Until(gate), chunk("end", finish="stop"), DONE])
        broadcast = Broadcast(app.stream([{"role": "user", "content": "Hi"}]), buffer=8)
        reader = broadcast.reader()
        while reader.seq < 502:
            await anext(reader)
        app.ask = lambda messages: broadcast.reader()
        running = client.begin("run", url=f"{app.address}/ag-ui", text="Hi")
        gate.set()
        told = await running
        assert said(told) == [("reasoning", "Hm."), ("assistant", text + "end")]
        assert len(told["events"]) < 30
        assert told["events"][0]["type"] == "RUN_STARTED"


def test_without_ids_of_a_request_the_run_has_those_of_the_answer() -> None:
    """For clients that name none."""
    (part,) = AGUI().mapping().feed(Started(0, "answer", "m"))
    started = json.loads(part.json)
    assert (started["threadId"], started["runId"]) == ("answer", "answer")
