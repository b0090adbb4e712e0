"""`client.chat.completions`: ask for an answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, Unpack, overload

from .errors import APIStatusError, ConfigurationError, InvalidRequestError, SiliconFlowError, StreamError
from .fanout import MapResults
from .limits.keeper import GateKeeper, ModelLimits
from .limits.ticket import Ticket
from .request import (
    CREATE_NAMES,
    STREAM_NAMES,
    ChatOptions,
    ChatParams,
    MessageParam,
    build_body,
    check_names,
    query_of,
)
from .results import MapItem, OnEvent, OnProgress, Requests
from .retry import RetryBudget, RetryPolicy, with_retries
from .settings import check_keywords, conceal, replace_headers
from .stream import ChatStream, first_chunk
from .timeouts import Timeouts, as_timeouts
from .transport.exchange import Request, Transport
from .views import ChatStreamManager
from .wire.protocol import decode_completion
from .wire.structs import ChatCompletion, Timing

T = TypeVar("T", ChatCompletion, ChatStream)

__all__ = ["CallSettings", "Chat", "Completions"]


class CallSettings(NamedTuple):
    """What a client gives to its calls."""

    transport: Transport
    headers: Mapping[str, str]
    timeouts: Timeouts
    retry: RetryPolicy
    budget: RetryBudget
    limits: ModelLimits
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
        self,
        *,
        stream: Literal[True],
        response_format: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatStream: ...

    @overload
    async def create(
        self,
        *,
        stream: bool | None,
        response_format: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | ChatStream: ...

    async def create(
        self,
        *,
        stream: bool | None = None,
        response_format: Mapping[str, Any] | None = None,
        **params: Unpack[ChatParams],
    ) -> ChatCompletion | ChatStream:
        """Ask, and return the whole answer; with `stream=True`, an open ChatStream once its first chunk is there.

        The parameters are those of `ChatParams`. Raises InvalidRequestError before anything is sent, APIStatusError
        where the service refuses, APIConnectionError and APITimeoutError, StreamError for an answer that breaks off or
        is none, ClosedError after `aclose()`; TypeError for a keyword that is none.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params, CREATE_NAMES)
        call = _Call(self._settings, params, stream=bool(stream), response_format=response_format)
        call.keeper = self._settings.limits.given(params["model"])
        if stream:
            return await call.retried(call.open, self._rng)
        return await call.retried(call.fetch, self._rng)

    def stream(
        self, *, response_format: Mapping[str, Any] | None = None, **params: Unpack[ChatParams]
    ) -> ChatStreamManager:
        """Ask for a stream: `async with … .stream(…) as stream:` opens it, and closes it on leaving."""
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_names(params)

        async def opener() -> ChatStream:
            call = _Call(self._settings, params, stream=True, response_format=response_format)
            call.keeper = self._settings.limits.given(params["model"])
            return await call.retried(call.open, self._rng)

        return ChatStreamManager(opener)

    def map(
        self,
        requests: Requests,
        *,
        max_concurrency: int = 64,
        ordered: bool = False,
        fail_fast: bool = False,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        model: str | None = None,
        messages: Iterable[MessageParam] | None = None,
        response_format: Mapping[str, Any] | None = None,
        **defaults: Unpack[ChatOptions],
    ) -> MapResults:
        """Ask many: `async with … .map(requests) as results: async for result in results: …`.

        `requests` gives mappings of the parameters of `create`, each with a `custom_id` if you like, and is read as
        there is room: at most `2 * max_concurrency` requests are held. The other keywords are defaults. Results come
        as they complete, or with `ordered` in the order of the requests; one that failed has its `error`, also where
        the request itself is none. With `fail_fast` the first error ends the run instead, and is raised.

        Every request is streamed, and passes its model's gate: the limits that the client was given, or else those
        that are found out. `on_event(item, event)` is called, and awaited, with each typed event; `on_progress` with a
        MapProgress, a few times a second. An exception from either, or from `requests`, ends the run and is raised
        after the results that there are.
        """
        if isinstance(requests, str | bytes | Mapping) or not isinstance(requests, Iterable | AsyncIterable):
            raise TypeError(f"requests must be an iterable of mappings, not a value of type {type(requests).__name__}")
        if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int) or max_concurrency < 1:
            raise ConfigurationError(f"max_concurrency must be an integer >= 1, not {max_concurrency!r}")
        conceal(defaults)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(defaults, STREAM_NAMES)
        given = {"model": model, "messages": messages, "response_format": response_format, **defaults}
        given = {name: value for name, value in given.items() if value is not None}

        def start(call: _Call) -> Awaitable[ChatStream]:
            return call.retried(call.open, self._rng, gated=True)

        return MapResults(
            requests,
            functools.partial(_begin, self._settings, given),
            start,
            max_concurrency=max_concurrency,
            ordered=ordered,
            fail_fast=fail_fast,
            on_event=on_event,
            on_progress=on_progress,
        )


