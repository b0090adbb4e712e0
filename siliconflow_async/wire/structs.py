"""The answer's structs: what `POST /chat/completions` sends back, whole or in chunks.

Field order is the order of the wire, which msgspec matches fastest. `gc=False` holds: nothing here can form a cycle.
Fields of type None are never given out: their presence makes the fast decode fail, so that error frames and odd servers
take the careful way (`lenient`) at no cost to the usual chunk.

Attribute names are those of the openai package. Absent fields are None (or "" and 0 where a field is never absent from
SiliconFlow's answers). What the structs don't know is in `raw`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from .plain import Beside, Headed, Plain, Timing, nothing, told

__all__ = [
    "MOST_CALLS",
    "MOST_CHOICES",
    "AssistantMessage",
    "ChatCompletion",
    "ChatCompletionChunk",
    "Choice",
    "ChoiceDelta",
    "ChoiceDeltaToolCall",
    "ChoiceDeltaToolCallFunction",
    "ChunkChoice",
    "CompletionTokensDetails",
    "Function",
    "PromptTokensDetails",
    "Timing",
    "ToolCall",
    "Usage",
]


# Choices of an answer, and calls of a choice or their fragments in one chunk: eight times the functions that a request
# may have. More are refused by the fast decoders, at no cost to the usual chunk, and the careful way says so.
MOST_CHOICES = 1024
MOST_CALLS = 1024


class CompletionTokensDetails(Plain):
    """How `completion_tokens` is made up."""

    reasoning_tokens: int | None = None


class PromptTokensDetails(Plain):
    """How `prompt_tokens` is made up."""

    cached_tokens: int | None = None


class Usage(Plain):
    """Tokens of one request. In a stream it is cumulative: the last one counts."""

    prompt_tokens: int = told(0)
    completion_tokens: int = told(0)
    total_tokens: int = told(0)
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_cache_miss_tokens: int | None = None


class Function(Plain):
    """What a tool call calls; `arguments` is JSON text, as the model wrote it."""

    name: str = told("")
    arguments: str = told("")


class ToolCall(Plain):
    """One complete tool call."""

    id: str = told("")
    type: str = told("function")
    function: Function = field(default_factory=Function)


class AssistantMessage(Plain):
    """The model's turn; append it to `messages` as it is to send it back."""

    role: Literal["assistant"] = told("assistant")
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Meta(max_length=MOST_CALLS)] | None = None
    reasoning: None = None


class Choice(Plain):
    """One answer of `n`."""

    index: int = told(0)
    message: AssistantMessage = field(default_factory=AssistantMessage)
    finish_reason: str | None = None
    logprobs: dict[str, Any] | None = None


class ChoiceDeltaToolCallFunction(Plain):
    """A fragment of a tool call's function; append `arguments` to what came before."""

    name: str | None = None
    arguments: str | None = None


class ChoiceDeltaToolCall(Plain):
    """A fragment of a tool call; fragments of one `index` belong together."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: ChoiceDeltaToolCallFunction | None = None


class ChoiceDelta(Plain):
    """What one chunk adds to one choice."""

    content: str | None = None
    reasoning_content: str | None = None
    role: Literal["assistant"] | None = None
    tool_calls: Annotated[list[ChoiceDeltaToolCall], Meta(max_length=MOST_CALLS)] | None = None
    reasoning: None = None


if TYPE_CHECKING:
    Logprobs = dict[str, Any]
else:
    # What can be encoded as it is: without null in objects, and no deeper than the service's own. All else takes the
    # careful way, so that no chunk has to be looked at for it.
    Logprobs = str | int | float | bool
    for _ in range(6):
        Logprobs = str | int | float | bool | list[Logprobs | None] | dict[str, Logprobs]
    Logprobs = dict[str, Logprobs]


class ChunkChoice(Plain):
    """One choice's part of a chunk."""

    index: int = told(0)
    delta: ChoiceDelta = field(default_factory=ChoiceDelta)
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class ChatCompletionChunk(Beside, Plain):
    """One event of a stream. `content`, `reasoning_content`, `tool_calls` and `finish_reason` are those of choice 0.

    `usage` is cumulative, so far, if the chunk carries it; `raw` is the bytes of the event.
    """

    id: str = told("")
    object: Literal["chat.completion.chunk"] = told("chat.completion.chunk")
    created: int = told(0)
    model: str = told("")
    choices: Annotated[list[ChunkChoice], Meta(max_length=MOST_CHOICES)] = field(default_factory=nothing)
    system_fingerprint: str | None = None
    usage: Usage | None = None
    error: None = None
    code: None = None
    message: None = None

    def _first(self) -> ChunkChoice:
        for choice in self.choices:
            if choice.index == 0:
                return choice
        return ChunkChoice()

    @property
    def content(self) -> str | None:
        return self._first().delta.content

    @property
    def reasoning_content(self) -> str | None:
        return self._first().delta.reasoning_content

    @property
    def tool_calls(self) -> list[ChoiceDeltaToolCall] | None:
        return self._first().delta.tool_calls

    @property
    def finish_reason(self) -> str | None:
        return self._first().finish_reason


class ChatCompletion(Headed, Plain):
    """A whole answer, sent whole or folded from a stream.

    `content`, `reasoning_content`, `tool_calls`, `finish_reason` and `logprobs` are those of choice 0. `raw` is the
    body as it came (None where folded), `headers` the answer's headers with lower-case names, `trace_id` what
    SiliconFlow's support asks for, `timing` in seconds.
    """

    id: str = told("")
    object: str = told("chat.completion")
    created: int = told(0)
    model: str = told("")
    choices: Annotated[list[Choice], Meta(max_length=MOST_CHOICES)] = field(default_factory=nothing)
    usage: Usage | None = None
    system_fingerprint: str | None = None
    error: None = None
    code: None = None
    message: None = None

    def _first(self) -> Choice:
        for choice in self.choices:
            if choice.index == 0:
                return choice
        return Choice()

    @property
    def content(self) -> str | None:
        return self._first().message.content

    @property
    def reasoning_content(self) -> str | None:
        return self._first().message.reasoning_content

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        return self._first().message.tool_calls

    @property
    def finish_reason(self) -> str | None:
        return self._first().finish_reason

    @property
    def logprobs(self) -> dict[str, Any] | None:
        return self._first().logprobs


CHUNK_DECODER = msgspec.json.Decoder(ChatCompletionChunk)
COMPLETION_DECODER = msgspec.json.Decoder(ChatCompletion)
