"""OpenAI's own client, in node: its chunks, the completion that it makes of them, and the errors that it raises."""

from __future__ import annotations

import json

import pytest

from ..asking import DONE, chunk
from .app import front
from .conftest import Clients

pytestmark = pytest.mark.anyio

CALLS = [{"name": name, "arguments": {"city": "Shanghai"}} for name in ("get_weather", "get_time")]


async def test_an_answer_is_a_completion(clients: Clients) -> None:
    """With reasoning, parallel calls and usage; the client's own helper folds it."""
    async with front() as app, clients("openai.mjs") as client:
        app.server.reply("Rayleigh", reasoning="Hm.", tool_calls=CALLS)
        done = await client("whole", url=f"{app.address}/v1")
        (choice,) = done["choices"]
        assert choice["message"]["content"] == "Rayleigh"
        calls = [(call["function"]["name"], call["function"]["arguments"]) for call in choice["message"]["tool_calls"]]
        assert [(name, json.loads(arguments)) for name, arguments in calls] == [
            (call["name"], call["arguments"]) for call in CALLS
        ]
        assert choice["finish_reason"] == "tool_calls"


async def test_the_chunks_are_those_of_the_protocol(clients: Clients) -> None:
    """A role first, then what is said and thought by each choice, the reasons, and the usage alone."""
    async with front() as app, clients("openai.mjs") as client:
        texts = [chunk(text, index=index) for text in ("a", "b") for index in (0, 1)]
        usage = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
        last = {"id": "1", "model": "m", "choices": [], "usage": usage}
        app.server.raw(
            [
                chunk(reasoning_content="Hm."),
                *texts,
                *(chunk(finish="stop", index=index) for index in (0, 1)),
                b"data: " + json.dumps(last).encode() + b"\n\n",
                DONE,
            ]
        )
        app.ask = lambda messages: app.stream(messages, n=2)
        told = await client("chunks", url=f"{app.address}/v1")
        assert told["error"] is None
        assert {chunk["object"] for chunk in told["chunks"]} == {"chat.completion.chunk"}
        assert told["chunks"][0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        deltas = [(c["index"], c["delta"]) for chunk in told["chunks"] for c in chunk["choices"]]
        assert "".join(delta.get("content", "") for index, delta in deltas if index == 0) == "ab"
        assert "".join(delta.get("content", "") for index, delta in deltas if index == 1) == "ab"
        assert "".join(delta.get("reasoning_content", "") for _, delta in deltas) == "Hm."
        assert (told["chunks"][-1]["choices"], told["chunks"][-1]["usage"]["total_tokens"]) == ([], 8)


async def test_a_run_of_tools_is_one_answer_without_its_calls(clients: Clients) -> None:
    """Which the client would run once more."""

    def get_weather(city: str) -> str:
        return "sunny"

    async with front() as app, clients("openai.mjs") as client:
        app.server.reply("Let me look. ", tool_calls=CALLS[:1])
        app.server.reply("It is sunny.")
        app.calls = False
        app.ask = lambda messages: app.client.chat.completions.run_tools(
            model="org/model", messages=messages, tools=[get_weather]
        )
        done = await client("whole", url=f"{app.address}/v1")
        (choice,) = done["choices"]
        assert choice["message"]["content"] == "Let me look. It is sunny."
        assert not choice["message"].get("tool_calls")
        assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("how", ["error frame", "cut", "refused"])
async def test_a_failure_is_raised(clients: Clients, how: str) -> None:
    """After what had come."""
    async with front(max_retries=0) as app, clients("openai.mjs") as client:
        if how == "refused":
            app.server.fail(503)
        else:
            error = b"data: " + json.dumps({"code": 50507, "message": "Too hot."}).encode() + b"\n\n"
            app.server.raw([chunk("Ray"), *([error] if how == "error frame" else [])])
        told = await client("chunks", url=f"{app.address}/v1")
        assert told["error"]["name"] == "APIError"
        if how == "error frame":
            assert "Too hot." in told["error"]["message"]
        if how != "refused":
            assert told["chunks"][-1]["choices"][0]["delta"] == {"content": "Ray"}
