"""Answers in Anthropic's form: what `POST /messages` sends back, whole or as events under Anthropic's names.

Field and event names are those of the anthropic package. Sets of words are open: a block of a type that is not known
has its type, and what of it is known. `raw` of a whole answer is its body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer, to_text
from ..plain import Headed, Plain, nothing, told
from ..structs import CompletionTokensDetails, PromptTokensDetails
from ..weight import TooHeavyError, check_weight

__all__ = [
    "BlockDelta",
    "ContentBlock",
    "ContentBlockDelta",
    "ContentBlockStart",
    "ContentBlockStop",
    "Message",
    "MessageDelta",
    "MessageEvent",
    "MessageEventError",
    "MessageStart",
    "MessageStop",
    "MessageUsage",
    "Ping",
    "StopDelta",
    "careful_event",
    "decode_message",
    "event_of",
    "message_of",
]

_NONE = "no message"
_CANNOT_DECODE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TooHeavyError)


class MessageUsage(Plain):
    """Tokens of one request; in a stream the last one counts.

    It also has the names of a chat's `Usage`: `prompt_tokens`, `completion_tokens`, `total_tokens`.
    """

    input_tokens: int = told(0)
    output_tokens: int = told(0)
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    @property
    def prompt_tokens(self) -> int:
        """All that was read: `input_tokens`, and what came from a cache or went into it, which these leave out."""
        return self.input_tokens + (self.cache_read_input_tokens or 0) + (self.cache_creation_input_tokens or 0)

    @property
    def completion_tokens(self) -> int:
        """`output_tokens`."""
        return self.output_tokens

    @property
    def total_tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.output_tokens

    @property
    def completion_tokens_details(self) -> CompletionTokensDetails | None:
        """None: this form does not tell reasoning apart."""
        return None

    @property
    def prompt_tokens_details(self) -> PromptTokensDetails | None:
        """What came from a cache."""
        cached = self.cache_read_input_tokens
        return None if cached is None else PromptTokensDetails(cached_tokens=cached)

    @property
    def prompt_cache_hit_tokens(self) -> int | None:
        """`cache_read_input_tokens`."""
        return self.cache_read_input_tokens


class ContentBlock(Plain):
    """A part of a message, by its `type`: "text" has `text`, "thinking" `thinking` and `signature`, "tool_use" `id`,
    `name` and `input`.

    `partial_json` is the text of an input that is no JSON object, such as one that was cut off.
    """

    type: str = told("text")
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    partial_json: str | None = None


class Message(Headed, Plain):
    """A whole answer; `stop_reason` is "end_turn", "max_tokens", "tool_use", "stop_sequence", "refusal", …

    `raw` is the body as it came (None where folded from a stream), `headers` the answer's headers with lower-case
    names, `trace_id` what SiliconFlow's support asks for, `timing` in seconds.
    """

    id: str = told("")
    type: str = told("message")
    role: str = told("assistant")
    model: str = told("")
    content: list[ContentBlock] = msgspec.field(default_factory=nothing)
    stop_reason: str | None = None
    stop_sequence: str | None = None
    usage: MessageUsage | None = None

    @property
    def text(self) -> str:
        """The texts of its blocks, joined."""
        return "".join(block.text for block in self.content if block.text and block.type == "text")


class _Event(msgspec.Struct, tag_field="type", omit_defaults=True, gc=False):
    # `type` is a class variable of each, by which type checkers tell them apart.

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists, with the event's `type`."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def to_json(self) -> str:
        """Return the event as one JSON object with its `type`."""
        return msgspec.json.encode(self).decode()


class BlockDelta(Plain):
    """What comes to a block, by its `type`: "text_delta", "thinking_delta", "signature_delta", "input_json_delta"."""

    type: str = told("")
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None


class StopDelta(Plain):
    """Why a message ends."""

    stop_reason: str | None = None
    stop_sequence: str | None = None


class MessageStart(_Event, tag="message_start"):
    """The message begins; its content is still to come."""

    type: ClassVar[Literal["message_start"]] = "message_start"
    message: Message


class ContentBlockStart(_Event, tag="content_block_start"):
    """A block begins."""

    type: ClassVar[Literal["content_block_start"]] = "content_block_start"
    index: int
    content_block: ContentBlock


class ContentBlockDelta(_Event, tag="content_block_delta"):
    """More of a block."""

    type: ClassVar[Literal["content_block_delta"]] = "content_block_delta"
    index: int
    delta: BlockDelta


class ContentBlockStop(_Event, tag="content_block_stop"):
    """A block is whole."""

    type: ClassVar[Literal["content_block_stop"]] = "content_block_stop"
    index: int


class MessageDelta(_Event, tag="message_delta"):
    """Why the message ends; `usage` is that of all of it."""

    type: ClassVar[Literal["message_delta"]] = "message_delta"
    delta: StopDelta
    usage: MessageUsage | None = None


class MessageStop(_Event, tag="message_stop"):
    """The message is whole."""

    type: ClassVar[Literal["message_stop"]] = "message_stop"


class Ping(_Event, tag="ping"):
    """The service is there, and has nothing to say."""

    type: ClassVar[Literal["ping"]] = "ping"


MessageEvent: TypeAlias = (
    MessageStart | ContentBlockStart | ContentBlockDelta | ContentBlockStop | MessageDelta | MessageStop | Ping
)

_EVENT = msgspec.json.Decoder(MessageEvent)
_MESSAGE = msgspec.json.Decoder(Message)


class MessageEventError(ValueError):
    """What came under a known name is no such event."""


def decode_message(body: bytes, mask: Mask = unmasked) -> Message:
    """Decode a whole answer.

    Raises APIStatusError for an error under 200, MalformedStreamError for what is no message.
    """
    try:
        check_weight(body)
        message = _MESSAGE.decode(body)
    except _CANNOT_DECODE:
        message = None
    # What has none of a message may be an error that looks like one.
    if message is None or message.type != "message" or not message.content:
        value = value_in(body, _NONE, mask)
        if not isinstance(value, dict) or value.get("type", "message") != "message":
            raise malformed(body, "not of type message", _NONE, mask)
        if not isinstance(value.get("content"), list):
            raise malformed(body, "no content", _NONE, mask)
        message = message_of(value)
    message.raw = body
    return message


def event_of(data: bytes) -> MessageEvent | None:
    """Return the event that some JSON is; None for what the decoder refuses, which `careful_event` tells apart."""
    try:
        check_weight(data)
        return _EVENT.decode(data)
    except _CANNOT_DECODE:
        return None


def careful_event(value: Mapping[str, Any], name: str) -> MessageEvent | None:
    """Return an odd event as far as it can be read, by its `type` or else by its `name`; None for an unknown one.

    Raises MessageEventError for one without what it is about.
    """
    kind = to_text(value.get("type")) or name
    match kind:
        case "message_start":
            return MessageStart(message_of(_object(value, "message")))
        case "content_block_start":
            return ContentBlockStart(_index(value), _block(_object(value, "content_block")))
        case "content_block_delta":
            return ContentBlockDelta(_index(value), _known(BlockDelta, _object(value, "delta")))
        case "content_block_stop":
            return ContentBlockStop(_index(value))
        case "message_delta":
            return MessageDelta(_known(StopDelta, _object(value, "delta")), _usage(value.get("usage")))
        case "message_stop":
            return MessageStop()
        case "ping":
            return Ping()
        case _:
            return None


def message_of(value: Mapping[str, Any]) -> Message:
    """Return a message as far as it can be read."""
    content = value.get("content")
    return Message(
        id=to_text(value.get("id")) or "",
        role=to_text(value.get("role")) or "assistant",
        model=to_text(value.get("model")) or "",
        content=[_block(block) for block in content if isinstance(block, dict)] if isinstance(content, list) else [],
        stop_reason=to_text(value.get("stop_reason")),
        stop_sequence=to_text(value.get("stop_sequence")),
        usage=_usage(value.get("usage")),
    )


def _block(value: Mapping[str, Any]) -> ContentBlock:
    block: ContentBlock = _known(ContentBlock, value, but=("input",))
    given = value.get("input")
    block.input = given if isinstance(given, dict) else None
    return block


def _usage(value: Any) -> MessageUsage | None:
    if not isinstance(value, dict):
        return None
    usage = MessageUsage(to_integer(value.get("input_tokens")) or 0, to_integer(value.get("output_tokens")) or 0)
    usage.cache_read_input_tokens = to_integer(value.get("cache_read_input_tokens"))
    usage.cache_creation_input_tokens = to_integer(value.get("cache_creation_input_tokens"))
    return usage


def _known(kind: Any, value: Mapping[str, Any], but: tuple[str, ...] = ()) -> Any:
    """Return a struct of texts."""
    return kind(
        **{name: value[name] for name in kind.__struct_fields__ if name not in but and isinstance(value.get(name), str)}
    )


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise MessageEventError(f"{value.get('type')} without its {name}")
    return found


def _index(value: Mapping[str, Any]) -> int:
    return to_integer(value.get("index")) or 0