def _begin(settings: CallSettings, defaults: Mapping[str, Any], item: MapItem) -> _Call:
    """Make one request of many ready; raise InvalidRequestError for one that is none."""
    if not isinstance(item.request, Mapping):
        kind = type(item.request).__name__
        raise InvalidRequestError(f"a request must be a mapping of parameters, not a value of type {kind}")
    try:
        params = {**defaults, **item.request}
        conceal(params)
        custom_id = params.pop("custom_id", None)
        if custom_id is not None and not isinstance(custom_id, str):
            raise InvalidRequestError(f"custom_id must be text, not {custom_id!r}", param="custom_id")
        params.pop("stream", None)  # all are streamed
        for name in params:
            if not isinstance(name, str):
                raise InvalidRequestError(f"the names of parameters are text, not {name!r}")
        check_names(params)
        response_format = params.pop("response_format", None)
        call = _Call(settings, params, stream=True, response_format=response_format)
    except SiliconFlowError:
        raise
    except Exception as error:  # a mapping and its messages may be the user's own, with errors of their own
        raise InvalidRequestError(str(error) or repr(error)) from error
    call.keeper = settings.limits.always(params["model"])
    return call


class _Call:
    """One call, over all its attempts; each of them passes `keeper`'s gate, if there is one.

    `attempts` counts them, `waited` is the seconds they spent at the gate, `ticket` the way through it of the last one.
    """

    __slots__ = ("_params", "_request", "_settings", "attempts", "keeper", "ticket", "waited")

    def __init__(
        self, settings: CallSettings, params: Mapping[str, Any], *, stream: bool, response_format: Any
    ) -> None:
        timeouts = as_timeouts(params["timeout"], settings.timeouts) if "timeout" in params else settings.timeouts
        started_at = asyncio.get_running_loop().time()
        total = timeouts.total_for(streaming=stream)
        headers = settings.headers
        if (extra := params.get("extra_headers")) is not None:
            headers = replace_headers(headers, extra)
        self.keeper: GateKeeper | None = None
        self.ticket: Ticket | None = None
        self.attempts = 0
        self.waited = 0.0
        self._params = params
        self._settings = settings
        self._request = Request(
            body=build_body(params, stream=stream, response_format=response_format),
            headers=headers,
            query=query_of(params.get("extra_query")),
            timeouts=timeouts,
            started_at=started_at,
            deadline=None if total is None else started_at + total,
            streaming=stream,
        )

    async def retried(
        self, attempt: Callable[[Ticket | None], Awaitable[T]], rng: random.Random, *, gated: bool = False
    ) -> T:
        settings = self._settings
        return await with_retries(
            functools.partial(self._attempt, attempt),
            policy=settings.retry,
            budget=settings.budget,
            deadline=self._request.deadline,
            rng=rng,
            gated=gated,
        )

    async def _attempt(self, attempt: Callable[[Ticket | None], Awaitable[T]]) -> T:
        self.attempts += 1
        if self.keeper is None:
            return await attempt(None)
        request = self._request
        clock = asyncio.get_running_loop().time
        came_at = clock()
        total = request.timeouts.total_for(streaming=request.streaming)
        try:
            ticket = self.ticket = await self.keeper.enter(
                self._params, request.deadline, total, again=self.attempts > 1
            )
        finally:
            self.waited += clock() - came_at
        try:
            return await attempt(ticket)
        except BaseException as error:
            ticket.fail(error)
            raise

    async def open(self, ticket: Ticket | None) -> ChatStream:
        """Open the stream, up to its first chunk."""
        request = self._request
        transport = self._settings.transport
        answer = await transport.open(request)
        if ticket is not None:
            ticket.answered(answer.sent_at)
        stream = ChatStream(
            answer.body,
            answer.body.start_clock(request.timeouts, answer.sent_at, request.deadline),
            headers=answer.headers,
            timeouts=request.timeouts,
            started_at=request.started_at,
            max_event_size=self._settings.max_event_size,
            watcher=ticket,
        )
        transport.pool.track(stream)
        return await first_chunk(stream)

    async def fetch(self, ticket: Ticket | None) -> ChatCompletion:
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
        if ticket is not None:
            ticket.answered(answer.sent_at)
            ticket.first_token(None)
            ticket.progress(0, completion.usage_json)
            ticket.end()
        completion.headers = answer.headers
        completion.trace_id = answer.trace_id
        completion.timing = Timing(total=asyncio.get_running_loop().time() - request.started_at)
        return completion
