"""How to send to a client, and how to know that it has gone, in three frameworks.

    send, left = starlette_peer(websocket)
    await relay(stream, send, left=left)

A framework tells that a client has gone only to whoever receives from it. So `left` receives, and hands what the client
sends meanwhile, text or bytes, to `on_message`; without that it is dropped. `left` may be awaited again for the next
answer; between two answers the websocket is yours to receive from. No framework is imported here: each peer knows the
names of its own, and nothing else.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any, NamedTuple, Protocol, TypeAlias

__all__ = ["Peer", "aiohttp_peer", "starlette_peer", "websockets_peer"]

OnMessage: TypeAlias = Callable[[str | bytes], object]


class StarletteWebSocket(Protocol):
    """What is used of Starlette's and FastAPI's WebSocket."""

    def send_text(self, data: str) -> Coroutine[Any, Any, None]: ...

    def receive(self) -> Coroutine[Any, Any, Any]: ...


class AiohttpWebSocket(Protocol):
    """What is used of aiohttp.web's WebSocketResponse."""

    def send_str(self, data: str) -> Coroutine[Any, Any, None]: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...


class WebSocketsConnection(Protocol):
    """What is used of a server's connection in `websockets`."""

    def send(self, message: str) -> Coroutine[Any, Any, None]: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...


class Peer(NamedTuple):
    """One client's end of a websocket: `send` takes a text frame, `left` can be awaited until the client has gone."""

    send: Callable[[str], Awaitable[Any]]
    left: Awaitable[Any]


class _Left:
    """Awaits afresh each time, and is no coroutine that someone would have to await."""

    def __init__(self, receive: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._receive = receive

    def __await__(self) -> Generator[Any, Any, None]:
        return self._receive().__await__()


def starlette_peer(websocket: StarletteWebSocket, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of an accepted WebSocket of Starlette or FastAPI; `on_message` gets what the client sends."""

    async def receive() -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if on_message is not None:
                text = message.get("text")
                on_message(message.get("bytes", b"") if text is None else text)

    return Peer(websocket.send_text, _Left(receive))


def aiohttp_peer(websocket: AiohttpWebSocket, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of a prepared WebSocketResponse of aiohttp.web; `on_message` gets what the client sends."""

    async def receive() -> None:
        async for message in websocket:
            if on_message is not None and isinstance(message.data, str | bytes):
                on_message(message.data)

    return Peer(websocket.send_str, _Left(receive))


def websockets_peer(connection: WebSocketsConnection, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of a connection of `websockets`; `on_message` gets what the client sends."""

    async def receive() -> None:
        async for message in connection:
            if on_message is not None:
                on_message(message)

    return Peer(connection.send, _Left(receive))
