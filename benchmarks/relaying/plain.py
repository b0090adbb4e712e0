"""The relay that people write over AsyncOpenAI: it waits for a chunk, sends it, waits for the next.

`make_app` does it as openai's manual does. Its stream refers to itself, so that one which is left is closed when the
garbage collector comes by; `make_careful_app` closes it with `async with`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse
from openai import AsyncOpenAI

from ..contestants.contestant import MODEL

__all__ = ["make_app", "make_careful_app"]


def make_app(base_url: str) -> FastAPI:
    return _app(base_url, contextlib.nullcontext)


def make_careful_app(base_url: str) -> FastAPI:
    return _app(base_url, lambda stream: stream)


def _app(base_url: str, leaving: Callable[[Any], AbstractAsyncContextManager[Any]]) -> FastAPI:
    app = FastAPI()
    client = AsyncOpenAI(api_key="key", base_url=base_url)
    ask = functools.partial(client.chat.completions.create, model=MODEL, stream=True)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        messages: Any = [{"role": "user", "content": await websocket.receive_text()}]
        try:
            async with leaving(await ask(messages=messages)) as stream:
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
            async with leaving(await ask(messages=messages)) as stream:
                async for chunk in stream:
                    if text := chunk.choices[0].delta.content:
                        yield f"data: {text}\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    return app
