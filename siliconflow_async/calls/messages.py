"""How a message is asked for as a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..stream.messages import MessageStream, first_event
from ..stream.reading import Observer, Reading
from ..transport.answer import Answer
from ..wire.messages import MessageEvent
from ..wire.messagestream import MessageProtocol
from .call import Call
from .setup import Setup

__all__ = ["open_message"]


async def open_message(setup: Setup, path: str, params: Mapping[str, Any], body: bytes) -> MessageStream:
    """Return the stream once its first event is there, over all attempts."""
    request = setup.request("POST", path, params, body=body, streaming=True)
    call = Call(setup, request, weighs=params)

    async def begin(answer: Answer, observer: Observer | None) -> MessageStream:
        reading: Reading[MessageEvent] = Reading(
            answer,
            MessageProtocol(setup.max_event_size, answer.mask),
            timeouts=request.timeouts,
            deadline=request.deadline,
            observer=observer,
            attempts=call.attempts,
        )
        stream = MessageStream(reading, request.started_at)
        setup.transport.pool.track(stream)
        return await first_event(stream)

    return await call.open(begin)
