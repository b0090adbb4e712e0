"""Calls and runs as spans; see the package.

A span is started and ended, and never made the current one while others' code runs in the same task: a call may end in
another task, in a finalizer, or in no loop at all. Its parent is the run that the call is part of, else whatever span
is current where the call begins. The one exception is the call of a tool, which has a task of its own: there its span
is current until the task ends, so that what the tool does belongs to it.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry._logs import LoggerProvider, LogRecord, SeverityNumber, get_logger, get_logger_provider
from opentelemetry.context import Context, attach
from opentelemetry.metrics import Histogram, MeterProvider, get_meter_provider
from opentelemetry.trace import Span, SpanKind, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ...calls.observers import CallState, RunState
from ...version import __version__
from .content import input_messages, output_messages
from .instruments import about, instruments_of, measured
from .names import PROVIDER, REQUEST, SCHEMA, SCOPE, GenAI, Ours

if TYPE_CHECKING:
    from ...client import AsyncSiliconFlow

__all__ = ["OpenTelemetry"]

# Of OpenTelemetry's API itself are providers that do nothing, or stand for one that may be set later.
_API = ("opentelemetry.trace", "opentelemetry.metrics", "opentelemetry._logs")
_LOOK_EVERY = 0.05
_propagator = TraceContextTextMapPropagator()


class OpenTelemetry:
    """An observer that makes spans and metrics of a client's calls: `AsyncSiliconFlow(observers=[OpenTelemetry()])`.

    Providers are the global ones, also where they are set later, unless others are given. `content=True` also emits
    what was asked and answered, as an event for each call; `time_per_output_chunk=True` also records that metric, which
    costs some 7 µs a chunk. One that is pickled, with its client, has the global providers where it arrives.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        logger_provider: LoggerProvider | None = None,
        content: bool = False,
        time_per_output_chunk: bool = False,
    ) -> None:
        self.content = content
        self.calls: dict[CallState, _Call] = {}
        self._runs: dict[RunState, Span] = {}
        self._tracer = trace.get_tracer(SCOPE, __version__, tracer_provider, SCHEMA)
        self._logger = get_logger(SCOPE, __version__, logger_provider, SCHEMA) if content else None
        self._instruments = instruments_of(meter_provider)
        self._instruments.watch(self)
        self._given = (tracer_provider, meter_provider, logger_provider)
        self._per_chunk: Histogram | None = None
        self._listened_to = False
        self._look_again_at = 0.0
        if time_per_output_chunk:
            # Hooks that are not there cost nothing.
            self._per_chunk = self._instruments.histogram(GenAI.TIME_PER_OUTPUT_CHUNK)
            self.first_token = self._first_token
            self.progress = self._progress

    def __reduce__(self) -> tuple[Any, ...]:
        again = functools.partial(type(self), content=self.content, time_per_output_chunk=self._per_chunk is not None)
        return again, ()

    def watches(self) -> bool:
        """Whether there is an SDK: without one a call is not watched at all."""
        if self._listened_to:
            return True
        now = time.monotonic()
        if now >= self._look_again_at:
            # A look takes 2 µs, too much for one at each of a thousand calls.
            self._look_again_at = now + _LOOK_EVERY
            traces, meters, logs = self._given
            listeners: list[object] = [traces or trace.get_tracer_provider(), meters or get_meter_provider()]
            if self.content:
                listeners.append(logs or get_logger_provider())
            self._listened_to = not all(type(listener).__module__.startswith(_API) for listener in listeners)
        return self._listened_to

    # The client

    def attached(self, client: AsyncSiliconFlow) -> None:
        self._instruments.attach(client)

    # Calls

    def waited(self, state: CallState) -> None:
        call = self._call(state)
        seconds, call.waited = state.waited - call.waited, state.waited
        self._instruments.waits.record(seconds, about(state.endpoint, state.base_url, state.model).attributes)
        call.span.add_event(Ours.WAIT, {Ours.SECONDS: seconds, Ours.ATTEMPT: state.attempt + 1})

    def sent(self, state: CallState) -> None:
        call = self._call(state)
        if state.attempt > 1:
            known = about(state.endpoint, state.base_url, state.model)
            attributes = {**known.attributes, GenAI.ERROR_TYPE: type(state.error).__name__}
            self._instruments.retries.add(1, attributes)
        elif call.span.get_span_context().is_valid:
            _propagator.inject(state.headers, set_span_in_context(call.span))

    def retried(self, state: CallState) -> None:
        call = self._call(state)
        if not call.span.is_recording():
            return
        attributes: dict[str, Any] = {GenAI.ERROR_TYPE: type(state.error).__name__, Ours.ATTEMPT: state.attempt + 1}
        if state.delay is not None:
            attributes[Ours.SECONDS] = state.delay
        if (status := getattr(state.error, "status", None)) is not None:
            attributes[GenAI.STATUS] = status
        resumes, call.resumes = state.resumes > call.resumes, state.resumes
        call.span.add_event(Ours.RESUME if resumes else Ours.RETRY, attributes)

    def ended(self, state: CallState) -> None:
        call = self._call(state)
        del self.calls[state]
        span, error = call.span, state.error
        kind = None if error is None else type(error).__name__
        if span.is_recording():
            span.set_attributes(_outcome(state, kind))
            self._set_status(span, error)
        by = measured(state.endpoint, state.base_url, state.model, state.response_model, kind)
        instruments = self._instruments
        instruments.duration.record(state.seconds or 0.0, by.error)
        if state.first_token is not None:
            instruments.first_chunk.record(state.first_token, by.call)
        if state.usage is not None:
            instruments.tokens.record(state.usage.prompt_tokens, by.input)
            instruments.tokens.record(state.usage.completion_tokens, by.output)
        if self._logger is not None and state.request is not None:
            self._tell_content(state, span, kind)
        span.end()

    def _call(self, state: CallState) -> _Call:
        call = self.calls.get(state)
        if call is None:
            known = about(state.endpoint, state.base_url, state.model)
            span = self._tracer.start_span(
                known.name,
                self._within(state.parent),
                SpanKind.CLIENT,
                known.attributes,
                start_time=int(state.started_at * 1e9),
            )
            call = self.calls[state] = _Call(span)
        return call

    def _within(self, run: RunState | None) -> Context | None:
        span = None if run is None else self._runs.get(run)
        return None if span is None else set_span_in_context(span)

    def _tell_content(self, state: CallState, span: Span, kind: str | None) -> None:
        assert self._logger is not None
        assert state.request is not None
        known = about(state.endpoint, state.base_url, state.model)
        attributes = {
            **known.attributes,
            **_outcome(state, kind),
            GenAI.INPUT_MESSAGES: input_messages(state.request.get("messages") or ()),
        }
        if state.answer is not None:
            attributes[GenAI.OUTPUT_MESSAGES] = output_messages(state.answer)
        self._logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                context=set_span_in_context(span),
                severity_number=SeverityNumber.DEBUG,
                attributes=attributes,
                event_name=GenAI.DETAILS,
            )
        )

    def _first_token(self, state: CallState) -> None:
        call = self._call(state)
        call.chunk_at, call.chunks = time.monotonic(), 1

    def _progress(self, state: CallState) -> None:
        assert self._per_chunk is not None
        call = self._call(state)
        now = time.monotonic()
        more = state.chunks - call.chunks
        if call.chunks and more > 0:
            # They came in one read, or their reader took his time between.
            seconds = (now - call.chunk_at) / more
            attributes = about(state.endpoint, state.base_url, state.model).attributes
            for _ in range(more):
                self._per_chunk.record(seconds, attributes)
            call.chunk_at, call.chunks = now, state.chunks

    # Runs

    def run_began(self, run: RunState) -> None:
        attributes: dict[str, Any] = {GenAI.PROVIDER: PROVIDER, Ours.RUN: run.kind}
        name: str = run.kind
        if run.kind == "run_tools":
            attributes[GenAI.OPERATION] = "invoke_agent"
        if run.kind == "execute_tool":
            name = f"execute_tool {run.name}"
            attributes |= {
                GenAI.OPERATION: "execute_tool",
                GenAI.TOOL_NAME: run.name,
                GenAI.TOOL_TYPE: "function",
                GenAI.TOOL_CALL_ID: run.call_id,
            }
        if run.model is not None:
            attributes[GenAI.REQUEST_MODEL] = run.model
        began_at = int(run.started_at * 1e9)
        span = self._tracer.start_span(name, self._within(run.parent), attributes=attributes, start_time=began_at)
        self._runs[run] = span
        if run.kind == "execute_tool":
            # In the tool's own task, whose context ends with it: there is nothing to detach.
            attach(set_span_in_context(span))

    def run_ended(self, run: RunState) -> None:
        span = self._runs.pop(run)
        assert run.ended is not None
        attributes: dict[str, Any] = {Ours.ENDED: run.ended, Ours.CALLS: run.calls, Ours.FAILED: run.failed}
        if run.error is not None:
            attributes[GenAI.ERROR_TYPE] = type(run.error).__name__
        self._set_status(span, run.error)
        span.set_attributes(attributes)
        span.end()

    def _set_status(self, span: Span, error: BaseException | None) -> None:
        if error is not None:
            # Its words may hold some of what was asked.
            span.set_status(StatusCode.ERROR, str(error) if self.content else type(error).__name__)


