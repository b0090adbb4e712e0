"""The parameters of a chat request, once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Required, TypeAlias, TypedDict

from ..checks import check_keywords
from ..timeouts import Timeouts
from ..wire.structs import AssistantMessage

__all__ = ["CREATE_NAMES", "REQUIRED", "STREAM_NAMES", "ChatOptions", "ChatParams", "MessageParam", "check_names"]

MessageParam: TypeAlias = Mapping[str, Any] | AssistantMessage


class ChatOptions(TypedDict, total=False):
    """What may be asked for beside model and messages.

    Ranges, defaults and model families are those that SiliconFlow's chat page gave in 2026-11; where no default stands
    here, the page names none and the model has its own. What is not set is not sent.
    """

    # How much
    max_tokens: int | None  # at least 1; the ceiling is the model's; reasoning is not counted
    n: int | None  # at least 1; default 1
    stop: str | list[str] | None  # up to 4 texts, which the answer leaves out

    # Sampling
    temperature: float | None  # 0 … 2
    top_p: float | None  # 0 … 1
    top_k: int | None  # -1 (off), or 1 … 100
    min_p: float | None  # 0 … 1; Qwen3 only
    frequency_penalty: float | None  # -2 … 2
    # Used, but not in the page; some models leave them unheeded
    presence_penalty: float | None
    repetition_penalty: float | None
    logit_bias: Mapping[str, float] | None
    seed: int | None

    # Thinking
    enable_thinking: bool | None  # hybrid models, which think by default; others refuse it with 400, code 20015
    thinking_budget: int | None  # 128 … 32768 tokens of reasoning; reasoning models
    # DeepSeek-V4 family, GLM-5.2; "high" (default) or "max"; low and medium are taken for high, xhigh for max
    reasoning_effort: str | None

    # Tools
    tools: Iterable[Mapping[str, Any] | Callable[..., Any]] | None  # up to 128: functions, or the service's own form
    tool_choice: Literal["auto", "none", "required"] | Mapping[str, Any] | Callable[..., Any] | None
    parallel_tool_calls: bool | None

    # Form of the answer
    logprobs: bool | None
    top_logprobs: int | None
    stream_options: Mapping[str, Any] | None
    prefix: str | None  # continue this text, which the answer does not repeat
    suffix: str | None  # with prefix: fill in what is between

    # Not sent in the body
    resume: int | None  # streams of text: how often to ask for the rest where one breaks off; default 0
    split_think: bool | None  # default False; True: a `<think>` block that opens the content becomes reasoning
    timeout: float | Timeouts | None  # seconds for the whole call, or the limits of all five clocks
    extra_headers: Mapping[str, str | None] | None
    extra_query: Mapping[str, str | int | float | bool] | None
    extra_body: Mapping[str, Any] | None  # merged into the body last: for what this list doesn't know


class ChatParams(ChatOptions, total=False):
    """Keywords of `create`, `stream` and their kin."""

    # What to answer, and with what
    model: Required[str]  # "org/name"; "Pro/…" is the paid copy of a free model
    messages: Required[Iterable[MessageParam]]  # role system, user, assistant or tool; the answers' own messages too


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
