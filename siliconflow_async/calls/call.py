"""One call over all its attempts: let through its model's gate, sent, sent again."""

from __future__ import annotations

import functools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from ..errors import APITimeoutError, SiliconFlowError
from ..headers import Secret, check_headers, replace_headers
from ..stream.opened import OpenAnswer, first_chunk
from ..stream.reading import Decoding, Observer, Reading
from ..transport.answer import Answer, Decode, Headed
from ..transport.attempt import Request
from ..transport.underway import Underway
from ..wire.plain import Timing
from .observers import CallWatch, RunState
from .passage import Passage
from .retry import with_retries
from .setup import Setup

A = TypeVar("A")
T = TypeVar("T", bound=Headed)
P = TypeVar("P", bound=Decoding[Any])
S = TypeVar("S", bound=OpenAnswer[Any])

__all__ = ["Call"]

_log = logging.getLogger("siliconflow_async")


class Call:
    """One call of any endpoint; each attempt passes the gate of its `passage`.

    `attempts` is how often it was sent, which every answer and error of it tells. `weighs` are the parameters by which
    its model's gate judges it, None for what no gate stands before. With `patience`, in seconds, an outage is waited
    out. What is not `repeatable` is sent again only where the service has surely not begun it. `parent` is the run of
    calls that it is part of, as observers are told.
    """

    __slots__ = ("_repeatable", "_sent", "_setup", "_watch", "attempts", "passage")

    def __init__(
        self,
        setup: Setup,
        sent: Request,
        *,
        weighs: Mapping[str, Any] | None = None,
        patience: float | None = None,
        repeatable: bool = True,
        parent: RunState | None = None,
    ) -> None:
        self._setup = setup
        self._sent = sent
        self._repeatable = repeatable
        self.passage = Passage(setup.limits, weighs, patience)
        self.attempts = 0
        self._watch: CallWatch | None = None
        if setup.observers.watch() or _log.isEnabledFor(logging.DEBUG):
            site = setup.transport.site
            self._watch = CallWatch.of(
                setup.observers, sent, base_url=site.base_url, params=weighs or {}, parent=parent
            )

    async def fetch(self, decode: Decode[T]) -> T:
        """Return what `decode` makes of the whole answer, over all attempts."""

        setup, sent = self._setup, self._sent

        async def attempt(observer: Observer | None) -> T:
            answer, value = await setup.transport.fetch(sent, setup.max_body_size, decode)
            value.timing = Timing(total=answer.loop.time() - sent.started_at, attempts=self.attempts)
            if observer is not None:
                observer.answered(answer)
                observer.first_token(None)
                # Not every endpoint tells it.
                observer.progress(0, getattr(value, "usage", None))
                observer.ended(None)
                observer.over("done", None, lambda: value)
            return value

        try:
            return await self._retried(attempt)
        except BaseException as error:
            if self._watch is not None:
                self._watch.failed(error)
            raise

    async def open(
        self,
        decoding: Callable[[Answer], P],
        stream: Callable[[Reading[Any], P], S],
        *,
        continues: bool = False,
    ) -> S:
        """Open the answer, and return the stream of it once something of it is there, over all attempts.

        `decoding` makes what reads the answer, `stream` the stream of a reading by it. One that `continues` another may
        fail without an end of the call.
        """

        async def attempt(observer: Observer | None) -> S:
            sent = self._sent
            answer = await self._setup.transport.open(sent)
            if observer is not None:
                observer.answered(answer)
            protocol = decoding(answer)
            reading: Reading[Any] = Reading(
                answer,
                protocol,
                timeouts=sent.timeouts,
                deadline=sent.deadline,
                observer=observer,
                attempts=self.attempts,
            )
            begun = stream(reading, protocol)
            self._setup.transport.pool.track(begun)
            return await first_chunk(begun)

        watch = self._watch
        if watch is None:
            return await self._retried(attempt)
        watch.opening = True
        try:
            opened = await self._retried(attempt)
        except BaseException as error:
            watch.opening = False
            if not continues:
                watch.failed(error)
            raise
        watch.opened()
        return opened

    async def _retried(self, attempt: Callable[[Observer | None], Awaitable[A]]) -> A:
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
                    told=None if self._watch is None else self._watch.retried,
                )
        except SiliconFlowError as error:
            # Not those of this round of retries alone, nor one that ended at the gate.
            error.attempts = self.attempts
            raise

    async def _let_through(self, attempt: Callable[[Observer | None], Awaitable[A]]) -> A:
        sent = self._sent
        try:
            admission = await self.passage.enter(again=self.attempts > 0, deadline=sent.deadline)
        except TimeoutError as error:
            total = sent.timeouts.total_for(streaming=sent.open_ended)
            raise APITimeoutError(clock="total", seconds=total) from error
        self.attempts += 1
        if not self._repeatable:
            # A connection of its own: one that was kept may break with the request half-way, and nobody could tell.
            sent.distrusts = 0.0
        watch = self._watch
        observer: Observer | None = admission if watch is None else watch
        if observer is None:
            return await attempt(None)
        try:
            if watch is not None:
                watch.attempt(admission, number=self.attempts, waited=self.passage.waited)
                self._add(watch.state.headers)
            return await attempt(observer)
        except BaseException as error:
            observer.ended(error)
            raise

    def _add(self, headers: Mapping[str, str]) -> None:
        """Send an observer's headers too; raise ConfigurationError for one that can't be sent."""
        if not (checked := check_headers(headers)):
            return
        if any(isinstance(value, Secret) for value in checked.values()):
            self._sent.headers = replace_headers(self._sent.headers, checked)
        else:
            self._sent.added = checked
