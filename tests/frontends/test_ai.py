"""The AI SDK's own client, in both versions: what its message becomes, and that no cut answer passes for the whole."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from siliconflow_async import ContentDelta
from siliconflow_async.testing import Stall, Until

from ..asking import DONE, chunk
from .app import Front, front
from .conftest import Client, Clients

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("version", ["ai6", "ai7"])]


def call(index: int, arguments: str, name: str | None = None, identity: str | None = None) -> dict[str, Any]:
    return {"index": index, "id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


async def ask(client: Client, app: Front, text: str = "Hi", **options: Any) -> Any:
    await client("open", name="a", id="chat", api=f"{app.address}/ai", **options)
    return await client("send", name="a", text=text)


def parts(told: Any) -> list[tuple[Any, ...]]:
    """What the last message holds, in short."""
    found: list[tuple[Any, ...]] = []
    for part in told["messages"][-1]["parts"]:
        kind = part["type"]
        if kind in ("text", "reasoning"):
            found.append((kind, part["text"], part["state"]))
        elif kind.startswith("tool-"):
            found.append((kind, part["state"], part.get("input"), part.get("output", part.get("errorText"))))
        else:
            found.append((kind,))
    return found


async def test_an_answer_is_a_message(version: str, clients: Clients) -> None:
    """Reasoning before and after text, each a part of its own; the chat is ready again."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.raw(
            [
                chunk(reasoning_content="Hm. "),
                chunk(reasoning_content="\u2028Light."),
                chunk("Ray"),
                chunk("leigh"),
                chunk(reasoning_content="Sure?"),
                chunk("\n\nYes. 🌤", finish="stop"),
                DONE,
            ]
        )
        app.usage = True
        told = await ask(client, app)
        assert parts(told) == [
            ("step-start",),
            ("reasoning", "Hm. \u2028Light.", "done"),
            ("text", "Rayleigh", "done"),
            ("reasoning", "Sure?", "done"),
            ("text", "\n\nYes. 🌤", "done"),
        ]
        assert (told["status"], told["error"]) == ("ready", None)
        assert told["finished"] == [
            {"isAbort": False, "isDisconnect": False, "isError": False, "finishReason": "stop"},
        ]
        assert told["messages"][-1]["id"] == "m1"
        assert told["messages"][-1]["metadata"]["model"] == "m"


async def test_the_headers_are_the_protocols(version: str, clients: Clients) -> None:
    """By which its own server is known."""
    async with front() as app, aiohttp.ClientSession() as session:
        body = {"id": "c", "messages": [{"id": "u", "role": "user", "parts": []}]}
        async with session.post(f"{app.address}/ai", json=body) as response:
            assert response.headers["content-type"] == "text/event-stream"
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-vercel-ai-ui-message-stream"] == "v1"
            assert response.headers["x-accel-buffering"] == "no"
            assert (await response.read()).endswith(b"data: [DONE]\n\n")


async def test_parallel_calls_are_parts_of_their_own(version: str, clients: Clients) -> None:
    """With the arguments of each, however they interleave; one that is no JSON is an error, and so says why."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.raw(
            [
                chunk("Let me look."),
                chunk(tool_calls=[call(0, '{"city":', "get_weather", "a"), call(1, "", "get_time", "b")]),
                chunk(tool_calls=[call(1, "{}"), call(0, ' "Shang\\nhai"}')]),
                chunk(tool_calls=[call(2, '{"x"', "broken", "c")]),
                chunk(finish="tool_calls"),
                DONE,
            ]
        )
        told = await ask(client, app)
        assert parts(told)[2:4] == [
            ("tool-get_weather", "input-available", {"city": "Shang\nhai"}, None),
            ("tool-get_time", "input-available", {}, None),
        ]
        (_, state, _, error) = parts(told)[4]
        assert (state, "not JSON" in error) == ("output-error", True)
        assert told["finished"][0]["finishReason"] == "tool-calls"


async def test_tools_that_the_page_runs_go_on_in_the_same_message(version: str, clients: Clients) -> None:
    """The page answers by itself; the next request has what it found, and the answer goes on where it was."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.reply(tool_calls=[{"name": "get_weather", "arguments": {"city": "Shanghai"}}])
        app.server.reply("It is sunny.")
        await client("open", name="a", id="chat", api=f"{app.address}/ai", tools={"get_weather": {"sky": "sunny"}})
        await client("send", name="a", text="How is it?")
        told = await client("until", name="a", text="It is sunny.")
        assert [message["role"] for message in told["messages"]] == ["user", "assistant"]
        assert ("tool-get_weather", "output-available", {"city": "Shanghai"}, {"sky": "sunny"}) in parts(told)
        assert parts(told)[-1][:2] == ("text", "It is sunny.")
        sent = app.server.requests[-1].json["messages"]
        assert [turn["role"] for turn in sent] == ["user", "assistant", "tool"]