class _Call:
    """The span of one call, and how much of its state has been told of in events."""

    __slots__ = ("chunk_at", "chunks", "resumes", "span", "waited")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.waited = 0.0
        self.resumes = 0
        self.chunks = 0
        self.chunk_at = 0.0


def _outcome(state: CallState, error: str | None) -> dict[str, Any]:
    """Return the attributes of a span that are known as it ends."""
    known: dict[str, Any] = {
        **{REQUEST[name]: value for name, value in state.params.items() if name in REQUEST},
        GenAI.STREAM: state.streaming or None,
        GenAI.RESPONSE_ID: state.response_id,
        GenAI.RESPONSE_MODEL: state.response_model,
        GenAI.FIRST_CHUNK: state.first_token,
        GenAI.STATUS: state.status,
        GenAI.ERROR_TYPE: error,
        Ours.TRACE_ID: state.trace_id,
        Ours.ENDED: state.ended,
        Ours.ATTEMPTS: state.attempt,
        Ours.WAITED: state.waited or None,
        Ours.ERROR_CODE: getattr(state.error, "code", None),
    }
    if state.finish_reasons:
        known[GenAI.FINISH_REASONS] = [reason or "error" for reason in state.finish_reasons]
    if (stop := known.get(GenAI.STOP)) is not None:
        # What is read but once has been sent.
        known[GenAI.STOP] = [stop] if isinstance(stop, str) else list(stop) if isinstance(stop, list | tuple) else None
    if (usage := state.usage) is not None:
        known[GenAI.INPUT_TOKENS] = usage.prompt_tokens
        known[GenAI.OUTPUT_TOKENS] = usage.completion_tokens
        details, cache = usage.completion_tokens_details, usage.prompt_tokens_details
        known[GenAI.REASONING_TOKENS] = None if details is None else details.reasoning_tokens
        known[GenAI.CACHE_TOKENS] = usage.prompt_cache_hit_tokens if cache is None else cache.cached_tokens
    return {name: value for name, value in known.items() if value is not None}
