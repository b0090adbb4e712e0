"""`client.completions`: text that goes on from a prompt, or fills in what stands between it and a suffix."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Required, Unpack, overload

from ..elsewhere import TEXT_COMPLETIONS, Explained
from ..headers import conceal
from ..request.body import biases_by_text
from ..request.fields import CallOptions, Fields
from ..stream.completions import CompletionStream, CompletionStreamManager
from ..wire.endpoints.completions import Completion, TextProtocol, decode_text

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["CompletionParams", "TextCompletions"]

_PATH = "/completions"


class CompletionParams(CallOptions, total=False):
    """Keywords of `client.completions.create` and `stream`, with what SiliconFlow's page gave in 2026-11."""

    model: Required[str]
    """The model's name, such as "Qwen/Qwen2.5-Coder-7B-Instruct"; not every model completes texts."""
    prompt: Required[str]
    """The text to go on from."""
    suffix: str | None
    """What comes after, so that the answer fills in what is between; models of code."""
    max_tokens: int | None
    """At least 1; the ceiling is the model's."""
    n: int | None
    """How many texts: 1 … 128; default 1."""
    stop: str | Iterable[str] | None
    """A text, or up to 4, before which the answer ends."""
    temperature: float | None
    """0 … 2. The higher, the more varied."""
    top_p: float | None
    """0 … 1. The share of probability to choose from."""
    top_k: float | None
    """How many tokens to choose from."""
    frequency_penalty: float | None
    """-2 … 2. The higher, the fewer repetitions."""
    presence_penalty: float | None
    """-2 … 2. The higher, the more new topics."""
    repetition_penalty: float | None
    """Above 1: fewer repetitions."""
    logit_bias: Mapping[str, float] | Mapping[int, float] | None
    """What to add to the logits of token ids."""
    seed: int | None
    """The same seed asks for the same answer."""
    logprobs: int | None
    """Undocumented. The log probabilities of so many tokens at each place."""


_CREATE = Fields(CompletionParams, "model", "prompt")


class TextCompletions(Explained):
    """Text completions of one client."""

    __slots__ = ("_service",)
    elsewhere = TEXT_COMPLETIONS

    def __init__(self, service: Service) -> None:
        self._service = service

    @overload
    async def create(
        self, *, stream: Literal[False] | None = None, **params: Unpack[CompletionParams]
    ) -> Completion: ...

    @overload
    async def create(self, *, stream: Literal[True], **params: Unpack[CompletionParams]) -> CompletionStream: ...

    @overload
    async def create(
        self, *, stream: bool | None, **params: Unpack[CompletionParams]
    ) -> Completion | CompletionStream: ...

    async def create(
        self, *, stream: bool | None = None, **params: Unpack[CompletionParams]
    ) -> Completion | CompletionStream:
        """Return the whole text; with `stream=True`, an open CompletionStream once its first chunk is there.

        Args:
            stream: True: return an open CompletionStream once its first chunk is there; else the whole text.
            model: The model's name, such as "Qwen/Qwen2.5-Coder-7B-Instruct"; not every model completes texts.
            prompt: The text to go on from.
            suffix: What comes after, so that the answer fills in what is between; models of code.
            max_tokens: At least 1; the ceiling is the model's.
            n: How many texts: 1 … 128; default 1.
            stop: A text, or up to 4, before which the answer ends.
            temperature: 0 … 2. The higher, the more varied.
            top_p: 0 … 1. The share of probability to choose from.
            top_k: How many tokens to choose from.
            frequency_penalty: -2 … 2. The higher, the fewer repetitions.
            presence_penalty: -2 … 2. The higher, the more new topics.
            repetition_penalty: Above 1: fewer repetitions.
            logit_bias: What to add to the logits of token ids.
            seed: The same seed asks for the same answer.
            logprobs: Undocumented. The log probabilities of so many tokens at each place.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a chat's `create` raises: InvalidRequestError before anything is sent, APIStatusError where the
        service refuses, APIConnectionError and APITimeoutError, StreamError for a text that breaks off or is empty,
        ClosedError; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        if stream:
            return await self._stream(params)
        return await self._service.fetch("POST", _PATH, decode_text, params, body=_body(params), weighs=params)

    def stream(self, **params: Unpack[CompletionParams]) -> CompletionStreamManager:
        """Ask for a stream: `async with … .stream(…) as stream:` opens it, and closes it on leaving.

        Args:
            model: The model's name, such as "Qwen/Qwen2.5-Coder-7B-Instruct"; not every model completes texts.
            prompt: The text to go on from.
            suffix: What comes after, so that the answer fills in what is between; models of code.
            max_tokens: At least 1; the ceiling is the model's.
            n: How many texts: 1 … 128; default 1.
            stop: A text, or up to 4, before which the answer ends.
            temperature: 0 … 2. The higher, the more varied.
            top_p: 0 … 1. The share of probability to choose from.
            top_k: How many tokens to choose from.
            frequency_penalty: -2 … 2. The higher, the fewer repetitions.
            presence_penalty: -2 … 2. The higher, the more new topics.
            repetition_penalty: Above 1: fewer repetitions.
            logit_bias: What to add to the logits of token ids.
            seed: The same seed asks for the same answer.
            logprobs: Undocumented. The log probabilities of so many tokens at each place.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Entering raises what `create` raises, and so does reading.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        return CompletionStreamManager(lambda: self._stream(params))

    async def _stream(self, params: CompletionParams) -> CompletionStream:
        body = _body(params, stream=True)
        return await self._service.open(_PATH, params, body, TextProtocol, CompletionStream)


def _body(params: CompletionParams, **more: Any) -> bytes:
    biases = params.get("logit_bias")
    if biases is not None:
        more["logit_bias"] = biases_by_text(biases)
    return _CREATE.body(params, **more)
