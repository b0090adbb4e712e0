"""The relays, each under uvicorn in a process of its own. None of them brings the library of another along."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import StreamingResponse

from . import OURS
from .children import LINUX, heard, rss, say
from .fixtures import MODEL

_CLEAR = Path("/proc/self/clear_refs")
_PEAK_ONLY = "5"


def _ours(base_url: str) -> FastAPI:
    """This library's relay, as README.md shows it; slow clients have the default policy, `slow="merge"`."""
    from siliconflow_async import AsyncSiliconFlow
    from siliconflow_async.relay import relay, sse_response, starlette_peer

    app = FastAPI()
    client = AsyncSiliconFlow("key", base_url=base_url)

    @app.websocket("/chat")
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        messages = [{"role": "user", "content": await websocket.receive_text()}]
        send, left = starlette_peer(websocket)
        stream = client.chat.completions.stream(model=MODEL, messages=messages)
        relayed = await relay(stream, send, left=left)
        if relayed.ended != "left":
            await websocket.close()

    @app.get("/sse")
    async def sse(question: str) -> StreamingResponse:
        messages = [{"role": "user", "content": question}]
        body = sse_response(client.chat.completions.stream(model=MODEL, messages=messages))
        return StreamingResponse(body, body.status, body.headers)

    return app


def _plain(leaving: Callable[[Any], AbstractAsyncContextManager[Any]], base_url: str) -> FastAPI:
    """The relay that people write over AsyncOpenAI: it waits for a chunk, sends it, waits for the next."""
    from openai import AsyncOpenAI

    app = FastAPI()
    client = AsyncOpenAI(api_key="key", base_url=base_url)
    ask = partial(client.chat.completions.create, model=MODEL, stream=True)

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


_APPS: dict[str, Callable[[str], FastAPI]] = {
    OURS: _ours,
    # As openai's manual does it. Its stream refers to itself: one that is left is closed when the collector comes by.
    "openai": partial(_plain, contextlib.nullcontext),
    "openai async with": partial(_plain, lambda stream: stream),
}


async def serve(name: str, upstream: str) -> None:
    """Serve on a port, which is the first word.

    It answers each word with CPU seconds of this process so far, and, where Linux tells, resident bytes now and at
    most. The word "begin" makes "at most" begin anew.
    """
    app = _APPS[name](upstream)
    sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    say(sock.getsockname()[1])
    telling = asyncio.create_task(_tell())
    # A slow client answers no ping until it has read what came before.
    config = uvicorn.Config(app, lifespan="off", log_level="warning", ws_ping_interval=None)
    # Plain relays go on writing to clients that have gone, of which asyncio warns.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    await uvicorn.Server(config).serve(sockets=[sock])
    telling.cancel()


def _facts(*, begin: bool) -> dict[str, float]:
    if begin:
        gc.collect()
        if _CLEAR.exists():
            _CLEAR.write_text(_PEAK_ONLY)
    facts: dict[str, float] = {"cpu": time.process_time()}
    if LINUX:
        facts["resident"], facts["peak"] = rss()
    return facts


async def _tell() -> None:
    async for word in await heard():
        say(_facts(begin=word == b"begin\n"))
    # Streams whose client has gone unnoticed would keep a graceful end waiting.
    os._exit(0)
