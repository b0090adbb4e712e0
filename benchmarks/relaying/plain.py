"""The relay that people write over AsyncOpenAI: it waits for a chunk, sends it, waits for the next.

`make_app` does it as openai's manual does. Its stream refers to itself, so that one which is left is closed when the
garbage collector comes by; `make_careful_app` closes it with `async with`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

from ..contestants.contestant import MODEL

__all__ = ["make_app", "make_careful_app"]


def make_app(base_url: str) -> FastAPI:
    app = FastAPI()
    client = AsyncOpenAI(api_key="key", base_url=base_url)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        messages: Any = [{"role": "user", "content": await websocket.receive_text()}]
        try:
            stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            async for chunk in stream:
                if text := chunk.choices[0].delta.content:
                    await websocket.send_text(text)
            await websocket.close()
        except WebSocketDisconnect:
            pass

    @app.get("/sse")
    async def sse(question: str) -> StreamingResponse:
        messages: Any = [{"role": "user", "content": question}]

        async def body() -> AsyncIterator[str]:
            stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            async for chunk in stream:
                if text := chunk.choices[0].delta.content:
                    yield f"data: {text}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return app


def make_careful_app(base_url: str) -> FastAPI:
    app = FastAPI()
    client = AsyncOpenAI(api_key="key", base_url=base_url)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        messages: Any = [{"role": "user", "content": await websocket.receive_text()}]
        try:
            async with await client.chat.completions.create(model=MODEL, messages=messages, stream=True) as stream:
                async for chunk in stream:
                    if text := chunk.choices[0].delta.content:
                        await websocket.send_text(text)
            await websocket.close()
        except WebSocketDisconnect:
            pass

    @app.get("/sse")
    async def sse(question: str) -> StreamingResponse:
        messages: Any = [{"role": "user", "content": question}]

        async def body() -> AsyncIterator[str]:
            async with await client.chat.completions.create(model=MODEL, messages=messages, stream=True) as stream:
                async for chunk in stream:
                    if text := chunk.choices[0].delta.content:
                        yield f"data: {text}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return app
