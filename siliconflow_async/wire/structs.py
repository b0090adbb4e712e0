"""The answer's structs: what `POST /chat/completions` sends back, whole or in chunks.

Field order is the order of the wire, which msgspec matches fastest. `gc=False` holds: nothing here can form a cycle.
`usage` and `logprobs` stay JSON bytes until asked for, since most models repeat usage on every chunk and only the last
one counts. Fields of type None are never given out: their presence makes the fast decode fail, so that error frames and
odd servers take the careful way (`lenient`) at no cost to the usual chunk.

Attribute names are those of the openai package. Absent fields are None (or "" and 0 where a field is never absent from
SiliconFlow's answers). What the structs don't know is in `raw`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct, field

from . import jsontext

__all__ = [
    "ABSENT",
    "Answered",
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

ABSENT = Raw()


class Answered(Struct, gc=False):
    """What every struct of an answer can do."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain dicts and lists under the wire's names; None and `raw` are left out."""
        return dict(_plain_items(self))

    def to_json(self) -> str:
        """Return `to_dict()` as JSON text."""
        return msgspec.json.encode(self.to_dict()).decode()

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in _plain_items(self))
        return f"{type(self).__name__}({fields})"


def _plain_items(value: Struct) -> Iterator[tuple[str, Any]]:
    for name, wire_name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
        # Keys with a dollar are this library's own additions, not the service's.
        if wire_name[0] != "$":
            plain = _plain(getattr(value, name))
            if plain is not None:
                yield wire_name, plain


def _plain(value: Any) -> Any:
    if isinstance(value, Struct):
        return dict(_plain_items(value))
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Raw):
        return jsontext.without_none(_decoded(value))
    return value


class CompletionTokensDetails(Answered):
    """How `completion_tokens` is made up."""

    reasoning_tokens: int | None = None


class PromptTokensDetails(Answered):
    """How `prompt_tokens` is made up."""

    cached_tokens: int | None = None


class Usage(Answered):
    """Tokens of one request. In a stream it is cumulative: the last one counts."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    completion_tokens_details: CompletionTokensDetails | None = None
    prompt_tokens_details: PromptTokensDetails | None = None
    prompt_cache_hit_tokens: int | None = None
    prompt_cache_miss_tokens: int | None = None


class Function(Answered):
    """What a tool call calls; `arguments` is JSON text, as the model wrote it."""

    name: str = ""
    arguments: str = ""


class ToolCall(Answered):
    """One complete tool call."""

    id: str = ""
    type: str = "function"
    function: Function = field(default_factory=Function)


class AssistantMessage(Answered):
    """The model's turn; append it to `messages` as it is to send it back."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None
    reasoning: None = None


class Choice(Answered):
    """One answer of `n`."""

    index: int = 0
    message: AssistantMessage = field(default_factory=AssistantMessage)
    finish_reason: str | None = None
    _logprobs: Raw = field(default=ABSENT, name="logprobs")

    @property
    def logprobs(self) -> dict[str, Any] | None:
        """Log probabilities as the service sent them, decoded when asked for."""
        logprobs: dict[str, Any] | None = _decoded(self._logprobs)
        return logprobs


class Timing(Answered):
    """Seconds from the call: to the first token (None for whole answers), and to the end.

    `attempts` is how many requests were made for the answer, retries and continuations included.
    """

    first_token: float | None = None
    total: float | None = None
    attempts: int | None = None


class ChoiceDeltaToolCallFunction(Answered):
    """A fragment of a tool call's function; append `arguments` to what came before."""

    name: str | None = None
    arguments: str | None = None


class ChoiceDeltaToolCall(Answered):
    """A fragment of a tool call; fragments of one `index` belong together."""

    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: ChoiceDeltaToolCallFunction | None = None


class ChoiceDelta(Answered):
    """What one chunk adds to one choice."""

    content: str | None = None
    reasoning_content: str | None = None
    role: Literal["assistant"] | None = None
    tool_calls: list[ChoiceDeltaToolCall] | None = None
    reasoning: None = None


class ChunkChoice(Answered):
    """One choice's part of a chunk."""

    index: int = 0
    delta: ChoiceDelta = field(default_factory=ChoiceDelta)
    finish_reason: str | None = None
    _logprobs: Raw = field(default=ABSENT, name="logprobs")

    @property
    def logprobs(self) -> dict[str, Any] | None:
        """Log probabilities as the service sent them, decoded when asked for."""
        logprobs: dict[str, Any] | None = _decoded(self._logprobs)
        return logprobs


