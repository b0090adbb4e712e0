"""`client.chat.completions`: ask for an answer, whole or as a stream, with tools that run, or for many at once."""

from __future__ import annotations

import functools
import math
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

from ..calls.chat import ChatCall, ChatRequest
from ..calls.setup import Setup
from ..checks import MAPPINGS, check_keywords, is_count, is_finite
from ..errors import ConfigurationError, InvalidRequestError, SiliconFlowError
from ..headers import conceal
from ..request.body import listed_messages
from ..request.content import prepared
from ..request.params import (
    CREATE_NAMES,
    STREAM_NAMES,
    ChatOptions,
    ChatParams,
    MessageParam,
    check_names,
)
from ..request.schema import form_of, is_type
from ..runs.fanout import MapResults, Workers
from ..runs.results import MapItem, OnEvent, OnProgress, Requests
from ..runs.round import OnToolError, RunLimits, runnable
from ..runs.toolrun import ToolRun
from ..stream.manager import ChatStreamManager
from ..stream.stream import ChatStream
from ..stream.structured import ParsedChatCompletion, ParsedChatStream, ParsedChatStreamManager, parsed
from ..wire.structs import ChatCompletion

P = TypeVar("P")

__all__ = ["Chat", "Completions"]


class Chat:
    """The `chat` of a client."""

    __slots__ = ("completions",)

    def __init__(self, setup: Setup) -> None:
        self.completions = Completions(setup)


