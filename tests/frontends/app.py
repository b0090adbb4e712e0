"""A server as a user would write it, with one endpoint for each protocol, and the stand-in behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.relay import AGUI, AISDK, Broadcast, Dialect, OpenAIChunks, sse_response
from siliconflow_async.relay.pump import Source
from siliconflow_async.testing import FakeSiliconFlow

from ..asking import served
from ..relay.apps import asgi


class Front:
    """The endpoints. `ask` makes the answer of the messages; `options` are those of `sse_response`."""

    def __init__(self, server: FakeSiliconFlow, client: AsyncSiliconFlow) -> None:
        self.server = server
        self.client = client
        self.address = ""
        self.options: dict[str, Any] = {}
        self.bodies: list[Any] = []
        # Of each chat, where its answers are to be resumed.
        self.resumable = False
        self.answers: dict[str, Broadcast] = {}
        self.ask: Callable[[list[Any]], Source] = self.stream
        self.usage = False
        self.calls = True

    def stream(self, messages: list[Any], **params: Any) -> Any:
        return self.client.chat.completions.stream(model="org/model", messages=messages, **params)

    def app(self) -> FastAPI:
        app = FastAPI()

        def answered(source: Source, dialect: Dialect) -> StreamingResponse:
            body = sse_response(source, protocol=dialect, **self.options)
            return StreamingResponse(body, body.status, body.headers)

        @app.post("/ai")
        async def ai(request: Request) -> Response:
            chat = await request.json()
            self.bodies.append(chat)
            last = chat["messages"][-1]
            source = self.ask([said for message in chat["messages"] for said in of_ui(message)])
            identity = last["id"] if last["role"] == "assistant" else f"m{len(self.bodies)}"
            if self.resumable:
                self.answers[chat["id"]] = Broadcast(source, grace=None)
                source = self.answers[chat["id"]].reader()
            return answered(source, AISDK(identity, usage=self.usage))

        @app.get("/ai/{name}/stream")
        async def resumed(name: str) -> Response:
            if name not in self.answers:
                return Response(status_code=204)
            return answered(self.answers[name].reader(), AISDK(f"m{len(self.bodies)}"))

        @app.post("/ag-ui")
        async def ag_ui(request: Request) -> Response:
            run = await request.json()
            self.bodies.append(run)
            source = self.ask([said for message in run["messages"] for said in of_ag_ui(message)])
            return answered(source, AGUI(run["threadId"], run["runId"]))

        @app.post("/v1/chat/completions")
        async def openai(request: Request) -> Response:
            self.bodies.append(await request.json())
            return answered(self.ask(self.bodies[-1]["messages"]), OpenAIChunks(calls=self.calls))

        return app


def of_ui(message: Any) -> list[Any]:
    """A message of the AI SDK's as the chat API has it: each step is a turn of its own."""
    turns: list[Any] = [{"role": message["role"], "content": ""}]
    for part in message["parts"]:
        if part["type"] == "step-start" and turns[-1] != {"role": "assistant", "content": ""}:
            turns.append({"role": "assistant", "content": ""})
        elif part["type"] == "text":
            turns[-1]["content"] += part["text"]
        elif part["type"].startswith("tool-"):
            function = {"name": part["type"].removeprefix("tool-"), "arguments": json.dumps(part["input"])}
            call = {"id": part["toolCallId"], "type": "function", "function": function}
            turn = next(turn for turn in reversed(turns) if turn["role"] == "assistant")
            turn.setdefault("tool_calls", []).append(call)
            output = part.get("output")
            turns.append({"role": "tool", "tool_call_id": call["id"], "content": json.dumps(output)})
    return [turn for turn in turns if turn["content"] or "tool_calls" in turn]


def of_ag_ui(message: Any) -> list[Any]:
    """A message of AG-UI's as the chat API has it."""
    if message["role"] == "reasoning":
        return []
    said = {"role": message["role"], "content": message.get("content") or ""}
    if message.get("toolCalls"):
        said["tool_calls"] = message["toolCalls"]
    if message["role"] == "tool":
        said["tool_call_id"] = message["toolCallId"]
    return [said]


@asynccontextmanager
async def front(**options: Any) -> AsyncIterator[Front]:
    async with served(**options) as (server, client):
        front = Front(server, client)
        async with asgi(front.app()) as address:
            front.address = f"http://{address}"
            yield front