async def test_tools_that_the_server_runs_are_steps(version: str, clients: Clients) -> None:
    """Each round is a step, with what the tools returned, or how they failed."""

    def get_weather(city: str) -> dict[str, str]:
        return {"city": city, "sky": "sunny"}

    def get_time() -> str:
        raise ValueError("no clock")

    async with front() as app, clients("ai.mjs", version) as client:
        calls = [{"name": "get_weather", "arguments": {"city": "Shanghai"}}, {"name": "get_time", "arguments": {}}]
        app.server.reply("Let me look.", tool_calls=calls)
        app.server.reply("It is sunny.")
        app.ask = lambda messages: app.client.chat.completions.run_tools(
            model="org/model", messages=messages, tools=[get_weather, get_time]
        )
        told = await ask(client, app)
        assert parts(told) == [
            ("step-start",),
            ("text", "Let me look.", "done"),
            ("tool-get_weather", "output-available", {"city": "Shanghai"}, {"city": "Shanghai", "sky": "sunny"}),
            ("tool-get_time", "output-error", {}, "Error: ValueError: no clock"),
            ("step-start",),
            ("text", "It is sunny.", "done"),
        ]
        assert (told["status"], told["finished"][0]["finishReason"]) == ("ready", "stop")


@pytest.mark.parametrize("how", ["error frame", "cut", "refused"])
async def test_a_failure_is_told(version: str, clients: Clients, how: str) -> None:
    """What had come is there, and the chat is in error: it takes what just ends for the whole."""
    async with front(max_retries=0) as app, clients("ai.mjs", version) as client:
        if how == "refused":
            app.server.fail(503)
        else:
            error = json.dumps({"code": 50507, "message": "Too hot."}).encode()
            app.server.raw([chunk("Ray"), *([b"data: " + error + b"\n\n"] if how == "error frame" else [])])
        told = await ask(client, app)
        assert told["status"] == "error"
        assert told["error"]
        assert told["finished"][0]["isError"]
        if how != "refused":
            assert parts(told) == [("step-start",), ("text", "Ray", "done")]
        if how == "error frame":
            assert "Too hot." in told["error"]


async def test_a_stop_at_the_server_is_told_as_an_abort(version: str, clients: Clients) -> None:
    """The last chunk says so; the message is what had come."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.resumable = True
        app.server.raw([chunk("Ray"), Stall()])
        reading = client.begin("read", api=f"{app.address}/ai")
        await app.server.received()
        (answer,) = app.answers.values()
        reader = answer.reader()
        assert [await anext(reader), await anext(reader)][1] == ContentDelta(0, "Ray")
        answer.stop()
        read = await reading
        assert read["errors"] == []
        assert read["chunks"][-1] == {"type": "abort"}
        assert "finish" not in [part["type"] for part in read["chunks"]]
        assert [part["text"] for part in read["message"]["parts"] if part["type"] == "text"] == ["Ray"]


async def test_a_page_that_stops_ends_upstream(version: str, clients: Clients) -> None:
    """Its fetch is aborted, and so is the service's answer."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.raw([chunk("Ray"), Stall()])
        await client("open", name="a", id="chat", api=f"{app.address}/ai")
        sending = client.begin("send", name="a", text="Hi")
        await client("until", name="a", text="Ray")
        told = await client("stop", name="a")
        await app.server.left_early()
        await sending
        assert (told["status"], parts(told)[-1][:2]) == ("ready", ("text", "Ray"))


