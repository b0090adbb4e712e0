"""How to send to a client, to know that it has gone, and to hear what it says, in three frameworks.

    peer = starlette_peer(websocket)
    async for question in peer.messages():
        await relay(stream, peer)

A framework tells that a client has gone only to whoever receives from it. So the relay receives by `left` while an
answer is sent. The message `{"type": "stop"}` stops the answer; any other is handed to `on_message`, or kept for
`messages()`, or dropped where there is neither. `left` may be awaited again for the next answer; between two answers
the websocket is yours to receive from. No framework is imported here: each peer knows the names of its own, and no
more.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Literal, NamedTuple, Protocol, Self, TypeAlias

import msgspec

__all__ = ["Left", "Peer", "aiohttp_peer", "starlette_peer", "websockets_peer"]

OnMessage: TypeAlias = Callable[[str | bytes], object]
# The next message, None where none will come.
Receive: TypeAlias = Callable[[], Coroutine[Any, Any, str | bytes | None]]

# A client that says more than this while an answer is sent is heard again after it.
_MOST = 64
_MOST_BYTES = 1024 * 1024


class StarletteWebSocket(Protocol):
    """What is used of Starlette's and FastAPI's WebSocket."""

    def send_text(self, data: str) -> Coroutine[Any, Any, None]: ...

    def receive(self) -> Coroutine[Any, Any, Any]: ...


class AiohttpWebSocket(Protocol):
    """What is used of aiohttp.web's WebSocketResponse."""

    def send_str(self, data: str) -> Coroutine[Any, Any, None]: ...

    def __anext__(self) -> Coroutine[Any, Any, Any]: ...


class WebSocketsConnection(Protocol):
    """What is used of a server's connection in `websockets`."""

    def send(self, message: str) -> Coroutine[Any, Any, None]: ...

    def recv(self) -> Coroutine[Any, Any, str | bytes]: ...


class _Stop(msgspec.Struct):
    type: Literal["stop"]


_STOP = msgspec.json.Decoder(_Stop)


class Left:
    """Can be awaited until the client has gone, afresh each time; it is no coroutine that someone would have to await.

    Meanwhile it hears the client: `on_stop` is called when the client says so, for as long as the relay has set it.
    """

    def __init__(self, receive: Receive, on_message: OnMessage | None) -> None:
        self.on_stop: Callable[[], object] | None = None
        self._receive = receive
        self._on_message = on_message
        # What waits for `messages()`, once someone wants it.
        self._inbox: deque[str | bytes] | None = None
        self._is_over = False

    def __await__(self) -> Generator[Any, Any, None]:
        return self._wait().__await__()

    async def _wait(self) -> None:
        while (message := await self._next()) is not None:
            if _is_stop(message):
                if self.on_stop is not None:
                    self.on_stop()
            elif self._on_message is not None:
                self._on_message(message)
            elif self._inbox is not None:
                self._inbox.append(message)
                if len(self._inbox) >= _MOST or sum(map(len, self._inbox)) >= _MOST_BYTES:
                    await asyncio.get_running_loop().create_future()

    async def _next(self) -> str | bytes | None:
        if self._is_over:
            return None
        message = await self._receive()
        self._is_over = message is None
        return message

    def keep(self) -> None:
        """Keep what the client says while an answer is sent."""
        if self._inbox is None:
            self._inbox = deque()

    async def message(self) -> str | bytes | None:
        """Return what the client said, or says, next; None where it says no more."""
        if self._inbox:
            return self._inbox.popleft()
        while (message := await self._next()) is not None and _is_stop(message):
            pass  # too late: the answer was complete
        return message


class Peer(NamedTuple):
    """One client's end of a websocket: `send` takes a text frame, `left` can be awaited until the client has gone."""

    send: Callable[[str], Awaitable[Any]]
    left: Left

    def messages(self) -> Messages:
        """Return an iterator of what the client says, one turn of a conversation after another, until it has gone.

        What comes while an answer is relayed is kept for the next turn, but for `{"type": "stop"}`.
        """
        self.left.keep()
        return Messages(self.left)


class Messages:
    """What a client says, text or bytes."""

    def __init__(self, left: Left) -> None:
        self._left = left

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str | bytes:
        message = await self._left.message()
        if message is None:
            raise StopAsyncIteration
        return message


def starlette_peer(websocket: StarletteWebSocket, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of an accepted WebSocket of Starlette or FastAPI; `on_message` gets what the client sends."""

    async def receive() -> str | bytes | None:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        said: str | bytes = message.get("bytes", b"") if text is None else text
        return said

    return Peer(websocket.send_text, Left(receive, on_message))


def aiohttp_peer(websocket: AiohttpWebSocket, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of a prepared WebSocketResponse of aiohttp.web; `on_message` gets what the client sends."""

    async def receive() -> str | bytes | None:
        while True:
            try:
                message = await websocket.__anext__()
            except StopAsyncIteration:
                return None
            if isinstance(message.data, str | bytes):
                return message.data

    return Peer(websocket.send_str, Left(receive, on_message))


def websockets_peer(connection: WebSocketsConnection, on_message: OnMessage | None = None) -> Peer:
    """Return the peer of a connection of `websockets`; `on_message` gets what the client sends."""

    async def receive() -> str | bytes | None:
        try:
            return await connection.recv()
        except Exception as error:
            if type(error).__name__ == "ConnectionClosedOK":
                return None
            raise

    return Peer(connection.send, Left(receive, on_message))


def _is_stop(message: str | bytes) -> bool:
    if len(message) > 1000 or ("stop" not in message if isinstance(message, str) else b"stop" not in message):
        return False
    try:
        _STOP.decode(message)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return True
