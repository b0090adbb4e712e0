"""One call over all its attempts: let through its model's gate, sent, sent again."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..errors import APITimeoutError, SiliconFlowError
from ..transport.answer import Answer, Decode, Headed
from ..transport.attempt import Request
from ..transport.underway import Underway
from ..wire.answered import Timing
from .passage import Admission, Passage
from .retry import with_retries
from .setup import Setup

A = TypeVar("A")
T = TypeVar("T", bound=Headed)

__all__ = ["Call"]


class Call:
    """One call of any endpoint; each attempt passes the gate of its `passage`.

    `attempts` is how often it was sent, which every answer and error of it tells. `weighs` are the parameters by which
    its model's gate judges it, None for what no gate stands before. With `patience`, in seconds, an outage is waited
    out. What is not `repeatable` is sent again only where the service has surely not begun it.
    """

    __slots__ = ("_repeatable", "_sent", "_setup", "attempts", "passage")

    def __init__(
        self,
        setup: Setup,
        sent: Request,
        *,
        weighs: Mapping[str, Any] | None = None,
        patience: float | None = None,
        repeatable: bool = True,
    ) -> None:
        self._setup = setup
        self._sent = sent
        self._repeatable = repeatable
        self.passage = Passage(setup.limits, weighs, patience)
        self.attempts = 0

    async def fetch(self, decode: Decode[T]) -> T:
        """Return what `decode` makes of the whole answer, over all attempts."""

        async def attempt(admission: Admission | None) -> T:
            answer, value = await self._setup.transport.fetch(self._sent, self._setup.max_body_size, decode)
            if admission is not None:
                admission.answered(answer.sent_at)
                admission.first_token(None)
                # Not every endpoint tells it.
                admission.progress(0, getattr(value, "usage", None))
                admission.ended(None)
            value.timing = Timing(total=answer.loop.time() - self._sent.started_at, attempts=self.attempts)
            return value

        return await self._retried(attempt)

    async def _open(self, read: Callable[[Answer, Admission | None], Awaitable[A]]) -> A:
        """Open the answer and return what `read` makes of its beginning, over all attempts."""

        async def attempt(admission: Admission | None) -> A:
            answer = await self._setup.transport.open(self._sent)
            if admission is not None:
                admission.answered(answer.sent_at)
            return await read(answer, admission)

        return await self._retried(attempt)

    async def _retried(self, attempt: Callable[[Admission | None], Awaitable[A]]) -> A:
        setup = self._setup
        try:
            with Underway(setup.transport.pool):
                return await with_retries(
                    functools.partial(self._let_through, attempt),
                    policy=setup.retry,
                    budget=setup.budget,
                    deadline=self._sent.deadline,
                    shared=self.passage.shared if self.passage.is_patient else None,
                    repeatable=self._repeatable,
                )
        except SiliconFlowError as error:
            # Not those of this round of retries alone, nor one that ended at the gate.
            error.attempts = self.attempts
            raise

    async def _let_through(self, attempt: Callable[[Admission | None], Awaitable[A]]) -> A:
        sent = self._sent
        try:
            admission = await self.passage.enter(again=self.attempts > 0, deadline=sent.deadline)
        except TimeoutError as error:
            total = sent.timeouts.total_for(streaming=sent.streaming)
            raise APITimeoutError(clock="total", seconds=total) from error
        self.attempts += 1
        if not self._repeatable:
            # A connection of its own: one that was kept may break with the request half-way, and nobody could tell.
            sent.distrusts = 0.0
        if admission is None:
            return await attempt(None)
        try:
            return await attempt(admission)
        except BaseException as error:
            admission.ended(error)
            raise
