"""Real servers for the tests of the peers: one websocket endpoint in each framework, on a loopback port."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal, TypeAlias

import fastapi
import starlette.applications
import starlette.routing
import starlette.websockets
import uvicorn
import websockets.asyncio.server
from aiohttp import web

from siliconflow_async.relay import Peer, aiohttp_peer, starlette_peer, websockets_peer

# What an endpoint does with the first message and the peer that it got.
Session: TypeAlias = Callable[[str, Peer], Awaitable[None]]
Served: TypeAlias = Callable[..., AbstractAsyncContextManager[str]]


def listening() -> tuple[socket.socket, str]:
    """A socket that accepts connections from now on, whenever its server is ready, and its address."""
    sock = socket.create_server(("127.0.0.1", 0), backlog=1024)
    return sock, f"127.0.0.1:{sock.getsockname()[1]}"


@asynccontextmanager
async def asgi(app: Any, *, lifespan: Literal["on", "off"] = "off") -> AsyncIterator[str]:
    """Run an ASGI application under uvicorn, in this loop."""
    sock, address = listening()
    server = uvicorn.Server(uvicorn.Config(app, lifespan=lifespan, log_level="warning", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        yield address
    finally:
        server.should_exit = True
        await serving
        sock.close()


@asynccontextmanager
async def on_starlette(session: Session, on_message: Any = None) -> AsyncIterator[str]:
    async def endpoint(websocket: starlette.websockets.WebSocket) -> None:
        await websocket.accept()
        await session(await websocket.receive_text(), starlette_peer(websocket, on_message))

    app = starlette.applications.Starlette(routes=[starlette.routing.WebSocketRoute("/", endpoint)])
    async with asgi(app) as address:
        yield f"ws://{address}/"


@asynccontextmanager
async def on_fastapi(session: Session, on_message: Any = None) -> AsyncIterator[str]:
    app = fastapi.FastAPI()

    @app.websocket("/")
    async def endpoint(websocket: fastapi.WebSocket) -> None:
        await websocket.accept()
        await session(await websocket.receive_text(), starlette_peer(websocket, on_message))

    async with asgi(app) as address:
        yield f"ws://{address}/"


@asynccontextmanager
async def on_aiohttp(session: Session, on_message: Any = None) -> AsyncIterator[str]:
    async def endpoint(request: web.Request) -> web.WebSocketResponse:
        websocket = web.WebSocketResponse()
        await websocket.prepare(request)
        await session(await websocket.receive_str(), aiohttp_peer(websocket, on_message))
        return websocket

    app = web.Application()
    app.router.add_get("/", endpoint)
    async with aiohttp_app(app) as address:
        yield f"ws://{address}/"


@asynccontextmanager
async def aiohttp_app(app: web.Application, **options: Any) -> AsyncIterator[str]:
    """Run an application of aiohttp.web in this loop."""
    sock, address = listening()
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, **options)
    await runner.setup()
    await web.SockSite(runner, sock).start()
    try:
        yield address
    finally:
        await runner.cleanup()


@asynccontextmanager
async def on_websockets(session: Session, on_message: Any = None) -> AsyncIterator[str]:
    async def endpoint(connection: websockets.asyncio.server.ServerConnection) -> None:
        await session(str(await connection.recv()), websockets_peer(connection, on_message))

    sock, address = listening()
    async with websockets.asyncio.server.serve(endpoint, sock=sock):
        yield f"ws://{address}/"


SERVED: dict[str, Served] = {
    "starlette": on_starlette,
    "fastapi": on_fastapi,
    "aiohttp": on_aiohttp,
    "websockets": on_websockets,
}


def leave(transport: Any, *, reset: bool) -> None:
    """Go without a word, by FIN or by RST."""
    sock = transport.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        # uvloop's stands for a socket and can't be shut down; one on the same connection can.
        with socket.socket(fileno=os.dup(sock.fileno())) as twin:
            twin.shutdown(socket.SHUT_WR)
