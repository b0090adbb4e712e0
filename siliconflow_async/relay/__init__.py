"""Relaying an open answer to browsers, by websockets."""

from ..wire.events import Snapshot, error_event
from .peers import Peer, aiohttp_peer, starlette_peer, websockets_peer
from .websocket import Relayed, RelayEnded, relay

__all__ = [
    "Peer",
    "RelayEnded",
    "Relayed",
    "Snapshot",
    "aiohttp_peer",
    "error_event",
    "relay",
    "starlette_peer",
    "websockets_peer",
]
