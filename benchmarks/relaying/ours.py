"""This library's relay, as README.md shows it; slow clients have the default policy, `slow="merge"`."""

from __future__ import annotations

from fastapi import FastAPI, WebSocket
from fastapi.responses import StreamingResponse

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.relay import relay, sse_response, starlette_peer

from ..contestants.contestant import MODEL

__all__ = ["make_app"]


def make_app(base_url: str) -> FastAPI:
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
