"""The script: answers that wait in a queue, one for each request to come."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from .answers import ChoicePieces, UsageOn
from .refusals import error_body
from .scripted import Failure, Raw, Reply, Sendable
from .steps import Framing, Headers, Scripted, Step, Wait

__all__ = ["Script"]

S = TypeVar("S", Reply, Failure, Raw)


class Script:
    """A queue of scripted answers. Every method is safe from any thread."""

    def __init__(self) -> None:
        self._queue: deque[Sendable] = deque()
        self._queue_lock = threading.Lock()

    @property
    def script(self) -> list[Scripted]:
        """The scripted answers that are still to be given."""
        with self._queue_lock:
            return list(self._queue)

    def reply(
        self,
        text: str | Iterable[str] | None = None,
        reasoning: str | Iterable[str] | None = None,
        tool_calls: Iterable[Mapping[str, Any]] | None = None,
        *,
        finish_reason: str | None = None,
        finish: bool = True,
        usage: Mapping[str, Any] | None = None,
        usage_on: UsageOn = "every",
        model: str | None = None,
        done: bool = True,
        pause: float | None = None,
        headers: Headers | None = None,
        before: Iterable[Wait] = (),
        times: int | None = 1,
    ) -> Reply:
        """Script a chat answer, for a request with `stream` and for one without.

        text, reasoning: a str is split into small deltas, an iterable of str gives the deltas.
        tool_calls: dicts with `name`, `arguments` (an object or its JSON text), and maybe `id`.
        finish_reason: None: "tool_calls" if there are calls, else "stop".
        finish: False leaves the finishing chunk out (finish_reason null in a whole answer).
        usage: the final usage; None: counted, one token per delta.
        usage_on: "every" chunk (cumulative), one "last" chunk without choices, or "never".
        model: the model's name; None: as the request says.
        done: whether `data: [DONE]` ends the stream.
        pause: seconds between chunks; None: the server's `tokens_per_second`.
        headers: more response headers; a None value leaves one out.
        before: steps before the first byte, such as `Pause`, `Until`, `Stall`, `Rst`.
        times: for how many requests; None: for all that follow.
        """
        return self._add(
            Reply(
                choice=ChoicePieces.of(text, reasoning, tool_calls, finish_reason, finish),
                usage=usage,
                usage_on=usage_on,
                model=model,
                done=done,
                pause=pause,
                headers=headers or {},
                before=before,
                times=times,
            )
        )

    def fail(
        self,
        status: int,
        body: Mapping[str, Any] | str | bytes | None = None,
        headers: Headers | None = None,
        times: int | None = 1,
        *,
        before: Iterable[Wait] = (),
    ) -> Failure:
        """Script an error, or any answer that is a status and a body (a redirect, an empty 200).

        status: the HTTP status.
        body: dict and str are sent as JSON, bytes as they are; None: the body that the service documents or sent for
            this status.
        headers, times, before: as for `reply`.
        """
        if body is None:
            body = error_body(status)
        elif not isinstance(body, bytes):
            # Here and not as it is sent, so that a wrong one fails in the test itself.
            body = msgspec.json.encode(body)
        return self._add(Failure(status=status, body=body, headers=headers or {}, before=before, times=times))

    def raw(
        self,
        steps: Iterable[Step],
        *,
        status: int = 200,
        headers: Headers | None = None,
        framing: Framing = "chunked",
        before: Iterable[Wait] = (),
        times: int | None = 1,
    ) -> Raw:
        """Script what happens on the wire, step by step.

        steps: bytes (one write each, and one HTTP chunk where the body is chunked), `Trickle`, `Pause`, `Until`,
            `Stall`, `Fin`, `Rst`. The body ends after the last step, so a wait there makes a late last chunk, and `Fin`
            there leaves it out.
        headers: default: an event stream; a None value leaves one out.
        framing: "chunked"; "length" (content-length, counted from the steps where `headers` has none); "close" (the
            body ends with the connection); "verbatim" (the steps are the whole answer, status line included; `status`
            and `headers` are not used).
        before, times: as for `reply`.
        """
        raw = Raw(steps=tuple(steps), status=status, headers=headers or {}, framing=framing, before=before, times=times)
        return self._add(raw)

    def _add(self, scripted: S) -> S:
        with self._queue_lock:
            self._queue.append(scripted)
        return scripted

    def _clear_script(self) -> None:
        with self._queue_lock:
            self._queue.clear()

    def _take(self) -> Sendable | None:
        """Return the answer that the next request gets, if one is scripted."""
        with self._queue_lock:
            if not self._queue:
                return None
            scripted = self._queue[0]
            if scripted.times is not None:
                scripted.times -= 1
                if scripted.times == 0:
                    self._queue.popleft()
            scripted.used += 1
            return scripted
