"""What a client gives to all its calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..headers import replace_headers
from ..limits.models import ModelLimits
from ..loops import running_loop
from ..request.body import query_of
from ..timeouts import Timeouts, as_timeouts
from ..transport.attempt import Request
from ..transport.exchange import Transport
from ..transport.upload import Multipart
from .budget import RetryBudget
from .observers import Observers
from .retry import RetryPolicy

__all__ = ["Setup"]


class Setup(NamedTuple):
    """The service as one client asks it: where, with which headers, clocks, retries and limits, and who is told of it.

    `max_event_size` and `max_body_size` are bytes: of one event of a stream, and of a whole answer.
    """

    transport: Transport
    headers: Mapping[str, str]
    timeouts: Timeouts
    retry: RetryPolicy
    budget: RetryBudget
    limits: ModelLimits
    observers: Observers
    max_event_size: int
    max_body_size: int

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Any],
        *,
        body: bytes | Multipart | None = None,
        query: Mapping[str, str] | None = None,
        streaming: bool = False,
        since: float | None = None,
    ) -> Request:
        """Return what a call sends on every attempt; its clocks begin now, or began at `since`, a time of the loop.

        Of `params` count those that every endpoint has: `timeout`, `extra_headers` and `extra_query`.
        """
        timeouts = as_timeouts(params["timeout"], self.timeouts) if "timeout" in params else self.timeouts
        total = timeouts.total_for(streaming=streaming or isinstance(body, Multipart))
        started_at = running_loop().time() if since is None else since
        headers = self.headers
        if not isinstance(body, bytes):
            # Theirs is of JSON. A multipart body brings its own; without a body there is nothing to say the type of.
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
