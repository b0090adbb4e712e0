"""One call over all its attempts: made ready once, let through its model's gate, sent, sent again, continued."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import Any, NamedTuple, TypeVar

import msgspec

from .errors import APIConnectionError, APITimeoutError, SiliconFlowError
from .limits.keeper import GateKeeper, ModelLimits
from .limits.ticket import Ticket
from .loops import running_loop
from .request import build_body, query_of
from .resume import Break, ResumingStream, continued_body, resume_attempts
from .retry import RetryBudget, RetryPolicy, wait_to_resume, with_retries
from .schema import Form, form_of
from .settings import replace_headers
from .stream import ChatStream, first_chunk
from .structured import ParsedChatStream, is_type, parsed
from .timeouts import Timeouts, as_timeouts
from .tools import choice_param, tool_params
from .transport.attempt import Request
from .transport.exchange import Transport
from .transport.underway import Underway
from .wire.protocol import decode_completion
from .wire.structs import ChatCompletion, Timing
from .wire.think import split_completion

T = TypeVar("T", ChatCompletion, ChatStream)

__all__ = ["Call", "CallSettings"]


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

    def clocks(self, params: Mapping[str, Any], *, streaming: bool) -> tuple[Timeouts, float, float | None]:
        """Return the limits of a call that begins now, its time of the loop and its deadline."""
        timeouts = as_timeouts(params["timeout"], self.timeouts) if "timeout" in params else self.timeouts
        started_at = running_loop().time()
        total = timeouts.total_for(streaming=streaming)
        return timeouts, started_at, None if total is None else started_at + total


class Call:
    """One call, over all its attempts; each of them passes `keeper`'s gate, if there is one.

    The gate is that of the limits given for the model; with `patience`, the seconds for which an outage is waited out,
    every model has one, and `waited` is the seconds spent waiting there. `attempts` is how often the call was sent,
    continuations included, which every answer and error of it tells.
    """

    __slots__ = (
        "_asked",
        "_body",
        "_first_token",
        "_form",
        "_model",
        "_params",
        "_patience",
        "_request",
        "_resume",
        "_settings",
        "_since",
        "_split_think",
        "_ticket",
        "_tokens",
        "attempts",
        "keeper",
        "waited",
    )

    def __init__(
        self,
        settings: CallSettings,
        params: Mapping[str, Any],
        *,
        stream: bool,
        response_format: Any,
        patience: float | None = None,
    ) -> None:
        self._form: Form[Any] | None = None
        if response_format is not None and is_type(response_format):
            self._form = form_of(response_format)
            response_format = self._form.response_format
        # A generator is read once, and a retry sends the same body, so tools are described here.
        if params.get("tools") is not None:
            params = {**params, "tools": tool_params(params["tools"])}
        if params.get("tool_choice") is not None:
            params = {**params, "tool_choice": choice_param(params["tool_choice"])}
        timeouts, started_at, deadline = settings.clocks(params, streaming=stream)
        headers = settings.headers
        if (extra := params.get("extra_headers")) is not None:
            headers = replace_headers(headers, extra)
        self._settings = settings
        self._asked = self._params = params
        self._split_think = bool(params.get("split_think"))
        body = self._body = build_body(params, stream=stream, response_format=response_format)
        self._resume = resume_attempts(params.get("resume"), body, streaming=stream, split_think=self._split_think)
        self._request = Request(
            body=body,
            headers=headers,
            query=query_of(params.get("extra_query")),
            timeouts=timeouts,
            started_at=started_at,
            deadline=deadline,
            streaming=stream,
        )
        self._model = params["model"]
        self._patience = patience
        self._since = time.monotonic() if patience is not None else 0.0
        self.keeper = self._gate()
        self.attempts = 0
        self.waited = 0.0
        self._ticket: Ticket | None = None
        # Of the attempts before the one of the ticket.
        self._tokens = 0
        self._first_token: float | None = None

    @property
    def tokens(self) -> int:
        """The tokens of the answer so far; counted at the gate."""
        return self._tokens + (self._ticket.tokens if self._ticket is not None else 0)

    @property
    def first_token(self) -> float | None:
        """Seconds from sending to the first token, None if none has come; measured at the gate."""
        if self._first_token is None and self._ticket is not None:
            return self._ticket.first_token_after
        return self._first_token

    async def begin(self, rng: random.Random) -> ChatStream:
        """Open the stream, over all its attempts, and see to its continuation if that was asked for."""
        stream = await self.retried(self.open, rng)
        if self._resume:
            stream = ResumingStream(stream, functools.partial(self.go_on, rng), self._resume, lambda: self.attempts)
            self._settings.transport.pool.track(stream)
        return stream

    async def go_on(self, rng: random.Random, broken: Break) -> ChatStream | None:
        """Open the continuation of a stream that broke off; None where none may be asked for."""
        settings = self._settings
        body = continued_body(self._body, broken)
        if body is None or not await wait_to_resume(
            broken.attempt,
            broken.error,
            policy=settings.retry,
            budget=settings.budget,
            deadline=self._request.deadline,
            rng=rng,
        ):
            return None
        self._request = msgspec.structs.replace(self._request, body=body)
        # What its prompt weighs at the gate.
        self._params = {**self._asked, "prefix": f"{self._asked.get('prefix') or ''}{broken.text}"}
        return await self.retried(self.open, rng)

    async def retried(self, attempt: Callable[[], Awaitable[T]], rng: random.Random) -> T:
        settings = self._settings
        try:
            with Underway(settings.transport.pool):
                return await with_retries(
                    attempt if self.keeper is None else functools.partial(self._let_through, attempt),
                    policy=settings.retry,
                    budget=settings.budget,
                    deadline=self._request.deadline,
                    rng=rng,
                    shared=self._failed_with_others if self._patience is not None else None,
                )
        except SiliconFlowError as error:
            # Not those of this round of retries alone, nor one that ended at the gate.
            error.attempts = self.attempts
            raise

    def _gate(self) -> GateKeeper | None:
        """Return the model's gate: the one of now, for one that nobody uses may be forgotten."""
        limits = self._settings.limits
        return (limits.given if self._patience is None else limits.always)(self._model)

    def _failed_with_others(self) -> bool:
        return self._ticket is not None and self._ticket.shared

    async def _let_through(self, attempt: Callable[[], Awaitable[T]]) -> T:
        if self._ticket is not None:
            self._tokens, self._first_token, self._ticket = self.tokens, self.first_token, None
        keeper = self.keeper = self._gate()
        assert keeper is not None
        ticket = self._ticket = keeper.join(
            self._params, again=self.attempts > 0, patience=self._patience, since=self._since
        )
        if not ticket.granted:
            await self._wait(keeper, ticket)
        try:
            return await attempt()
        except BaseException as error:
            ticket.fail(error)
            raise

    async def _wait(self, keeper: GateKeeper, ticket: Ticket) -> None:
        request = self._request
        came_at = time.monotonic()
        try:
            await keeper.wait(ticket, request.deadline)
        except TimeoutError as error:
            total = request.timeouts.total_for(streaming=request.streaming)
            raise APITimeoutError(clock="total", seconds=total) from error
        finally:
            self.waited += time.monotonic() - came_at
        if not ticket.granted:
            raise _given_up(ticket.last_seen, self._patience)

    async def open(self) -> ChatStream:
        """Open the stream, up to its first chunk."""
        request = self._request
        transport = self._settings.transport
        self.attempts += 1
        answer = await transport.open(request)
        ticket = self._ticket
        if ticket is not None:
            ticket.answered(answer.sent_at)
        form = self._form
        stream = (ChatStream if form is None else functools.partial(ParsedChatStream, form))(
            answer,
            answer.body.start_clock(request.timeouts, answer.sent_at, request.deadline),
            timeouts=request.timeouts,
            started_at=request.started_at,
            max_event_size=self._settings.max_event_size,
            split_think=self._split_think,
            watcher=ticket,
            attempts=self.attempts,
        )
        transport.pool.track(stream)
        return await first_chunk(stream)

    async def fetch(self) -> ChatCompletion:
        """Get the whole answer."""
        request = self._request
        self.attempts += 1
        settings = self._settings
        answer, completion = await settings.transport.fetch(request, settings.max_body_size, decode_completion)
        if self._split_think:
            split_completion(completion)
        if self._ticket is not None:
            self._ticket.answered(answer.sent_at)
            self._ticket.first_token(None)
            self._ticket.progress(0, completion.usage)
            self._ticket.end()
        completion.timing = Timing(total=answer.loop.time() - request.started_at, attempts=self.attempts)
        return completion if self._form is None else parsed(self._form, completion)


def _given_up(last_seen: SiliconFlowError | None, patience: float | None) -> SiliconFlowError:
    """Return the error of a call that has waited for the service as long as it may."""
    error = APIConnectionError() if last_seen is None else copy(last_seen)
    error.waited = patience
    error.message = f"gave up after waiting {patience:g} s for the service: {error.message or error}"
    return error
