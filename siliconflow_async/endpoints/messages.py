"""`client.messages`: chat in Anthropic's form, for code that speaks it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Required, Unpack, overload

from ..headers import conceal
from ..request.fields import CallOptions, Fields
from ..stream.messages import MessageStream, MessageStreamManager
from ..wire.endpoints.messages import Message, decode_message
from ..wire.endpoints.messagestream import MessageProtocol

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["MessageParams", "Messages"]

_PATH = "/messages"


class MessageParams(CallOptions, total=False):
    """Keywords of `client.messages.create` and `stream`; `stream` stands outside it."""

    model: Required[str]
    """The model's name, "org/name"."""
    messages: Required[Iterable[Mapping[str, Any]]]
    """Mappings of role user or assistant; content is a text, or blocks, an answer's own `content` too."""
    max_tokens: Required[int]
    """At least 1; the ceiling is the model's."""
    system: str | Sequence[Mapping[str, Any]] | None
    """What the model is to be and do: a text, or text blocks."""
    stop_sequences: Sequence[str] | None
    """Texts before which the answer ends."""
    temperature: float | None
    """0 … 2. The higher, the more varied."""
    top_p: float | None
    """0 … 1. The share of probability to choose from."""
    top_k: int | None
    """How many tokens to choose from."""
    tools: Sequence[Mapping[str, Any]] | None
    """Mappings of name, description and input_schema."""
    tool_choice: Mapping[str, Any] | None
    """{"type": "auto"}, "any", "none", or "tool" with a name."""
    thinking: Mapping[str, Any] | None
    """{"type": "enabled", "budget_tokens": …} or {"type": "disabled"}."""


_CREATE = Fields(MessageParams, "model", "messages", "max_tokens")


class Messages:
    """Messages of one client."""

    __slots__ = ("_service",)

    def __init__(self, service: Service) -> None:
        self._service = service

    @overload
    async def create(self, *, stream: Literal[False] | None = None, **params: Unpack[MessageParams]) -> Message: ...

    @overload
    async def create(self, *, stream: Literal[True], **params: Unpack[MessageParams]) -> MessageStream: ...

    @overload
    async def create(self, *, stream: bool | None, **params: Unpack[MessageParams]) -> Message | MessageStream: ...

    async def create(self, *, stream: bool | None = None, **params: Unpack[MessageParams]) -> Message | MessageStream:
        """Ask, and return the whole message; with `stream=True`, an open MessageStream once its first event is there.

        Args:
            stream: True: return an open MessageStream once its first event is there; else the whole message.
            model: The model's name, "org/name".
            messages: Mappings of role user or assistant; content is a text, or blocks, an answer's own `content` too.
            max_tokens: At least 1; the ceiling is the model's.
            system: What the model is to be and do: a text, or text blocks.
            stop_sequences: Texts before which the answer ends.
            temperature: 0 … 2. The higher, the more varied.
            top_p: 0 … 1. The share of probability to choose from.
            top_k: How many tokens to choose from.
            tools: Mappings of name, description and input_schema.
            tool_choice: {"type": "auto"}, "any", "none", or "tool" with a name.
            thinking: {"type": "enabled", "budget_tokens": …} or {"type": "disabled"}.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a chat answer raises; errors are the service's own, and not in Anthropic's form.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        if stream:
            return await self._stream(params)
        return await self._service.fetch(
            "POST", _PATH, decode_message, params, body=_CREATE.body(params), weighs=params
        )

    def stream(self, **params: Unpack[MessageParams]) -> MessageStreamManager:
        """Ask for a stream: `async with … .stream(…) as stream:` opens a MessageStream, and closes it on leaving.

        Args:
            model: The model's name, "org/name".
            messages: Mappings of role user or assistant; content is a text, or blocks, an answer's own `content` too.
            max_tokens: At least 1; the ceiling is the model's.
            system: What the model is to be and do: a text, or text blocks.
            stop_sequences: Texts before which the answer ends.
            temperature: 0 … 2. The higher, the more varied.
            top_p: 0 … 1. The share of probability to choose from.
            top_k: How many tokens to choose from.
            tools: Mappings of name, description and input_schema.
            tool_choice: {"type": "auto"}, "any", "none", or "tool" with a name.
            thinking: {"type": "enabled", "budget_tokens": …} or {"type": "disabled"}.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Entering raises what `create` raises, and so does reading.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        return MessageStreamManager(lambda: self._stream(params))

    async def _stream(self, params: MessageParams) -> MessageStream:
        # A generator is read once, and so that a retry and the gate's weighing see the same.
        params["messages"] = params["messages"] if isinstance(params["messages"], list) else list(params["messages"])
        body = _CREATE.body(params, stream=True)
        return await self._service.open(_PATH, params, body, MessageProtocol, MessageStream)