async def test_a_page_that_comes_back_goes_on_with_the_answer(version: str, clients: Clients) -> None:
    """A new one and one that was cut off get the same message, from its beginning; a chat that has none gets none."""
    async with front() as app, clients("ai.mjs", version) as client:
        gate = asyncio.Event()
        app.resumable = True
        app.server.raw([chunk("Ray"), chunk("leigh"), Until(gate), chunk(" scattering.", finish="stop"), DONE])
        await client("open", name="a", id="chat", api=f"{app.address}/ai")
        sending = client.begin("send", name="a", text="Hi")
        told = await client("until", name="a", text="Rayleigh")
        await client("stop", name="a")
        await sending
        before = told["messages"][:-1]
        await client("open", name="b", id="chat", api=f"{app.address}/ai", messages=before)
        resuming = [client.begin("resume", name=name) for name in "ab"]
        await client("until", name="b", text="Rayleigh")
        gate.set()
        for told in await asyncio.gather(*resuming):
            assert [message["id"] for message in told["messages"]] == [before[0]["id"], "m1"]
            assert parts(told) == [("step-start",), ("text", "Rayleigh scattering.", "done")]
            assert told["status"] == "ready"
        await client("open", name="c", id="another", api=f"{app.address}/ai")
        told = await client("resume", name="c")
        assert (told["status"], told["messages"]) == ("ready", [])


async def test_choices_are_told_apart(version: str, clients: Clients) -> None:
    """All are in the message; what is not of the first says of which it is."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.raw(
            [
                *(chunk(text, index=index) for text in ("Ray", "leigh") for index in (0, 1)),
                *(chunk(finish="stop", index=index) for index in (0, 1)),
                DONE,
            ]
        )
        app.ask = lambda messages: app.stream(messages, n=2)
        told = await ask(client, app)
        assert parts(told)[1:] == [("text", "Rayleigh", "done")] * 2
        metadata = [part.get("providerMetadata") for part in told["messages"][-1]["parts"][1:]]
        assert metadata == [None, {"siliconflow": {"index": 1}}]


async def test_a_seam_is_data_that_passes(version: str, clients: Clients) -> None:
    """The text goes on in one part, and who wants to know hears of it."""
    async with front() as app, clients("ai.mjs", version) as client:
        app.server.raw([chunk("Ray")])
        app.server.raw([chunk("leigh", finish="stop"), DONE])
        app.ask = lambda messages: app.stream(messages, resume=1)
        told = await ask(client, app)
        assert parts(told) == [("step-start",), ("text", "Rayleigh", "done")]
        (seam,) = told["data"]
        assert (seam["type"], seam["data"]["at"]) == ("data-seam", 3)


async def test_a_slow_page_gets_all_in_fewer_chunks(version: str, clients: Clients) -> None:
    """While it reads, what waits is merged; what it misses of a broadcast comes joined."""
    text = "".join(f"word{number} " for number in range(5000))
    async with front() as app, clients("ai.mjs", version) as client:
        app.options = {"smooth": 0.01, "buffer": 8}
        app.server.raw([*(chunk(word + " ") for word in text.split()), chunk(finish="stop"), DONE])
        read = await client("read", api=f"{app.address}/ai", delay=1)
        assert "".join(part["delta"] for part in read["chunks"] if part["type"] == "text-delta") == text
        assert len(read["chunks"]) < 2500
        assert read["chunks"][-1] == {"type": "finish", "finishReason": "stop"}


async def test_silence_is_nothing_to_a_page(version: str, clients: Clients) -> None:
    """Comments keep the connection, and are no parts."""
    async with front() as app, clients("ai.mjs", version) as client:
        gate = asyncio.Event()
        app.options = {"keep_alive": 0.01}
        app.server.raw([chunk("Ray"), Until(gate), chunk("leigh", finish="stop"), DONE])
        await client("open", name="a", id="chat", api=f"{app.address}/ai")
        sending = client.begin("send", name="a", text="Hi")
        await client("until", name="a", text="Ray")
        await asyncio.sleep(0.05)
        gate.set()
        assert parts(await sending) == [("step-start",), ("text", "Rayleigh", "done")]
