"""`client.chat.completions`: ask for an answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import Any, Literal, NamedTuple, TypeVar, Unpack, overload

import msgspec

from .content import prepared
from .errors import APIStatusError, InvalidRequestError, StreamError
from .request import CREATE_NAMES, STREAM_NAMES, ChatParams, build_body, check_names, listed_messages, query_of
from .resume import Break, ResumingStream, continued_body, resume_attempts
from .retry import RetryBudget, RetryPolicy, wait_to_resume, with_retries
from .schema import Form, form_of
from .settings import conceal, replace_headers
from .stream import ChatStream, first_chunk
from .structured import ParsedChatCompletion, ParsedChatStream, ParsedChatStreamManager, is_type, parsed
from .timeouts import Timeouts, as_timeouts
from .toolrun import OnToolError, RunLimits, ToolRun, runnable
from .tools import choice_param, tool_params
from .transport.exchange import Request, Transport
from .views import ChatStreamManager
from .wire.protocol import decode_completion
from .wire.structs import ChatCompletion, Timing
from .wire.think import split_completion

P = TypeVar("P")
T = TypeVar("T", ChatCompletion, ChatStream)

__all__ = ["CallSettings", "Chat", "Completions"]


class CallSettings(NamedTuple):
    """What a client gives to its calls."""

    transport: Transport
    headers: Mapping[str, str]
    timeouts: Timeouts
    retry: RetryPolicy
    budget: RetryBudget
    max_event_size: int
    max_body_size: int


class Chat:
    """The `chat` of a client."""

    __slots__ = ("completions",)

    def __init__(self, settings: CallSettings) -> None:
        self.completions = Completions(settings)


class Completions:
    """Chat completions of one client."""

    __slots__ = ("_rng", "_settings")

    def __init__(self, settings: CallSettings) -> None:
        self._settings = settings
        self._rng = random.Random()

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
        call = _Call(self._settings, params, stream=bool(stream), response_format=response_format)
        if stream:
            return await call.begin(self._rng)
        return await call.retried(call.fetch, self._rng)

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
            call = _Call(self._settings, params, stream=True, response_format=response_format)
            return await call.begin(self._rng)

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
            call = _Call(self._settings, asked, stream=True, response_format=response_format)
            return await call.retried(call.open, self._rng)

        finish = functools.partial(parsed, form_of(response_format)) if is_type(response_format) else _as_it_is
        return ToolRun(ask, finish, listed_messages(params["messages"]), tools, limits)


def _as_it_is(completion: ChatCompletion) -> ChatCompletion:
    return completion


class _Call:
    """One call, over all its attempts."""

    __slots__ = ("_form", "_request", "_resume", "_settings", "_split_think")

    def __init__(
        self, settings: CallSettings, params: Mapping[str, Any], *, stream: bool, response_format: Any
    ) -> None:
        self._form: Form[Any] | None = None
        if is_type(response_format):
            self._form = form_of(response_format)
            response_format = self._form.response_format
        # A generator is read once, and a retry sends the same body, so tools are described here.
        if params.get("tools") is not None:
            params = {**params, "tools": tool_params(params["tools"])}
        if params.get("tool_choice") is not None:
            params = {**params, "tool_choice": choice_param(params["tool_choice"])}
        timeouts = as_timeouts(params["timeout"], settings.timeouts) if "timeout" in params else settings.timeouts
        started_at = asyncio.get_running_loop().time()
        total = timeouts.total_for(streaming=stream)
        headers = settings.headers
        if (extra := params.get("extra_headers")) is not None:
            headers = replace_headers(headers, extra)
        self._settings = settings
        self._split_think = bool(params.get("split_think"))
        body = build_body(params, stream=stream, response_format=response_format)
        self._resume = resume_attempts(params.get("resume"), body, streaming=stream, split_think=self._split_think)
        self._request = Request(
            body=body,
            headers=headers,
            query=query_of(params.get("extra_query")),
            timeouts=timeouts,
            started_at=started_at,
            deadline=None if total is None else started_at + total,
            streaming=stream,
        )

    async def begin(self, rng: random.Random) -> ChatStream:
        """Open the stream, over all its attempts, and see to its continuation if that was asked for."""
        stream = await self.retried(self.open, rng)
        if self._resume:
            stream = ResumingStream(stream, functools.partial(self.go_on, rng), self._resume)
            self._settings.transport.pool.track(stream)
        return stream

    async def go_on(self, rng: random.Random, broken: Break) -> ChatStream | None:
        """Open the continuation of a stream that broke off; None where none may be asked for."""
        settings = self._settings
        request = self._request
        body = None if request.body is None else continued_body(request.body, broken)
        if body is None or not await wait_to_resume(
            broken.attempt,
            broken.error,
            policy=settings.retry,
            budget=settings.budget,
            deadline=request.deadline,
            rng=rng,
        ):
            return None
        call = copy(self)
        call._request = msgspec.structs.replace(request, body=body)
        return await call.retried(call.open, rng)

    def retried(self, attempt: Callable[[], Awaitable[T]], rng: random.Random) -> Awaitable[T]:
        settings = self._settings
        return with_retries(
            attempt, policy=settings.retry, budget=settings.budget, deadline=self._request.deadline, rng=rng
        )

    async def open(self) -> ChatStream:
        """Open the stream, up to its first chunk."""
        request = self._request
        transport = self._settings.transport
        answer = await transport.open(request)
        form = self._form
        stream = (ChatStream if form is None else functools.partial(ParsedChatStream, form))(
            answer,
            answer.body.start_clock(request.timeouts, answer.sent_at, request.deadline),
            timeouts=request.timeouts,
            started_at=request.started_at,
            max_event_size=self._settings.max_event_size,
            split_think=self._split_think,
        )
        transport.pool.track(stream)
        return await first_chunk(stream)

    async def fetch(self) -> ChatCompletion:
        """Get the whole answer."""
        request = self._request
        answer, body = await self._settings.transport.fetch(request, self._settings.max_body_size)
        try:
            completion = decode_completion(body)
        except APIStatusError as error:
            error.headers = answer.headers
            raise
        except StreamError as error:
            error.trace_id = answer.trace_id
            raise
        if self._split_think:
            split_completion(completion)
        completion.headers = answer.headers
        completion.trace_id = answer.trace_id
        completion.timing = Timing(total=asyncio.get_running_loop().time() - request.started_at)
        return completion if self._form is None else parsed(self._form, completion)
