"""An open answer in Anthropic's form.

async with client.messages.stream(…) as stream:
    async for event in stream: …
    message = await stream.message()
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Self

from ..errors import MalformedStreamError
from ..wire.messages import ContentBlockDelta, Message, MessageEvent
from ..wire.messagestream import MessageFold, MessageProtocol
from ..wire.plain import Timing
from .manager import StreamManager
from .opened import OpenAnswer, Uncopyable
from .reading import Reading

__all__ = ["MessageStream", "MessageStreamManager", "MessageText"]


class MessageStream(OpenAnswer[MessageEvent]):
    """An open answer: iterate it for events, or use `text()` or `message()`.

    `ended` is None while it is open, then "done" (message_stop came), "truncated", "error", "malformed", "too_large",
    "timeout" or "closed". `partial` is the message so far; `trace_id` is what SiliconFlow's support asks for.
    """

    __slots__ = ("_fold", "_given", "_ready", "_started_at")

    def __init__(self, reading: Reading[MessageEvent], started_at: float) -> None:
        super().__init__(reading)
        self._started_at = started_at
        self._fold = MessageFold()
        # Of one read: what came, and how many of it were given out.
        self._ready: list[MessageEvent] = []
        self._given = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MessageEvent:
        if self._given == len(self._ready) and not await self._fill():
            raise StopAsyncIteration
        self._given += 1
        return self._ready[self._given - 1]

    @property
    def partial(self) -> Message:
        """The message so far: the events given out; all that had arrived, once the stream has ended."""
        self._settle()
        message = self._fold.message()
        message.headers = self.headers
        message.trace_id = self.trace_id
        message.timing = self.timing
        return message

    @property
    def timing(self) -> Timing:
        """Seconds from the call to the first token and to the end, None for what has not come; requests made for it."""
        first, end, started_at = self._reading.first_token_at, self._end, self._started_at
        return Timing(
            None if first is None else first - started_at,
            None if end is None else end.at - started_at,
            self._reading.attempts,
        )

    def text(self) -> MessageText:
        """Iterate the texts of its blocks, piece by piece."""
        return MessageText(self)

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """`text()`, as the anthropic package names it."""
        return MessageText(self)

    async def message(self) -> Message:
        """Read what is left and return the whole message; raise as iterating would."""
        while True:
            self._given = len(self._ready)
            if not await self._fill():
                return self.partial

    async def get_final_message(self) -> Message:
        """`message()`, as the anthropic package names it."""
        return await self.message()

    def abort(self) -> None:
        """`aclose()` for callers that can't await."""
        if self._end is not None:
            return
        if not self._busy:
            self._ready += self._reading.arrived()
        self._given = len(self._ready)
        self._settle()
        self._conclude("done" if self._fold.finished else "closed")

    # The end that is whole without more is known to the protocol: message_stop.
    _finished = False

    @property
    def _begun(self) -> bool:  # type: ignore[override]  # a variable of the base
        return self._fold.begun

    def _take(self, found: list[MessageEvent], lazily: bool) -> None:
        self._ready = found
        self._given = 0

    def _so_far(self) -> Any:
        return self.partial

    def _settle(self) -> None:
        """Fold what was given out, and tell of it."""
        given, self._ready = self._ready[: self._given], self._ready[self._given :]
        self._given = 0
        if not given:
            return
        reading = self._reading
        try:
            for event in given:
                self._fold.take(event)
        except MalformedStreamError as error:
            reading.spoil(error)
        if MessageProtocol.has_progress(given):
            reading.clock.waited = 0.0
        if reading.observer is not None:
            # It has the names of a chat's usage, too.
            reading.observer.progress(len(given), self._fold.usage)  # type: ignore[arg-type]


class MessageText(Uncopyable):
    """The texts of a message as they come; made by `MessageStream.text()`."""

    __slots__ = ("_stream",)

    def __init__(self, stream: MessageStream) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        async for event in self._stream:
            if isinstance(event, ContentBlockDelta) and event.delta.text:
                return event.delta.text
        raise StopAsyncIteration


class MessageStreamManager(StreamManager[MessageStream]):
    """What `messages.stream(…)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ()
    _opens = MessageStream
