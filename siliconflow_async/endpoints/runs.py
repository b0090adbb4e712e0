"""Runs of several calls, as `client.chat.completions` has them: `run_tools` and `map`."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from ..calls.chat import ChatCall, ChatRequest
from ..calls.observers import RunState
from ..calls.setup import Setup
from ..checks import MAPPINGS, check_keywords
from ..errors import InvalidRequestError, SiliconFlowError
from ..headers import conceal
from ..request.body import listed_messages
from ..request.content import prepared
from ..request.messages import MessageParam
from ..request.params import STREAM_NAMES, ChatOptions, ChatParams, ResponseFormatParam, check_names
from ..request.schema import form_of, is_type
from ..runs.chatting import MapChat
from ..runs.fanout import MapResults, Workers, check_run
from ..runs.results import MapItem, OnEvent, OnProgress, Requests
from ..runs.round import OnToolError, RunLimits, runnable
from ..runs.toolrun import ToolRun
from ..stream.stream import ChatStream
from ..stream.structured import ParsedChatCompletion, parsed
from ..wire.structs import ChatCompletion

if TYPE_CHECKING:
    from typing_extensions import TypeForm

P = TypeVar("P")

__all__ = ["Runs"]


class Runs:
    """What a client's chat completions do with several calls; `Completions` adds those of one call."""

    __slots__ = ("_setup",)

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    @overload
    def run_tools(
        self,
        *,
        max_rounds: int = ...,
        max_concurrency: int = ...,
        tool_timeout: float | None = ...,
        on_tool_error: OnToolError = ...,
        response_format: None = None,
        **params: Unpack[ChatParams],
    ) -> ToolRun[ChatCompletion]: ...

    @overload
    def run_tools(
        self,
        *,
        max_rounds: int = ...,
        max_concurrency: int = ...,
        tool_timeout: float | None = ...,
        on_tool_error: OnToolError = ...,
        response_format: TypeForm[P],
        **params: Unpack[ChatParams],
    ) -> ToolRun[ParsedChatCompletion[P]]: ...

    @overload
    def run_tools(
        self,
        *,
        max_rounds: int = ...,
        max_concurrency: int = ...,
        tool_timeout: float | None = ...,
        on_tool_error: OnToolError = ...,
        response_format: ResponseFormatParam,
        **params: Unpack[ChatParams],
    ) -> ToolRun[ChatCompletion]: ...

    def run_tools(
        self,
        *,
        max_rounds: int = 10,
        max_concurrency: int = 8,
        tool_timeout: float | None = 60.0,
        on_tool_error: OnToolError = "return",
        response_format: Any = None,
        **params: Unpack[ChatParams],
    ) -> ToolRun[Any]:
        """Ask, run the tools that the model calls, tell it what they returned, and so on until it calls none.

        Iterate the run for the events of all rounds, a `ToolResult` for each call among them; `await run.completion()`
        is the last answer. The tools are functions: sync ones run in threads. What a tool raises, and arguments that
        don't fit, go to the model as an error, or with `on_tool_error="raise"` end the run: the tool's own exception,
        ParseError for arguments, ToolRoundsError for a call that took too long. ToolRoundsError also ends a run that
        would need more than `max_rounds` answers; its `messages` are the conversation. Timeouts and retries are each
        answer's own; a `tool_choice` that forces a call counts for the first alone.

        Args:
            max_rounds: How many answers the run may need before ToolRoundsError ends it; default 10.
            max_concurrency: How many calls of a round run at once; default 8.
            tool_timeout: Seconds that each call may take; None: no limit; default 60.
            on_tool_error: "return" tells the model what a tool raised; "raise" ends the run with it.
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
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params, STREAM_NAMES | set(RunLimits._fields))
        limits = RunLimits(max_rounds, max_concurrency, tool_timeout, on_tool_error).check()
        tools = runnable(params.get("tools") or ())
        if params.get("n") not in (None, 1):
            raise InvalidRequestError("n must be 1: a conversation with tools goes on from one answer", param="n")
        first = {**params, "tools": list(tools.values()) or None}
        later = first if params.get("tool_choice") == "none" else {**first, "tool_choice": None}

        async def ask(messages: list[Any], is_first: bool, parent: RunState | None) -> ChatStream:
            asked = {**(first if is_first else later), "messages": await prepared(messages)}
            return await self._call(asked, response_format, parent=parent).stream()

        finish = functools.partial(parsed, form_of(response_format)) if is_type(response_format) else _as_it_is
        begin = functools.partial(self._setup.observers.run, "run_tools", model=params.get("model"))
        return ToolRun(ask, finish, begin, listed_messages(params["messages"]), tools, limits)

    @overload
    def map(
        self,
        requests: Requests,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_event: OnEvent | None = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        model: str | None = ...,
        messages: Iterable[MessageParam] | None = ...,
        response_format: None = None,
        **defaults: Unpack[ChatOptions],
    ) -> MapResults[ChatCompletion]: ...

    @overload
    def map(
        self,
        requests: Requests,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_event: OnEvent | None = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        model: str | None = ...,
        messages: Iterable[MessageParam] | None = ...,
        response_format: TypeForm[P],
        **defaults: Unpack[ChatOptions],
    ) -> MapResults[ParsedChatCompletion[P]]: ...

    @overload
    def map(
        self,
        requests: Requests,
        *,
        max_concurrency: int = ...,
        ordered: bool = ...,
        fail_fast: bool = ...,
        on_event: OnEvent | None = ...,
        on_progress: OnProgress | None = ...,
        total: int | None = ...,
        patience: float | None = ...,
        model: str | None = ...,
        messages: Iterable[MessageParam] | None = ...,
        response_format: ResponseFormatParam,
        **defaults: Unpack[ChatOptions],
    ) -> MapResults[ChatCompletion]: ...

    def map(
        self,
        requests: Requests,
        *,
        max_concurrency: int = 64,
        ordered: bool = False,
        fail_fast: bool = False,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        total: int | None = None,
        patience: float | None = 600.0,
        model: str | None = None,
        messages: Iterable[MessageParam] | None = None,
        response_format: Any = None,
        **defaults: Unpack[ChatOptions],
    ) -> MapResults[Any]:
        """Ask many: `async with … .map(requests) as results: async for result in results: …`.

        `requests` is read as there is room: at most `2 * max_concurrency` are held. The parameters of a chat are
        defaults, for the requests that don't have them. Each result has its `completion`, which has `parsed` where
        `response_format` is a type, or its `error`, also where the request itself is invalid.

        Every request is streamed, and passes its model's gate: the limits that the client was given, or else those
        that are found out. Where a model's service goes away (several requests in a row meet 502, 503, no connection,
        or other 5xx), the run pauses, one request at a time looks whether it is back, and those that failed are asked
        again; each waits at most `patience` seconds of an outage, then its error says so in `waited`. An exception
        from a callback, or from `requests`, ends the run and is raised after the results that there are.

        Args:
            requests: Mappings of the parameters of `create`, each with a `custom_id` if you like.
            max_concurrency: How many are under way at once; default 64.
            ordered: True: results in the order of the requests; default False: as they complete.
            fail_fast: True: the first error ends the run, and is raised; default False.
            on_event: Called as `on_event(item, event)`, and awaited, with each typed event.
            on_progress: Called with a MapProgress, a few times a second.
            total: How many requests there are, for MapProgress, where `requests` has no length.
            patience: Seconds of an outage that a request waits; None: as long as it takes; default 600.
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
        """
        if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable | AsyncIterable):
            raise TypeError(f"requests must be an iterable of mappings, not a value of type {type(requests).__name__}")
        check_run(max_concurrency=max_concurrency, total=total, patience=patience)
        conceal(defaults)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(defaults, STREAM_NAMES)
        given: dict[str, Any] = {"model": model, "messages": messages, "response_format": response_format, **defaults}
        given = {name: value for name, value in given.items() if value is not None}
        for name in ("messages", "tools", "stop"):
            if isinstance(given.get(name), Iterator):  # read once, for all requests
                given[name] = list(given[name])
        return MapResults(
            functools.partial(
                Workers,
                requests,
                functools.partial(_begin, self._setup, given, math.inf if patience is None else patience, on_event),
                observers=self._setup.observers,
                # More would only wait for a connection, until the clock of that wait ended them.
                max_concurrency=self._setup.transport.pool.at_most(max_concurrency),
                ordered=ordered,
                fail_fast=fail_fast,
                on_progress=on_progress,
                total=total,
            )
        )

    def _call(
        self,
        params: Mapping[str, Any],
        response_format: Any,
        *,
        streaming: bool = True,
        parent: RunState | None = None,
    ) -> ChatCall:
        request = ChatRequest.of(self._setup, params, streaming=streaming, response_format=response_format)
        return ChatCall(self._setup, request, parent=parent)


def _as_it_is(completion: ChatCompletion) -> ChatCompletion:
    return completion


async def _begin(
    setup: Setup,
    defaults: Mapping[str, Any],
    patience: float,
    on_event: OnEvent | None,
    item: MapItem,
    parent: RunState | None,
) -> MapChat:
    """Make one request of many ready; raise InvalidRequestError for one that is invalid."""
    if not isinstance(item.request, MAPPINGS):
        kind = type(item.request).__name__
        raise InvalidRequestError(f"a request must be a mapping of parameters, not a value of type {kind}")
    try:
        params = {**defaults, **item.request}
        conceal(params)
        custom_id = params.pop("custom_id", None)
        if custom_id is not None and not isinstance(custom_id, str):
            raise InvalidRequestError(f"custom_id must be text, not {custom_id!r}", param="custom_id")
        params.pop("stream", None)  # all are streamed
        check_names(params)
        response_format = params.pop("response_format", None)
        params["messages"] = await prepared(params["messages"])
        request = ChatRequest.of(setup, params, streaming=True, response_format=response_format)
        return MapChat(ChatCall(setup, request, patience=patience, parent=parent), item, on_event)
    except SiliconFlowError:
        raise
    except Exception as error:  # a mapping and its messages may be the user's own, with errors of their own
        raise InvalidRequestError(str(error) or repr(error)) from error
