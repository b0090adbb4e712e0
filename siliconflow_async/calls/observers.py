"""What is told of each call to the observers that a client was given."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple, Self, TypeAlias

import msgspec

from ..errors import APIStatusError, ClosedError, ConfigurationError, SiliconFlowError
from ..stream.reading import ENDED_BY, Ended, Observer
from ..transport.answer import Answer
from ..transport.attempt import Request
from ..wire.endpoints.completions import Completion
from ..wire.structs import ChatCompletion, Usage

__all__ = ["CallState", "CallWatch", "Observers", "RunKind", "RunState", "RunWatch"]

_log = logging.getLogger("siliconflow_async")

# Told of a call, of a run of calls, and of the client.
HOOKS = (
    *("waited", "sent", "answered", "first_token", "progress", "retried", "ended"),
    *("run_began", "run_ended"),
    "attached",
)

# Of a request's parameters those that hold no text of the user's.
_TELLABLE = frozenset(
    {"max_tokens", "n", "stop", "temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty"}
    | {"repetition_penalty", "seed", "enable_thinking", "thinking_budget", "reasoning_effort", "dimensions"}
)


RunKind: TypeAlias = Literal["map", "batch", "run_tools", "execute_tool"]


class RunState(msgspec.Struct, kw_only=True, eq=False, weakref=True):
    """How a run of calls fares; observers are told with the same object as it begins and as it has ended.

    A run is a `map`, a batch, a conversation with tools (`run_tools`), or one call of a tool in it (`execute_tool`).
    That one's `run_began` is told in the task of the tool, whose context variables are its own. `started_at` is a time
    of `time.time()`.
    """

    kind: RunKind
    model: str | None
    name: str | None  # of the tool
    call_id: str | None  # of the model's call of the tool
    parent: RunState | None  # the conversation of a tool
    started_at: float

    calls: int = 0  # begun in it, retries not counted
    failed: int = 0  # of these
    ended: Literal["done", "error", "closed"] | None = None
    error: BaseException | None = None
    seconds: float | None = None


class CallState(msgspec.Struct, kw_only=True, eq=False, weakref=True):
    """How one call fares. Its observers are told with the same object each time, which is filled as the call goes on.

    `started_at` is a time of `time.time()`; durations are seconds. `params` are the parameters of the request that hold
    no text: sampling, sizes, thinking. No key, header or content is here.
    """

    method: str
    endpoint: str  # "/chat/completions"
    base_url: str
    model: str | None
    streaming: bool
    params: Mapping[str, Any]
    started_at: float
    headers: dict[str, str]  # an observer's own, to be sent: `sent` of the first attempt may add some
    parent: RunState | None = None  # the run that it is part of

    attempt: int = 0  # requests made so far, continuations included
    resumes: int = 0  # continuations so far, each told of in `retried`
    waited: float = 0.0  # at the gate of its model, over all attempts
    status: int | None = None  # of the latest answer or refusal
    trace_id: str | None = None
    first_token: float | None = None  # seconds from the start; None for whole answers
    chunks: int = 0  # given out
    usage: Usage | None = None
    finish_reasons: list[str] = []  # of the choices, in their order, once the call has ended
    response_id: str | None = None
    response_model: str | None = None
    delay: float | None = None  # in `retried`: the wait for the next attempt, which begins now
    error: SiliconFlowError | None = None  # of the latest attempt that failed; of the call, once it has ended
    ended: Ended | None = None  # as a stream's; "error" for all other failures, "closed" also for a cancellation
    seconds: float | None = None  # from the start to the end
    # In `ended`, for an observer with `content = True`; else None:
    request: Mapping[str, Any] | None = None  # the parameters of the request, messages and all
    answer: Any = None  # the completion


class _Hook(NamedTuple):
    observer: object
    call: Any
    content: bool


class Observers:
    """Who wants to know what. One that raises is left out from then on, which is logged once."""

    __slots__ = ("_hooks", "_watching")

    def __init__(self, observers: Iterable[object]) -> None:
        self._hooks: dict[str, tuple[_Hook, ...]] = dict.fromkeys(HOOKS, ())
        # Those that were not left out, and what says whether they watch now.
        self._watching: tuple[tuple[object, Callable[[], bool]], ...] = ()
        if not isinstance(observers, Iterable):
            raise ConfigurationError(f"observers must be a list of objects, not {observers!r}")
        for observer in observers:
            found = [name for name in HOOKS if callable(getattr(observer, name, None))]
            if not found:
                raise ConfigurationError(f"an observer has one of {', '.join(HOOKS)}; {observer!r} has none")
            self._watching += ((observer, getattr(observer, "watches", _always)),)
            for name in found:
                content = bool(getattr(observer, "content", False))
                self._hooks[name] += (_Hook(observer, getattr(observer, name), content),)

    def watch(self) -> bool:
        """Whether any wants to be told of what begins now: an observer may say no in a method `watches`."""
        for observer, watches in self._watching:
            try:
                if watches():
                    return True
            except Exception:  # the user's own
                self._leave_out(observer, "watches")
        return False

    @property
    def want_content(self) -> bool:
        """Whether any asks for what was asked and answered."""
        return any(hook.content for hook in self._hooks["ended"])

    def tell(self, name: str, told: Any) -> None:
        """Tell of a call's state, a run's, or the client."""
        for hook in self._hooks[name]:
            try:
                hook.call(told)
            except Exception:  # the user's own, which must not be taken for the call's
                self._leave_out(hook.observer, name)

    def tell_ended(self, state: CallState, request: Mapping[str, Any] | None, answer: Any) -> None:
        """Tell of a call's end, those who ask for it with its content."""
        for hook in self._hooks["ended"]:
            if hook.content:
                state.request, state.answer = request, answer
            try:
                hook.call(state)
            except Exception:  # the user's own
                self._leave_out(hook.observer, "ended")
            state.request = state.answer = None

    def run(self, kind: RunKind, *, model: str | None = None) -> RunWatch | None:
        """Tell of a run that begins now; None where nobody is told."""
        return RunWatch(self, kind, model=model) if self.watch() else None

    def _leave_out(self, observer: object, name: str) -> None:
        _log.exception("an observer raised in %s and is left out: %s", name, type(observer).__name__)
        self._watching = tuple(pair for pair in self._watching if pair[0] is not observer)
        for name, hooks in self._hooks.items():
            self._hooks[name] = tuple(hook for hook in hooks if hook.observer is not observer)


