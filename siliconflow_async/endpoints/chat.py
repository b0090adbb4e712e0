"""`client.chat.completions`: ask for an answer, whole or as a stream, with tools that run, or for many at once.

The `Args:` of its methods are what editors show of a call; see `request.params`, whose words they repeat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, overload

from ..calls.setup import Setup
from ..elsewhere import CHAT, COMPLETIONS, Explained
from ..headers import conceal
from ..request.content import prepared
from ..request.params import CREATE_NAMES, ChatParams, ResponseFormatParam, check_names
from ..request.schema import is_type
from ..stream.manager import ChatStreamManager
from ..stream.stream import ChatStream
from ..stream.structured import ParsedChatCompletion, ParsedChatStream, ParsedChatStreamManager
from ..wire.structs import ChatCompletion
from .raw import RawCompletions
from .runs import Runs

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = TypeVar("P")

__all__ = ["Chat", "Completions"]


class Chat(Explained):
    """The `chat` of a client."""

    __slots__ = ("completions",)
    elsewhere = CHAT

    def __init__(self, setup: Setup) -> None:
        self.completions = Completions(setup)


class Completions(Runs, Explained):
    """Chat completions of one client."""

    __slots__ = ()
    elsewhere = COMPLETIONS

    @property
    def with_raw_response(self) -> RawCompletions:
        """`create` as the openai package has it there: its answer in `parse()`, beside `headers` and the like."""
        return RawCompletions(self.create)

    @overload
    async def create(
        self,
        *,
        stream: Literal[False] | None = None,
        response_format: ResponseFormatParam | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self, *, stream: Literal[False] | None = None, response_format: TypeForm[P], **params: Unpack[ChatParams]
    ) -> ParsedChatCompletion[P]: ...

    @overload
    async def create(
        self, *, stream: Literal[True], response_format: ResponseFormatParam | None = None, **params: Unpack[ChatParams]
    ) -> ChatStream: ...

    @overload
    async def create(
        self, *, stream: Literal[True], response_format: TypeForm[P], **params: Unpack[ChatParams]
    ) -> ParsedChatStream[P]: ...

    @overload
    async def create(
        self, *, stream: bool | None, response_format: ResponseFormatParam | None = None, **params: Unpack[ChatParams]
    ) -> ChatCompletion | ChatStream: ...

    @overload
    async def create(
        self, *, stream: bool | None, response_format: TypeForm[P], **params: Unpack[ChatParams]
    ) -> ParsedChatCompletion[P] | ParsedChatStream[P]: ...

    # Nothing but what the others take; editors offer the keys of the last overload's parameters.
    @overload
    async def create(
        self, *, stream: bool | None = None, response_format: ResponseFormatParam, **params: Unpack[ChatParams]
    ) -> ChatCompletion | ChatStream: ...

    async def create(
        self,
        *,
        stream: bool | None = None,
        response_format: Any = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | ChatStream:
        """Ask, and return the whole answer; with `stream=True`, an open ChatStream once its first chunk is there.

        Where `response_format` is a type (a msgspec Struct, dataclass, TypedDict, pydantic model, list or union of
        them, …), its JSON Schema is sent, and `parsed` of the answer is of that type.

        Args:
            stream: True: return an open ChatStream once its first chunk is there; else the whole answer.
            model: The model's name, "org/name"; "Pro/org/name" is the paid copy of a free model.
            messages: Mappings of role system, user, assistant or tool, and the answers' own messages.
            max_tokens: At least 1; the ceiling is the model's. Reasoning is not counted.
            n: How many answers: at least 1; default 1.
            stop: A text, or up to 4, before which the answer ends.
            temperature: 0 … 2; default 0.7 for vision models. The higher, the more varied.
            top_p: 0 … 1; default 0.7 for vision models. The share of probability to choose from.
            top_k: -1 (off), or 1 … 100; default 50 for vision models. How many tokens to choose from.
            min_p: 0 … 1; Qwen3 only. The least probability, as a share of the likeliest token's.
            frequency_penalty: -2 … 2; default 0.5 for vision models. The higher, the fewer repetitions.
            presence_penalty: Undocumented, and some models ignore it. The higher, the more new topics.
            repetition_penalty: Undocumented, and some models ignore it. Above 1: fewer repetitions.
            logit_bias: Undocumented, and some models ignore it. What to add to the logits of token ids.
            seed: Undocumented, and some models ignore it. The same seed asks for the same answer.
            enable_thinking: Hybrid models, which think by default; others refuse it with 400, code 20015.
            thinking_budget: 128 … 32768 tokens of reasoning; reasoning models.
            reasoning_effort: DeepSeek-V4 and GLM-5.2: "high" (default; low and medium too) or "max" (xhigh too).
            tools: Up to 128: typed functions, `Tool`s, or mappings in the service's own form.
            tool_choice: What to call: "auto"; some models know "none", "required", or a function that must be called.
            parallel_tool_calls: Undocumented, and some models ignore it. False: one call at a time.
            response_format: A type that `parsed` will be of, or a mapping to send, such as {"type": "json_object"}.
            logprobs: Undocumented, and some models ignore it. True: the tokens' log probabilities.
            top_logprobs: Undocumented, and some models ignore it. With logprobs: of how many tokens at each place.
            stream_options: Undocumented, and some models ignore it. Such as {"include_usage": True}.
            prefix: A beginning that the answer goes on from and does not repeat; not every model knows it.
            suffix: With prefix: what comes after, so that the answer fills in what is between.
            resume: How often to ask for the rest where a stream of text breaks off; default 0.
            split_think: True: a `<think>` block that opens the content becomes reasoning; default False.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises InvalidRequestError before anything is sent, APIStatusError where the service refuses,
        APIConnectionError and APITimeoutError, StreamError for an answer that breaks off or is empty, ParseError for
        one that does not fit the type, ClosedError after `aclose()`; TypeError for an unknown keyword.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params, CREATE_NAMES)
        params["messages"] = await prepared(params["messages"])
        call = self._call(params, response_format, streaming=bool(stream))
        return await (call.stream() if stream else call.whole())

    async def parse(self, *, response_format: TypeForm[P], **params: Unpack[ChatParams]) -> ParsedChatCompletion[P]:
        """`create` with a type as `response_format`, as the openai package names it; the value is `parsed`.

        The parameters, and what is raised, are those of `create`.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        return await self.create(response_format=response_format, **params)

    @overload
    def stream(self, *, response_format: None = None, **params: Unpack[ChatParams]) -> ChatStreamManager: ...

    @overload
    def stream(self, *, response_format: TypeForm[P], **params: Unpack[ChatParams]) -> ParsedChatStreamManager[P]: ...

    @overload
    def stream(self, *, response_format: ResponseFormatParam, **params: Unpack[ChatParams]) -> ChatStreamManager: ...

    def stream(self, *, response_format: Any = None, **params: Unpack[ChatParams]) -> ChatStreamManager:
        """Ask for a stream: `async with … .stream(…) as stream:` opens it, and closes it on leaving.

        With a type as `response_format` it is a ParsedChatStream, whose `completion()` has `parsed`.

        Args:
            model: The model's name, "org/name"; "Pro/org/name" is the paid copy of a free model.
            messages: Mappings of role system, user, assistant or tool, and the answers' own messages.
            max_tokens: At least 1; the ceiling is the model's. Reasoning is not counted.
            n: How many answers: at least 1; default 1.
            stop: A text, or up to 4, before which the answer ends.
            temperature: 0 … 2; default 0.7 for vision models. The higher, the more varied.
            top_p: 0 … 1; default 0.7 for vision models. The share of probability to choose from.
            top_k: -1 (off), or 1 … 100; default 50 for vision models. How many tokens to choose from.
            min_p: 0 … 1; Qwen3 only. The least probability, as a share of the likeliest token's.
            frequency_penalty: -2 … 2; default 0.5 for vision models. The higher, the fewer repetitions.
            presence_penalty: Undocumented, and some models ignore it. The higher, the more new topics.
            repetition_penalty: Undocumented, and some models ignore it. Above 1: fewer repetitions.
            logit_bias: Undocumented, and some models ignore it. What to add to the logits of token ids.
            seed: Undocumented, and some models ignore it. The same seed asks for the same answer.
            enable_thinking: Hybrid models, which think by default; others refuse it with 400, code 20015.
            thinking_budget: 128 … 32768 tokens of reasoning; reasoning models.
            reasoning_effort: DeepSeek-V4 and GLM-5.2: "high" (default; low and medium too) or "max" (xhigh too).
            tools: Up to 128: typed functions, `Tool`s, or mappings in the service's own form.
            tool_choice: What to call: "auto"; some models know "none", "required", or a function that must be called.
            parallel_tool_calls: Undocumented, and some models ignore it. False: one call at a time.
            response_format: A type that `parsed` will be of, or a mapping to send, such as {"type": "json_object"}.
            logprobs: Undocumented, and some models ignore it. True: the tokens' log probabilities.
            top_logprobs: Undocumented, and some models ignore it. With logprobs: of how many tokens at each place.
            stream_options: Undocumented, and some models ignore it. Such as {"include_usage": True}.
            prefix: A beginning that the answer goes on from and does not repeat; not every model knows it.
            suffix: With prefix: what comes after, so that the answer fills in what is between.
            resume: How often to ask for the rest where a stream of text breaks off; default 0.
            split_think: True: a `<think>` block that opens the content becomes reasoning; default False.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Entering raises what `create` raises, and so does reading.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params)

        async def opener() -> ChatStream:
            params["messages"] = await prepared(params["messages"])
            return await self._call(params, response_format).stream()

        return ParsedChatStreamManager(opener) if is_type(response_format) else ChatStreamManager(opener)
