"""The instruments of a provider of meters, and the attributes that calls are measured by."""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import urlsplit
from weakref import WeakSet

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from ...version import __version__
from .names import LIMITS, OPERATIONS, PROVIDER, SCHEMA, SCOPE, GenAI, Metric, Ours

if TYPE_CHECKING:
    from ...calls.observers import CallState
    from ...client import AsyncSiliconFlow

__all__ = ["about", "instruments_of", "measured"]


class Calling(Protocol):
    """Who knows of calls that are under way."""

    @property
    def calls(self) -> Collection[CallState]: ...


class _About(NamedTuple):
    """The name of a call's span, and what is known of the call as it begins."""

    name: str
    attributes: Mapping[str, Any]


class _Measured(NamedTuple):
    """The attributes that a call is measured by once it has ended: by any metric, and by those that have one more."""

    call: Mapping[str, Any]
    error: Mapping[str, Any]
    input: Mapping[str, Any]
    output: Mapping[str, Any]


@functools.lru_cache(maxsize=256)
def about(endpoint: str, base_url: str, model: str | None) -> _About:
    """Return what a call is called, and told by, as it begins."""
    operation = OPERATIONS.get(endpoint) or endpoint.strip("/").partition("/")[0]
    attributes: dict[str, Any] = {GenAI.OPERATION: operation, GenAI.PROVIDER: PROVIDER, **_server(base_url)}
    if model is None:
        return _About(operation, attributes)
    return _About(f"{operation} {model}", {**attributes, GenAI.REQUEST_MODEL: model})


@functools.lru_cache(maxsize=256)
def measured(
    endpoint: str, base_url: str, model: str | None, response_model: str | None, error: str | None
) -> _Measured:
    """Return what a call is measured by that was answered by a model, and ended with an error of a type, or without."""
    attributes = dict(about(endpoint, base_url, model).attributes)
    # Each attribute costs each record as much again as the last: what says nothing new is left out.
    if response_model not in (None, model):
        attributes[GenAI.RESPONSE_MODEL] = response_model
    return _Measured(
        attributes,
        attributes if error is None else {**attributes, GenAI.ERROR_TYPE: error},
        {**attributes, GenAI.TOKEN_TYPE: "input"},
        {**attributes, GenAI.TOKEN_TYPE: "output"},
    )


def _server(base_url: str) -> dict[str, Any]:
    url = urlsplit(base_url)
    return {
        GenAI.SERVER_ADDRESS: url.hostname or "",
        GenAI.SERVER_PORT: url.port or (443 if url.scheme == "https" else 80),
    }


class _Instruments:
    """The instruments of one provider, once: of two with one name only the first would be read."""

    def __init__(self, provider: MeterProvider | None) -> None:
        meter = self._meter = metrics.get_meter(SCOPE, __version__, provider, SCHEMA)
        # Who reads metrics may have a thread of his own.
        self._lock = threading.Lock()
        self._observers: WeakSet[Calling] = WeakSet()
        self._clients: WeakSet[AsyncSiliconFlow] = WeakSet()
        self.duration = self.histogram(GenAI.DURATION)
        self.tokens = self.histogram(GenAI.TOKENS)
        self.first_chunk = self.histogram(GenAI.TIME_TO_FIRST_CHUNK)
        self.waits = self.histogram(Ours.WAITS)
        self.retries = meter.create_counter(Ours.RETRIES.name, Ours.RETRIES.unit, Ours.RETRIES.description)
        streams = Ours.STREAMS
        meter.create_observable_up_down_counter(streams.name, [self._open_streams], streams.unit, streams.description)
        for field, (name, unit, description, _) in LIMITS.items():
            meter.create_observable_gauge(name, [functools.partial(self._limits, field)], unit, description)

    def histogram(self, metric: Metric) -> metrics.Histogram:
        return self._meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=metric.buckets
        )

    def watch(self, observer: Calling) -> None:
        """Count the streams among its calls, for as long as it lives."""
        with self._lock:
            self._observers.add(observer)

    def attach(self, client: AsyncSiliconFlow) -> None:
        """Tell of a client's limits, for as long as it lives."""
        with self._lock:
            self._clients.add(client)

    def _open_streams(self, options: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            observers = list(self._observers)
        states = [state for observer in observers for state in list(observer.calls)]
        found = Counter(
            (state.endpoint, state.base_url, state.model) for state in states if state.streaming and state.status == 200
        )
        for key, count in found.items():
            yield Observation(count, about(*key).attributes)

    def _limits(self, field: str, options: CallbackOptions) -> Iterator[Observation]:
        with self._lock:
            clients = list(self._clients)
        # Copies of one client share theirs.
        for client in {id(client.limits): client for client in clients}.values():
            limits = client.limits
            for model in limits:
                try:
                    state = limits[model]
                except KeyError:  # forgotten meanwhile
                    continue
                value = getattr(state, field)
                if value is not None:
                    attributes = {GenAI.PROVIDER: PROVIDER, **_server(client.base_url), GenAI.REQUEST_MODEL: model}
                    if field in ("rpm", "tpm"):
                        attributes[Ours.LEARNED] = state.learned
                    yield Observation(value, attributes)


# One for each provider; None is the global one, whichever it comes to be.
instruments_of: Callable[[MeterProvider | None], _Instruments] = functools.lru_cache(maxsize=None)(_Instruments)