def _always() -> bool:
    return True


class RunWatch:
    """One run as its observers see it; `over` is its end, once."""

    __slots__ = ("_began", "_observers", "state")

    def __init__(
        self,
        observers: Observers,
        kind: RunKind,
        *,
        model: str | None = None,
        name: str | None = None,
        call_id: str | None = None,
        parent: RunState | None = None,
    ) -> None:
        self._observers = observers
        self._began = time.monotonic()
        self.state = RunState(kind=kind, model=model, name=name, call_id=call_id, parent=parent, started_at=time.time())
        observers.tell("run_began", self.state)

    def tool(self, name: str, call_id: str) -> RunWatch:
        """Tell of a tool of this run that begins now."""
        return RunWatch(self._observers, "execute_tool", name=name, call_id=call_id, parent=self.state)

    def over(self, error: BaseException | None = None, *, closed: bool = False) -> None:
        """Tell how it ended: by itself, by an error, or because it was left."""
        state = self.state
        if state.ended is not None:
            return
        if closed or (error is not None and not isinstance(error, Exception)):
            state.ended = "closed"  # a cancellation is no error of the run
        else:
            state.ended, state.error = "done" if error is None else "error", error
        state.seconds = time.monotonic() - self._began
        self._observers.tell("run_ended", state)


