"""One attempt at a request: its connection, and the connect, first-token and total clocks up to the answer's headers.

Every exception of aiohttp ends here and becomes one of ours, its cause kept; `asyncio.CancelledError` passes.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from time import monotonic
from typing import Any, Self

import msgspec

from ..errors import APITimeoutError, Clock, ClosedError, SiliconFlowError
from ..timeouts import Timeouts
from .body import Body
from .connector import AnswerProtocol
from .pool import SessionPool
from .unanswered import unanswered
from .upload import Multipart

__all__ = ["Attempt", "Request"]


class Request(msgspec.Struct, kw_only=True):
    """What one call sends, on every attempt alike, and under which limits; `deadline` is a time of the loop.

    `distrusts` changes: it is set if the latest attempt was failed by its connection (ConnectWatcher). `added` are
    headers of this one call, none of them a secret, so that what was made of `headers` serves other calls too.
    """

    body: bytes | Multipart | None
    headers: Mapping[str, str]
    query: Mapping[str, str]
    timeouts: Timeouts
    started_at: float
    deadline: float | None
    streaming: bool
    method: str
    path: str
    distrusts: float | None = None
    added: Mapping[str, str] | None = None

    @property
    def open_ended(self) -> bool:
        """Whether nobody can tell how long it takes: a stream, or files that are sent, as fast as the line is."""
        return self.streaming or isinstance(self.body, Multipart)


class Attempt:
    """One attempt: watches it get its connection, ends it when a clock runs out, maps what it raises.

    An attempt that fails leaves its connection at once.
    """

    def __init__(self, request: Request, pool: SessionPool, proxy: str | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.session = pool.get(self.loop).session
        self.distrusts, request.distrusts = request.distrusts, None
        self.is_new = False
        self.protocol: AnswerProtocol | None = None
        # Of its answer, once the headers have come.
        self.body: Body | None = None
        self.sent_at = request.started_at
        self._request = request
        self._pool = pool
        self._proxy = proxy
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._clock: Clock = "total"
        self._at = math.inf
        self._timer: asyncio.TimerHandle | None = None
        self._expired = False
        # How many bytes of a large body have been sent, while it is.
        self._sent: int | None = None

    def queued(self) -> None:
        self._limit("pool", self._request.timeouts.pool)

    def connecting(self) -> None:
        self.is_new = True
        self._limit("connect", self._request.timeouts.connect)

    def connected(self, protocol: AnswerProtocol) -> None:
        self.protocol = protocol
        # Should it be sent again, by us or by aiohttp, then because this connection failed.
        self.distrusts = monotonic()
        self._sent_by_now()

    def sending(self, sent: int) -> None:
        # An answer may come before the end of its request.
        if self._task is not None:
            self._sent = sent
            self._limit("idle", self._request.timeouts.idle)

    def sent(self) -> None:
        if self._task is not None:
            self._sent = None
            self._sent_by_now()

    def _sent_by_now(self) -> None:
        self.sent_at = self.loop.time()
        self._limit("first_token", self._request.timeouts.first_token if self._request.open_ended else None)

    def distrust(self) -> None:
        """Note that the connection failed the request, or that none could be made: the next attempt gets a new one."""
        self._request.distrusts = self.distrusts or 0.0

    def __enter__(self) -> Self:
        task = asyncio.current_task(self.loop)
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        if self._request.deadline is not None:
            self._limit("total", None)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        task, self._task = self._task, None
        assert task is not None
        # As in asyncio.Timeout: a cancellation of the caller's own, in the same turn, is not swallowed.
        expired = self._expired and task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)
        ours = error is None or isinstance(error, SiliconFlowError)
        if error is not None and self.body is not None:
            self.body.abort()
        if not ours:
            self._abort()
            self.distrust()
        if expired:
            raise self._timeout() from error
        if not isinstance(error, Exception):
            return
        if self._pool.closed and not isinstance(error, ClosedError):
            raise ClosedError("the client was closed during the call") from error
        if not ours:
            raise unanswered(error, self._request.timeouts, self._proxy) from error

    def _limit(self, clock: Clock, seconds: float | None) -> None:
        """Let `clock` end the attempt after so many seconds, or the call's deadline if that comes first."""
        deadline = self._request.deadline
        at = math.inf if seconds is None else self.loop.time() + seconds
        if deadline is not None and deadline <= at:
            at = deadline
            clock = "total"
        self._clock = clock
        self._at = at
        # A timer that rings before is left as it is, and set again then: most attempts are over by that time.
        if at < (math.inf if self._timer is None else self._timer.when()):
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self.loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        # uvloop's timers come up to a millisecond early.
        if self.loop.time() >= self._at:
            assert self._task is not None
            self._expired = True
            self._task.cancel()
        elif self._at < math.inf:
            self._timer = self.loop.call_at(self._at, self._ring)

    def _timeout(self) -> APITimeoutError:
        request = self._request
        limit = request.timeouts.limit(self._clock, streaming=request.open_ended)
        error = APITimeoutError(clock=self._clock, seconds=limit)
        if self._sent is not None:
            of_all = f" of {len(request.body)}" if isinstance(request.body, bytes) else ""
            error.message = f"{error} while {self._sent}{of_all} bytes of the request had been sent"
        return error

    def _abort(self) -> None:
        # aiohttp closes the connection of a request that failed; over TLS that takes a farewell we don't wait for.
        if self.protocol is not None and self.protocol.wire is not None and not self.loop.is_closed():
            self.protocol.wire.abort()
