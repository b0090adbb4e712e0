"""The parameters of a chat request, once.

What each of them means is told in these docstrings, which editors show of a keyword under the cursor. They also show
the `Args:` of the method that is called, and read neither from anywhere else, so those and the manual's table repeat
the words; a test holds them to be alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, Required, TypeAlias, TypedDict

from ..checks import check_keywords
from ..timeouts import Timeouts
from .messages import MessageParam

__all__ = [
    "CREATE_NAMES",
    "NOT_GIVEN",
    "REQUIRED",
    "STREAM_NAMES",
    "ChatOptions",
    "ChatParams",
    "FunctionParam",
    "FunctionToolParam",
    "JSONObjectFormatParam",
    "JSONSchemaFormatParam",
    "JSONSchemaParam",
    "NamedFunctionParam",
    "NamedToolChoiceParam",
    "ReasoningEffort",
    "ResponseFormatParam",
    "TextFormatParam",
    "ToolChoiceParam",
    "ToolParam",
    "check_names",
]


class FunctionParam(TypedDict, total=False):
    """A function as the model reads of it; `parameters` is the JSON Schema of its arguments.

    The name has at most 64 letters, digits, _ and -. `strict` holds the model to the schema.
    """

    name: Required[str]
    description: str
    parameters: Mapping[str, Any]
    strict: bool


class FunctionToolParam(TypedDict):
    """A tool in the service's own form."""

    type: Literal["function"]
    function: FunctionParam


class NamedFunctionParam(TypedDict):
    """Which function to call."""

    name: str


class NamedToolChoiceParam(TypedDict):
    """A `tool_choice` that makes the model call one function; some models know it."""

    type: Literal["function"]
    function: NamedFunctionParam


class TextFormatParam(TypedDict):
    """A `response_format`: text of any form, which is the default."""

    type: Literal["text"]


class JSONObjectFormatParam(TypedDict):
    """A `response_format`: a JSON object of any form; some message has to ask for JSON."""

    type: Literal["json_object"]


class JSONSchemaParam(TypedDict, total=False):
    """A JSON Schema with its name; `strict` holds the model to it."""

    name: Required[str]
    schema: Mapping[str, Any]
    description: str
    strict: bool | None


class JSONSchemaFormatParam(TypedDict):
    """A `response_format`: JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: JSONSchemaParam


# Each takes more than it offers: `Mapping` and `str` come last.
ToolParam: TypeAlias = FunctionToolParam | Callable[..., Any] | Mapping[str, Any]
ToolChoiceParam: TypeAlias = (
    Literal["auto", "none", "required"] | NamedToolChoiceParam | Callable[..., Any] | Mapping[str, Any]
)
ResponseFormatParam: TypeAlias = TextFormatParam | JSONObjectFormatParam | JSONSchemaFormatParam | Mapping[str, Any]
ReasoningEffort: TypeAlias = Literal["low", "medium", "high", "xhigh", "max"] | str


# As the openai package names what counts as not set.
NOT_GIVEN: Final = None


class ChatOptions(TypedDict, total=False):
    """What may be asked for beside model and messages.

    Ranges, defaults and model families are those that SiliconFlow's chat page gave in 2026-11; where no default stands
    here, the page names none and the model has its own. What is not set is not sent.
    """

    # How much
    max_tokens: int | None
    """At least 1; the ceiling is the model's. Reasoning is not counted."""
    n: int | None
    """How many answers: at least 1; default 1."""
    stop: str | Iterable[str] | None
    """A text, or up to 4, before which the answer ends."""

    # Sampling
    temperature: float | None
    """0 … 2; default 0.7 for vision models. The higher, the more varied."""
    top_p: float | None
    """0 … 1; default 0.7 for vision models. The share of probability to choose from."""
    top_k: float | None
    """-1 (off), or 1 … 100; default 50 for vision models. How many tokens to choose from."""
    min_p: float | None
    """0 … 1; Qwen3 only. The least probability, as a share of the likeliest token's."""
    frequency_penalty: float | None
    """-2 … 2; default 0.5 for vision models. The higher, the fewer repetitions."""
    # Used, but not in the page
    presence_penalty: float | None
    """Undocumented, and some models ignore it. The higher, the more new topics."""
    repetition_penalty: float | None
    """Undocumented, and some models ignore it. Above 1: fewer repetitions."""
    logit_bias: Mapping[str, float] | Mapping[int, float] | None
    """Undocumented, and some models ignore it. What to add to the logits of token ids."""
    seed: int | None
    """Undocumented, and some models ignore it. The same seed asks for the same answer."""

    # Thinking
    enable_thinking: bool | None
    """Hybrid models, which think by default; others refuse it with 400, code 20015."""
    thinking_budget: int | None
    """128 … 32768 tokens of reasoning; reasoning models."""
    reasoning_effort: ReasoningEffort | None
    """DeepSeek-V4 and GLM-5.2: "high" (default; low and medium too) or "max" (xhigh too)."""

    # Tools
    tools: Iterable[ToolParam] | None
    """Up to 128: typed functions, `Tool`s, or mappings in the service's own form."""
    tool_choice: ToolChoiceParam | None
    """What to call: "auto"; some models know "none", "required", or a function that must be called."""
    parallel_tool_calls: bool | None
    """Undocumented, and some models ignore it. False: one call at a time."""

    # Form of the answer
    logprobs: bool | None
    """Undocumented, and some models ignore it. True: the tokens' log probabilities."""
    top_logprobs: int | None
    """Undocumented, and some models ignore it. With logprobs: of how many tokens at each place."""
    stream_options: Mapping[str, Any] | None
    """Undocumented, and some models ignore it. Such as {"include_usage": True}."""
    prefix: str | None
    """A beginning that the answer goes on from and does not repeat; not every model knows it."""
    suffix: str | None
    """With prefix: what comes after, so that the answer fills in what is between."""

    # Not sent in the body
    resume: int | None
    """How often to ask for the rest where a stream of text breaks off; default 0."""
    split_think: bool | None
    """True: a `<think>` block that opens the content becomes reasoning; default False."""
    timeout: float | Timeouts | None
    """Seconds for the whole call, or the limits of all five clocks."""
    extra_headers: Mapping[str, str | None] | None
    """Headers to send beside the client's; None leaves one out."""
    extra_query: Mapping[str, str | int | float | bool] | None
    """Parameters for the URL's query."""
    extra_body: Mapping[str, Any] | None
    """Merged into the body last: for what has no keyword here."""


class ChatParams(ChatOptions, total=False):
    """Keywords of `create`, `stream` and their kin."""

    # What to answer, and with what
    model: Required[str]
    """The model's name, "org/name"; "Pro/org/name" is the paid copy of a free model."""
    messages: Required[Iterable[MessageParam]]
    """Mappings of role system, user, assistant or tool, and the answers' own messages."""


# What may be given to `stream` and, beside `stream=`, to `create`.
STREAM_NAMES = frozenset({*ChatParams.__annotations__, "response_format"})
CREATE_NAMES = STREAM_NAMES | {"stream"}
REQUIRED = ("model", "messages")


def check_names(params: Mapping[str, Any], known: frozenset[str] = STREAM_NAMES) -> None:
    """Raise TypeError for a keyword that is no parameter, naming the nearest one, or for a required one left out."""
    check_keywords(params, known)
    for name in REQUIRED:
        if name not in params:
            raise TypeError(f"missing required keyword argument: {name!r}")
