"""Relaying an open answer to browsers, by websockets and server-sent events."""

from ..wire.events import Snapshot, error_event
from .broadcast import Broadcast, Reader
from .peers import Peer, aiohttp_peer, starlette_peer, websockets_peer
from .protocols import AGUI, AISDK, Dialect, Events, OpenAIChunks
from .sse import SSEResponse, sse_response
from .websocket import Relayed, RelayEnded, relay

__all__ = [
    "AGUI",
    "AISDK",
    "Broadcast",
    "Dialect",
    "Events",
    "OpenAIChunks",
    "Peer",
    "Reader",
    "RelayEnded",
    "Relayed",
    "SSEResponse",
    "Snapshot",
    "aiohttp_peer",
    "error_event",
    "relay",
    "sse_response",
    "starlette_peer",
    "websockets_peer",
]
