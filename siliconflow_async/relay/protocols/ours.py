"""This library's own protocol: each event is a frame, as `events()` gives it out, with its `type`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import msgspec

from ...wire.events import ContentDelta, ErrorEvent, Finished, ReasoningDelta, ToolCallDelta
from .part import AnyEvent, Part, is_stop

__all__ = ["TEXTS", "Events", "EventsMapping"]


# What is the same frame for whoever reads it, wherever they begin.
TEXTS = (ContentDelta, ReasoningDelta)


class Events(msgspec.Struct, frozen=True):
    """The library's events, one JSON object each."""

    headers: ClassVar[Mapping[str, str]] = {}
    is_numbered: ClassVar[bool] = True
    # A reader that comes back is told a call's name again, and what it missed as a snapshot; they share the rest.
    is_shared: ClassVar[bool] = False

    def mapping(self) -> EventsMapping:
        return EventsMapping()


class _News(msgspec.Struct, omit_defaults=True):
    """What a fragment of a call tells beside its arguments: a server may tell a name with each, and of any length."""

    id: str = ""
    name: str = ""


class EventsMapping:
    """One answer, event by event: id and name of a call go with the first fragment that knows them, and no other."""

    def __init__(self) -> None:
        # Of each call of each choice, the id and name that were told last.
        self._told: dict[tuple[int, int], tuple[str, str]] = {}
        self._heads: dict[tuple[type, int], bytes] = {}
        self._is_finished = False

    def feed(self, event: AnyEvent) -> list[Part]:
        if isinstance(event, TEXTS):
            key = (type(event), event.index)
            head = self._heads.get(key)
            if head is None:
                tag = "content_delta" if isinstance(event, ContentDelta) else "reasoning_delta"
                head = self._heads[key] = f'{{"type":"{tag}","index":{event.index},"text":'.encode()
            return [Part(event.index, head, event.text, b"}", key)]
        if isinstance(event, ToolCallDelta):
            return [self._fragment(event)]
        # A round of tools may follow one that called them.
        self._is_finished = isinstance(event, Finished) and event.reason != "tool_calls"
        return [Part(getattr(event, "index", -1), msgspec.json.encode(event))]

    def end(self, error: ErrorEvent | None) -> list[Part]:
        if error is None or (self._is_finished and is_stop(error)):
            return []
        return self.feed(error)

    def _fragment(self, event: ToolCallDelta) -> Part:
        call, told = (event.index, event.call), (event.id, event.name)
        head = f'{{"type":"tool_call_delta","index":{event.index},"call":{event.call},"arguments":'.encode()
        tail = b"}"
        if self._told.get(call) != told:
            self._told[call] = told
            news = msgspec.json.encode(_News(*told))
            tail = b"," + news[1:] if len(news) > len(b"{}") else tail
        return Part(event.index, head, event.arguments, tail, call)
