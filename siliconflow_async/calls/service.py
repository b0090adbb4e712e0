"""What a client gives to its calls, and how any endpoint is asked for a whole answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..headers import replace_headers
from ..limits.keeper import ModelLimits
from ..loops import running_loop
from ..request.body import query_of
from ..timeouts import Timeouts, as_timeouts
from ..transport.answer import Decode, Headed
from ..transport.attempt import Request
from ..transport.exchange import Transport
from ..transport.underway import Underway
from .budget import RetryBudget
from .retry import RetryPolicy, with_retries

__all__ = ["Service"]

A = TypeVar("A")
T = TypeVar("T", bound=Headed)


class Service:
    """The service as one client asks it: where, with which headers, clocks, retries and limits."""

    __slots__ = (
        "budget",
        "headers",
        "limits",
        "max_body_size",
        "max_event_size",
        "retry",
        "rng",
        "timeouts",
        "transport",
    )

    def __init__(
        self,
        transport: Transport,
        *,
        headers: Mapping[str, str],
        timeouts: Timeouts,
        retry: RetryPolicy,
        budget: RetryBudget,
        limits: ModelLimits,
        max_event_size: int,
        max_body_size: int,
    ) -> None:
        self.transport = transport
        self.headers = headers
        self.timeouts = timeouts
        self.retry = retry
        self.budget = budget
        self.limits = limits
        self.max_event_size = max_event_size
        self.max_body_size = max_body_size
        self.rng = random.Random()

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        *,
        body: bytes | None = None,
        query: Mapping[str, str] | None = None,
        streaming: bool = False,
    ) -> Request:
        """Return what a call sends on every attempt; its clocks begin now.

        Of `params` count those that every endpoint has: `timeout`, `extra_headers` and `extra_query`.
        """
        timeouts = as_timeouts(params["timeout"], self.timeouts) if "timeout" in params else self.timeouts
        started_at = running_loop().time()
        total = timeouts.total_for(streaming=streaming)
        headers = self.headers
        if body is None:
            # There is nothing to say the type of.
            headers = replace_headers(headers, {"Content-Type": None})
        if (extra := params.get("extra_headers")) is not None:
            headers = replace_headers(headers, extra)
        asked = query_of(params.get("extra_query"))
        return Request(
            method=method,
            path=path,
            body=body,
            headers=headers,
            query=asked if query is None else {**query, **asked},
            timeouts=timeouts,
            started_at=started_at,
            deadline=None if total is None else started_at + total,
            streaming=streaming,
        )

    async def fetch(self, request: Request, decode: Decode[T]) -> T:
        """Return what `decode` makes of the whole answer; raise what the last attempt did."""

        async def attempt() -> T:
            _, value = await self.transport.fetch(request, self.max_body_size, decode)
            return value

        return await self.retried(attempt, request)

    async def retried(
        self, attempt: Callable[[], Awaitable[A]], request: Request, *, shared: Callable[[], bool] | None = None
    ) -> A:
        """Await `attempt()` until it succeeds or may not be repeated; ClosedError as soon as the client is closed.

        `shared` is for one that waits at a gate, see `with_retries`.
        """
        with Underway(self.transport.pool):
            return await with_retries(
                attempt,
                policy=self.retry,
                budget=self.budget,
                deadline=request.deadline,
                rng=self.rng,
                shared=shared,
            )