class ChatCompletionChunk(Answered):
    """One event of a stream. `content`, `reasoning_content`, `tool_calls` and `finish_reason` are those of choice 0."""

    id: str = ""
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int = 0
    model: str = ""
    choices: list[ChunkChoice] = []
    system_fingerprint: str | None = None
    usage_json: Raw = field(default=ABSENT, name="usage")
    error: None = None
    code: None = None
    message: None = None
    raw: bytes | None = field(default=None, name="$raw")

    @property
    def usage(self) -> Usage | None:
        """Cumulative usage so far, if the chunk carries it; decoded when asked for."""
        return decode_usage(self.usage_json)

    def _first(self) -> ChunkChoice | None:
        for choice in self.choices:
            if choice.index == 0:
                return choice
        return None

    @property
    def content(self) -> str | None:
        choice = self._first()
        return choice.delta.content if choice is not None else None

    @property
    def reasoning_content(self) -> str | None:
        choice = self._first()
        return choice.delta.reasoning_content if choice is not None else None

    @property
    def tool_calls(self) -> list[ChoiceDeltaToolCall] | None:
        choice = self._first()
        return choice.delta.tool_calls if choice is not None else None

    @property
    def finish_reason(self) -> str | None:
        choice = self._first()
        return choice.finish_reason if choice is not None else None


class ChatCompletion(Answered):
    """A whole answer, sent whole or folded from a stream.

    `content`, `reasoning_content`, `tool_calls`, `finish_reason` and `logprobs` are those of choice 0. `raw` is the
    body as it came (None where folded), `headers` the answer's headers with lower-case names, `trace_id` what
    SiliconFlow's support asks for, `timing` in seconds.
    """

    id: str = ""
    object: str = "chat.completion"
    created: int = 0
    model: str = ""
    choices: list[Choice] = []
    usage_json: Raw = field(default=ABSENT, name="usage")
    system_fingerprint: str | None = None
    error: None = None
    code: None = None
    message: None = None
    raw: bytes | None = field(default=None, name="$raw")
    trace_id: str | None = field(default=None, name="$trace_id")
    headers: Mapping[str, str] = field(default_factory=dict, name="$headers")
    timing: Timing = field(default_factory=Timing, name="$timing")

    @property
    def usage(self) -> Usage | None:
        """Tokens of this request, if the service told."""
        return decode_usage(self.usage_json)

    def _first(self) -> Choice | None:
        for choice in self.choices:
            if choice.index == 0:
                return choice
        return None

    @property
    def content(self) -> str | None:
        choice = self._first()
        return choice.message.content if choice is not None else None

    @property
    def reasoning_content(self) -> str | None:
        choice = self._first()
        return choice.message.reasoning_content if choice is not None else None

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        choice = self._first()
        return choice.message.tool_calls if choice is not None else None

    @property
    def finish_reason(self) -> str | None:
        choice = self._first()
        return choice.finish_reason if choice is not None else None

    @property
    def logprobs(self) -> dict[str, Any] | None:
        choice = self._first()
        return choice.logprobs if choice is not None else None


CHUNK_DECODER = msgspec.json.Decoder(ChatCompletionChunk)
COMPLETION_DECODER = msgspec.json.Decoder(ChatCompletion)
_USAGE_DECODER = msgspec.json.Decoder(Usage)
_DETAILS: dict[str, type[Struct]] = {
    "completion_tokens_details": CompletionTokensDetails,
    "prompt_tokens_details": PromptTokensDetails,
}


def _decoded(value: Raw) -> Any:
    if len(value) == 0:
        return None
    try:
        return jsontext.parse(value)
    except ValueError:
        return None


def decode_usage(value: Raw) -> Usage | None:
    """Read a usage object; None if there is none, 0 or None for a field of the wrong type."""
    if len(value) == 0:
        return None
    try:
        return _USAGE_DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _lenient_usage(_decoded(value))


def _lenient_usage(value: Any) -> Usage | None:
    if not isinstance(value, dict):
        return None
    usage = Usage()
    for name in usage.__struct_fields__:
        part = value.get(name)
        details = _DETAILS.get(name)
        if details is None:
            count = _integer(part)
            if count is not None:
                setattr(usage, name, count)
        elif isinstance(part, dict):
            setattr(usage, name, details(*(_integer(part.get(key)) for key in details.__struct_fields__)))
    return usage


def _integer(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return None
    return int(value) if abs(value) < 2**63 else None
