"""One stream in Anthropic's form as a state machine: bytes in, events out, and how it ended.

It has the shape of `protocol.ChatProtocol`. A stream is whole once `message_stop` came, and only then; the `[DONE]` of
OpenAI's form is passed over. An `error` event, or one of the house's own errors, ends it as a failure, and so does what
is no event stream: JSON of a whole message is taken as its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from typing import Any

import msgspec

from ...errors import APIStatusError, EventTooLargeError, MalformedStreamError, StreamError, TruncatedStreamError
from ..failures import Mask, cut_off, error_in, is_blank, malformed, stream_error, unmasked, value_of
from ..sse import SSEDecoder, SSEEvent
from .messages import (
    ContentBlock,
    ContentBlockDelta,
    ContentBlockStart,
    ContentBlockStop,
    Message,
    MessageDelta,
    MessageEvent,
    MessageEventError,
    MessageStart,
    MessageStop,
    MessageUsage,
    Ping,
    StopDelta,
    careful_event,
    decode_message,
    event_of,
)

__all__ = ["MessageFold", "MessageProtocol"]

_DONE = b"[DONE]"
_NONE = "not a message"
_SPACE = b" \t\r\n\xef\xbb\xbf"
# Blocks of one message: far more than any has.
_MOST_BLOCKS = 4096


class MessageProtocol:
    """Decode one stream; `max_event_size` in bytes bounds an event, or a body that is no event stream."""

    __slots__ = ("_began", "_body", "_found", "_mask", "_sse", "done", "failure", "whole")

    def __init__(self, max_event_size: int, mask: Mask = unmasked) -> None:
        self.done = False
        self.whole = False
        self.failure: StreamError | APIStatusError | None = None
        self._mask = mask
        self._sse = SSEDecoder(max_event_size)
        self._began = False
        # A JSON body; None as long as it may be, or is, an event stream.
        self._body: bytearray | None = None
        self._found = False

    def feed(self, data: bytes, lazily: bool = False) -> list[MessageEvent]:
        """Return the events that `data` completes."""
        if self.done or self.failure is not None:
            return []
        if not self._began and self._body is None:
            start = data.lstrip(_SPACE)
            if start[:1] in (b"{", b"[", b'"', b"<"):
                self._body = bytearray()
            self._began = bool(start)
        if self._body is not None:
            self._body += data
            if len(self._body) > self._sse.max_event_size:
                self._body = bytearray()
                self.failure = EventTooLargeError(f"the body is larger than {self._sse.max_event_size} bytes")
            return []
        try:
            events = self._sse.feed(data)
        except EventTooLargeError as error:
            # Without its traceback, which would hold this object in a cycle.
            self.failure = error.with_traceback(None)
            return []
        found = self._events_of(events)
        if not self.done and self.failure is None:
            self.failure = self._sse.failure
        return found

    def eof(self) -> list[MessageEvent]:
        """Return what the end of the body completes; an unfinished event is dropped."""
        if self.done or self.failure is not None:
            return []
        if self._body is None:
            if self._began and not self._found and self._sse.stray_text():
                self.failure = self._malformed(self._sse.stray_text(), "text")
            return []
        body, self._body = bytes(self._body), bytearray()
        try:
            message = decode_message(body, self._mask)
        except (APIStatusError, StreamError) as error:
            self.failure = error.with_traceback(None)
            return []
        self.whole = True
        return [MessageStart(message), MessageDelta(StopDelta(message.stop_reason), message.usage), MessageStop()]

    def cut_short(self) -> list[MessageEvent]:
        """Return what was held back where the body broke off."""
        return []

    def cut_off(self, why: str | None, *, begun: bool) -> TruncatedStreamError:
        """Return the error for an end that came too soon; `why` says what broke it off, `begun` if a message came."""
        if self._body is not None:
            return cut_off(0 if is_blank(self._body) else len(self._body), why)
        how = "ended" if why is None else f"broke off ({why})"
        return TruncatedStreamError(f"the stream {how}, without message_stop", empty=not begun)

    @staticmethod
    def has_progress(chunks: Iterable[MessageEvent]) -> bool:
        """Whether something came of the answer itself."""
        return any(isinstance(event, ContentBlockDelta | MessageDelta | MessageStop) for event in chunks)

    def _events_of(self, events: Iterable[SSEEvent]) -> list[MessageEvent]:
        found: list[MessageEvent] = []
        for event in events:
            self._found = True
            one = None if event.event == "error" else event_of(event.data)
            if one is None:
                one = self._carefully(event)
            if self.failure is not None:
                break
            if one is not None:
                found.append(one)
                if isinstance(one, MessageStop):
                    self.done = True
                    break
        return found

    def _carefully(self, event: SSEEvent) -> MessageEvent | None:
        data = event.data.strip()
        if data == _DONE or not data:
            return None
        try:
            value = value_of(event.data)
        except ValueError as error:
            if event.event == "error":
                self.failure = stream_error(event.data.decode("utf-8", "replace"), self._mask)
            else:
                self.failure = self._malformed(event.data, str(error))
            return None
        if event.event == "error" or error_in(value) is not None:
            self.failure = stream_error(value, self._mask)
            return None
        if not isinstance(value, dict):
            self.failure = self._malformed(event.data, "not an object")
            return None
        try:
            return careful_event(value, event.event)
        except MessageEventError as error:
            self.failure = self._malformed(event.data, str(error))
            return None

    def _malformed(self, data: bytes, why: str) -> MalformedStreamError:
        return malformed(data, why, _NONE, self._mask)


class _Open:
    """A block that grows: its texts in the pieces that came."""

    __slots__ = ("block", "input", "signature", "text", "thinking")

    def __init__(self, block: ContentBlock) -> None:
        self.block = block
        self.text: list[str] = []
        self.thinking: list[str] = []
        self.signature: list[str] = []
        self.input: list[str] = []

    def closed(self) -> ContentBlock:
        """Return the block as it stands."""
        block = copy(self.block)
        for name in ("text", "thinking", "signature"):
            pieces = getattr(self, name)
            if pieces:
                setattr(block, name, (getattr(block, name) or "") + "".join(pieces))
        if self.input:
            written = "".join(self.input)
            try:
                block.input = msgspec.json.decode(written, type=dict[str, Any])
            except (msgspec.DecodeError, RecursionError):
                block.input, block.partial_json = None, written
        return block


class MessageFold:
    """Folds events into the message that they make; each is taken once, and the message may be had at any time."""

    __slots__ = ("_blocks", "_message", "begun", "finished")

    def __init__(self) -> None:
        self._message = Message()
        self._blocks: dict[int, _Open] = {}
        self.begun = False
        self.finished = False

    @property
    def usage(self) -> MessageUsage | None:
        """The tokens so far, if they were told."""
        return self._message.usage

    def fold(self, events: Sequence[MessageEvent]) -> bool:
        """Add events, in their order; return whether something came of the answer itself.

        Raises MalformedStreamError for a block beyond all bounds; what came before is kept.
        """
        for event in events:
            self._take(event)
        return MessageProtocol.has_progress(events)

    def _take(self, event: MessageEvent) -> None:
        match event:
            case MessageStart():
                self.begun = True
                self._message = copy(event.message)
                self._blocks = {index: _Open(block) for index, block in enumerate(event.message.content)}
            case ContentBlockStart():
                self._blocks[self._checked(event.index)] = _Open(event.content_block)
            case ContentBlockDelta():
                self._add(event)
            case MessageDelta():
                message, delta = self._message, event.delta
                message.stop_reason = delta.stop_reason or message.stop_reason
                message.stop_sequence = delta.stop_sequence or message.stop_sequence
                if event.usage is not None:
                    self._count(event.usage)
            case MessageStop():
                self.finished = True
            case ContentBlockStop() | Ping():
                pass

    def completion(self) -> Message:
        """Return the message so far."""
        message = copy(self._message)
        message.content = [self._blocks[index].closed() for index in sorted(self._blocks)]
        return message

    def _add(self, event: ContentBlockDelta) -> None:
        index = self._checked(event.index)
        open_block = self._blocks.get(index)
        if open_block is None:
            # Of a server that leaves out the start: the delta says what the block is.
            kinds = {"thinking_delta": "thinking", "signature_delta": "thinking", "input_json_delta": "tool_use"}
            open_block = self._blocks[index] = _Open(ContentBlock(type=kinds.get(event.delta.type, "text")))
        delta = event.delta
        if delta.text:
            open_block.text.append(delta.text)
        if delta.thinking:
            open_block.thinking.append(delta.thinking)
        if delta.signature:
            open_block.signature.append(delta.signature)
        if delta.partial_json:
            open_block.input.append(delta.partial_json)

    def _checked(self, index: int) -> int:
        if index not in self._blocks and len(self._blocks) >= _MOST_BLOCKS:
            raise MalformedStreamError(f"more than {_MOST_BLOCKS:,} blocks in one message")
        return index

    def _count(self, usage: MessageUsage) -> None:
        """Take the latest usage, with what only an earlier one told."""
        before = self._message.usage or MessageUsage()
        self._message.usage = MessageUsage(
            usage.input_tokens or before.input_tokens,
            usage.output_tokens or before.output_tokens,
            before.cache_read_input_tokens if usage.cache_read_input_tokens is None else usage.cache_read_input_tokens,
            before.cache_creation_input_tokens
            if usage.cache_creation_input_tokens is None
            else usage.cache_creation_input_tokens,
        )