class Completions:
    """Chat completions of one client."""

    __slots__ = ("_setup",)

    def __init__(self, setup: Setup) -> None:
        self._setup = setup

    @overload
    async def create(
        self,
        *,
        stream: Literal[False] | None = None,
        response_format: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self, *, stream: Literal[False] | None = None, response_format: type[P], **params: Unpack[ChatParams]
    ) -> ParsedChatCompletion[P]: ...

    @overload
    async def create(
        self, *, stream: Literal[True], response_format: Mapping[str, Any] | None = None, **params: Unpack[ChatParams]
    ) -> ChatStream: ...

    @overload
    async def create(
        self, *, stream: Literal[True], response_format: type[P], **params: Unpack[ChatParams]
    ) -> ParsedChatStream[P]: ...

    @overload
    async def create(
        self, *, stream: bool | None, response_format: Mapping[str, Any] | None = None, **params: Unpack[ChatParams]
    ) -> ChatCompletion | ChatStream: ...

    @overload
    async def create(
        self, *, stream: bool | None, response_format: type[P], **params: Unpack[ChatParams]
    ) -> ParsedChatCompletion[P] | ParsedChatStream[P]: ...

    async def create(
        self,
        *,
        stream: bool | None = None,
        response_format: Any = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | ChatStream:
        """Ask, and return the whole answer; with `stream=True`, an open ChatStream once its first chunk is there.

        The parameters are those of `ChatParams`. `response_format` is a mapping to send as it is, or a type (a msgspec
        Struct, dataclass, TypedDict, pydantic model, list of them, …): then its JSON Schema is sent, and `parsed` of
        the answer is of that type. Raises InvalidRequestError before anything is sent, APIStatusError where the
        service refuses, APIConnectionError and APITimeoutError, StreamError for an answer that breaks off or is none,
        ParseError for one that does not fit the type, ClosedError after `aclose()`; TypeError for a keyword that is
        none.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params, CREATE_NAMES)
        params["messages"] = await prepared(params["messages"])
        call = self._call(params, response_format, streaming=bool(stream))
        return await (call.stream() if stream else call.whole())

    @overload
    def stream(
        self, *, response_format: Mapping[str, Any] | None = None, **params: Unpack[ChatParams]
    ) -> ChatStreamManager: ...

    @overload
    def stream(self, *, response_format: type[P], **params: Unpack[ChatParams]) -> ParsedChatStreamManager[P]: ...

    def stream(self, *, response_format: Any = None, **params: Unpack[ChatParams]) -> ChatStreamManager:
        """Ask for a stream: `async with … .stream(…) as stream:` opens it, and closes it on leaving.

        With a type as `response_format` it is a ParsedChatStream, whose `completion()` has `parsed`.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params)

        async def opener() -> ChatStream:
            params["messages"] = await prepared(params["messages"])
            return await self._call(params, response_format).stream()

        return ParsedChatStreamManager(opener) if is_type(response_format) else ChatStreamManager(opener)

    @overload
    def run_tools(
        self,
        *,
        max_rounds: int = ...,
        max_concurrency: int = ...,
        tool_timeout: float | None = ...,
        on_tool_error: OnToolError = ...,
        response_format: Mapping[str, Any] | None = None,
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
        response_format: type[P],
        **params: Unpack[ChatParams],
    ) -> ToolRun[ParsedChatCompletion[P]]: ...

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
        is the last answer. The tools are functions: sync ones run in threads. At most `max_concurrency` calls of a
        round run at once, each for `tool_timeout` seconds at most (None: no limit). What a tool raises, and arguments
        that don't fit, go to the model as an error, or with `on_tool_error="raise"` end the run: the tool's own
        exception, ParseError for arguments, ToolRoundsError for a call that took too long. ToolRoundsError also ends
        a run that would need more than `max_rounds` answers; its `messages` are the conversation. Timeouts and retries
        are each answer's own; a `tool_choice` that forces a call counts for the first alone.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params, STREAM_NAMES | set(RunLimits._fields))
        limits = RunLimits(max_rounds, max_concurrency, tool_timeout, on_tool_error).check()
        tools = runnable(params.get("tools") or ())
        if params.get("n") not in (None, 1):
            raise InvalidRequestError("n must be 1: a conversation with tools goes on from one answer", param="n")
        first = {**params, "tools": list(tools.values()) or None}
        later = first if params.get("tool_choice") == "none" else {**first, "tool_choice": None}

        async def ask(messages: list[Any], is_first: bool) -> ChatStream:
            asked = {**(first if is_first else later), "messages": await prepared(messages)}
            return await self._call(asked, response_format).stream()

        finish = functools.partial(parsed, form_of(response_format)) if is_type(response_format) else _as_it_is
        return ToolRun(ask, finish, listed_messages(params["messages"]), tools, limits)

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
        response_format: Mapping[str, Any] | None = None,
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
        response_format: type[P],
        **defaults: Unpack[ChatOptions],
    ) -> MapResults[ParsedChatCompletion[P]]: ...

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

        `requests` gives mappings of the parameters of `create`, each with a `custom_id` if you like, and is read as
        there is room: at most `2 * max_concurrency` requests are held. The other keywords are defaults. Results come
        as they complete, or with `ordered` in the order of the requests; one that failed has its `error`, also where
        the request itself is none. Where `response_format` is a type, the `completion` has `parsed`. With `fail_fast`
        the first error ends the run instead, and is raised.

        Every request is streamed, and passes its model's gate: the limits that the client was given, or else those
        that are found out. Where a model's service goes away (several requests in a row meet 502, 503, no connection,
        or other 5xx), the run pauses, one request at a time looks whether it is back, and those that failed are asked
        again; each waits at most `patience` seconds of an outage (None: as long as it takes), then its error says so
        in `waited`. `on_event(item, event)` is called, and awaited, with each typed event; `on_progress` with a
        MapProgress, a few times a second, whose `total` is that of the keyword where `requests` has no length. An
        exception from either, or from `requests`, ends the run and is raised after the results that there are.
        """
        if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable | AsyncIterable):
            raise TypeError(f"requests must be an iterable of mappings, not a value of type {type(requests).__name__}")
        if not is_count(max_concurrency, 1):
            raise ConfigurationError(f"max_concurrency must be an integer >= 1, not {max_concurrency!r}")
        if total is not None and not is_count(total, 0):
            raise ConfigurationError(f"total must be an integer >= 0 or None, not {total!r}")
        if patience is not None and (not is_finite(patience) or patience < 0):
            raise ConfigurationError(f"patience must be a number of seconds >= 0 or None, not {patience!r}")
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
                functools.partial(_begin, self._setup, given, math.inf if patience is None else patience),
                # More would only wait for a connection, until the clock of that wait ended them.
                max_concurrency=self._setup.transport.pool.at_most(max_concurrency),
                ordered=ordered,
                fail_fast=fail_fast,
                on_event=on_event,
                on_progress=on_progress,
                total=total,
            )
        )

    def _call(self, params: Mapping[str, Any], response_format: Any, *, streaming: bool = True) -> ChatCall:
        request = ChatRequest.of(self._setup, params, streaming=streaming, response_format=response_format)
        return ChatCall(self._setup, request)


def _as_it_is(completion: ChatCompletion) -> ChatCompletion:
    return completion


async def _begin(setup: Setup, defaults: Mapping[str, Any], patience: float, item: MapItem) -> ChatCall:
    """Make one request of many ready; raise InvalidRequestError for one that is none."""
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
        return ChatCall(setup, request, patience=patience)
    except SiliconFlowError:
        raise
    except Exception as error:  # a mapping and its messages may be the user's own, with errors of their own
        raise InvalidRequestError(str(error) or repr(error)) from error
