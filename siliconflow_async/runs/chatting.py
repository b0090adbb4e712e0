"""One chat of many: asked as a stream, so that its first token is known, and whoever wants to sees its events."""

from __future__ import annotations

from ..calls.chat import ChatCall
from ..calls.passage import Passage
from ..wire.structs import ChatCompletion
from .results import CallbackFailed, MapItem, OnEvent

__all__ = ["MapChat"]


class MapChat:
    """A chat of a run, whose events `on_event` is told."""

    __slots__ = ("_call", "_item", "_on_event")

    def __init__(self, call: ChatCall, item: MapItem, on_event: OnEvent | None) -> None:
        self._call = call
        self._item = item
        self._on_event = on_event

    @property
    def passage(self) -> Passage:
        return self._call.passage

    @property
    def attempts(self) -> int:
        return self._call.attempts

    async def answer(self) -> ChatCompletion:
        """Read the stream to its end, and fold it."""
        stream = await self._call.stream()
        try:
            if self._on_event is not None:
                async for event in stream.events():
                    try:
                        waiting = self._on_event(self._item, event)
                        if waiting is not None:
                            await waiting
                    except Exception as error:  # the user's own, which must not be taken for the request's
                        raise CallbackFailed(error) from error
            return await stream.completion()
        finally:
            stream.abort()
