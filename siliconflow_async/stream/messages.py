"""An open answer in Anthropic's form.

async with client.messages.stream(…) as stream:
    async for event in stream: …
    message = await stream.message()
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Self

from ..wire.endpoints.messages import ContentBlockDelta, Message, MessageEvent
from ..wire.endpoints.messagestream import MessageFold
from .folded import FoldedStream
from .manager import StreamManager
from .opened import Uncopyable
from .reading import Reading

__all__ = ["MessageStream", "MessageStreamManager", "MessageText"]


class MessageStream(FoldedStream[MessageEvent, MessageEvent, Message]):
    """An open answer: iterate it for events, or use `text()` or `message()`.

    `ended` is None while it is open, then "done" (message_stop came), "truncated", "error", "malformed", "too_large",
    "timeout" or "closed". `partial` is the message so far; `trace_id` is what SiliconFlow's support asks for.
    """

    __slots__ = ()

    _complete = "done"

    def __init__(self, reading: Reading[MessageEvent], started_at: float) -> None:
        super().__init__(reading, started_at, MessageFold())

    def text(self) -> MessageText:
        """Iterate the texts of its blocks, piece by piece."""
        return MessageText(self)

    @property
    def text_stream(self) -> AsyncIterator[str]:
        """`text()`, as the anthropic package names it."""
        return MessageText(self)

    async def message(self) -> Message:
        """Read what is left and return the whole message; raise as iterating would."""
        return await self.completion()

    async def get_final_message(self) -> Message:
        """`message()`, as the anthropic package names it."""
        return await self.completion()


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