class CallWatch:
    """One call as its observers see it: an observer of each attempt's answer, which tells them and the gate.

    `over` is the call's own end, once; `ended` that of an attempt, which may be repeated or continued.
    """

    __slots__ = ("_asked", "_began", "_ending", "_gate", "_observers", "opening", "state")

    def __init__(self, observers: Observers, state: CallState, asked: Mapping[str, Any] | None) -> None:
        self.state = state
        self._asked = asked
        self._observers = observers
        self._began = time.monotonic()
        self._gate: Observer | None = None
        # While a stream is being opened, its end may be no more than that of an attempt.
        self.opening = False
        self._ending: tuple[Ended, SiliconFlowError | None, Callable[[], Any] | None] | None = None

    @classmethod
    def of(
        cls, observers: Observers, sent: Request, *, base_url: str, params: Mapping[str, Any], parent: RunState | None
    ) -> Self:
        """Watch a call that begins now; `params` are its parameters, of which those without text are told."""
        if parent is not None:
            parent.calls += 1
        return cls(
            observers,
            CallState(
                method=sent.method,
                endpoint=sent.path,
                base_url=base_url,
                model=params.get("model"),
                streaming=sent.streaming,
                params={name: value for name, value in params.items() if name in _TELLABLE and value is not None},
                started_at=time.time(),
                headers={},
                parent=parent,
            ),
            params if observers.want_content else None,
        )

    def attempt(self, gate: Observer | None, *, number: int, waited: float) -> None:
        """Tell of a wait at the gate, if there was one, and of an attempt that is about to be sent."""
        state = self.state
        self._gate = gate
        self._ending = None
        if waited > state.waited:
            state.waited = waited
            self._observers.tell("waited", state)
        state.attempt = number
        state.delay = None
        self._observers.tell("sent", state)

    def answered(self, answer: Answer) -> None:
        if self._gate is not None:
            self._gate.answered(answer)
        self.state.status = answer.response.status
        self.state.trace_id = answer.trace_id
        self._observers.tell("answered", self.state)

    def first_token(self, at: float | None) -> None:
        if self._gate is not None:
            self._gate.first_token(at)
        if at is not None and self.state.first_token is None:
            self.state.first_token = time.monotonic() - self._began
            self._observers.tell("first_token", self.state)

    def progress(self, chunks: int, usage: Usage | None) -> None:
        if self._gate is not None:
            self._gate.progress(chunks, usage)
        self.state.usage = usage
        if chunks:
            self.state.chunks += chunks
            self._observers.tell("progress", self.state)

    def ended(self, error: BaseException | None) -> None:
        if self._gate is not None:
            self._gate.ended(error)

    def retried(self, error: SiliconFlowError, delay: float, *, resumes: bool = False) -> None:
        """Tell of an attempt that failed, as the wait of so many seconds for another begins, or for a continuation."""
        self._failed(error)
        self.state.resumes += resumes
        self.state.delay = delay
        self._observers.tell("retried", self.state)

    def over(self, ended: Ended, error: SiliconFlowError | None, answer: Callable[[], Any] | None) -> None:
        """Tell how the call ended; `answer` returns what had come."""
        state = self.state
        if self.opening:
            self._ending = (ended, error, answer)
            return
        if state.ended is not None:
            return
        self._failed(error)
        value = None if answer is None else answer()
        if isinstance(value, ChatCompletion | Completion):
            state.usage = value.usage
            state.response_id, state.response_model = value.id or None, value.model or None
            state.finish_reasons = [choice.finish_reason or "" for choice in value.choices]
        state.ended = ended
        state.seconds = time.monotonic() - self._began
        state.delay = None
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "%s %s: %s, HTTP %s, %.3f s, %s tokens, trace_id %s, attempts %d",
                *(state.endpoint, state.model or "", state.ended, state.status, state.seconds),
                *(state.usage.total_tokens if state.usage is not None else "?", state.trace_id, state.attempt),
            )
        if error is not None and state.parent is not None:
            state.parent.failed += 1
        self._observers.tell_ended(state, self._asked, value)

    def opened(self) -> None:
        """Note that the stream is open, or has ended well already."""
        self.opening = False
        if self._ending is not None and self._ending[1] is None:
            self.over(*self._ending)
        self._ending = None

    def failed(self, error: BaseException) -> None:
        """Tell that the call ended before its answer began."""
        if not isinstance(error, SiliconFlowError):  # a cancellation
            self.over("closed", None, None)
        else:
            self.over("closed" if isinstance(error, ClosedError) else ENDED_BY.get(type(error), "error"), error, None)

    def _failed(self, error: SiliconFlowError | None) -> None:
        state = self.state
        state.error = error
        if isinstance(error, APIStatusError):
            state.status = error.status
        state.trace_id = getattr(error, "trace_id", None) or state.trace_id
