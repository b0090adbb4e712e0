"""The client: settings, the pool that it owns, `.chat`, and what `endpoints.resources` lists."""

from __future__ import annotations

import functools
import ssl as ssl_module
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import msgspec

from .calls.budget import RetryBudget
from .calls.observers import Observers
from .calls.retry import RetryPolicy
from .calls.service import Service
from .calls.setup import Setup
from .checks import check_keywords, is_count
from .endpoints.chat import Chat
from .endpoints.resources import Resources
from .errors import ConfigurationError
from .headers import Secret, conceal, replace_headers
from .limits.given import Limits, check_limits
from .limits.limit import LimitState
from .limits.models import ModelLimits
from .settings import (
    find_key,
    find_proxy,
    masked,
    other_site,
    parse_base_url,
)
from .timeouts import Timeouts, as_timeouts
from .transport.exchange import Site, Transport
from .transport.pool import Connections, SessionPool
from .version import __version__

if TYPE_CHECKING:
    from aiohttp import ClientSession

__all__ = ["AsyncSiliconFlow", "ClientOptions", "Connections"]

_MIB = 1024 * 1024


class ClientOptions(TypedDict, total=False):
    """Keywords of `AsyncSiliconFlow` and `with_options`."""

    # Where to
    base_url: str | None  # default: SILICONFLOW_BASE_URL, or SiliconFlow's .cn site
    proxy: str | None  # default: from the environment, where trust_env is set
    trust_env: bool  # default True

    # Limits
    timeouts: Timeouts
    timeout: float | Timeouts | None  # as the openai package names it: seconds for the whole call
    retry: RetryPolicy
    max_retries: int  # as the openai package names it: RetryPolicy(max_attempts=max_retries + 1)
    observers: Iterable[object] | None  # told of each call: objects with any of CallState's hooks as methods
    limits: Limits | None  # kept to by every call; one for all models, or a mapping of models to theirs
    max_event_size: int  # bytes of one event of a stream; default 16 MiB
    max_body_size: int  # bytes of a whole answer; default 64 MiB

    # Sent with every request
    headers: Mapping[str, str | None] | None  # None as a value leaves out a default header
    default_headers: Mapping[str, str | None] | None  # `headers`, as the openai package names it

    # The pool, not for with_options
    max_connections: int  # open at a time, for each loop; default 1000
    session: ClientSession | None  # borrowed: used as it is, never closed
    ssl: ssl_module.SSLContext | None  # default: the system's certificates, verified


_POOL_OPTIONS = frozenset({"max_connections", "session", "ssl"})


class AsyncSiliconFlow(Resources):
    """A client of SiliconFlow's chat API.

        async with AsyncSiliconFlow() as client:
            done = await client.chat.completions.create(model=…, messages=[…])

    `api_key` is taken from SILICONFLOW_API_KEY if not given; the other keywords are those of `ClientOptions`. A client
    may be made outside any event loop and serve several, also at once in threads with a loop each; it needs `async
    with` or, in the end, `await client.aclose()`. Raises ConfigurationError for settings that can't work, TypeError for
    an unknown keyword.
    """

    base_url: str = ""

    def __init__(self, api_key: str | None = None, **options: Unpack[ClientOptions]) -> None:
        # From here on no secret is in a frame's locals but masked.
        api_key = masked(api_key)
        conceal(options)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(options, ClientOptions.__annotations__.keys())
        self._api_key = api_key
        self._options = _kept(options)
        _check_pool_options(options)
        self._pool = SessionPool(
            max_connections=_positive(options.get("max_connections", 1000), "max_connections"),
            ssl=options.get("ssl"),
            session=options.get("session"),
        )
        self._budget = RetryBudget()
        self._limits = ModelLimits(check_limits(options.get("limits")))
        self._apply()

    def _apply(self) -> None:
        options = self._options
        self._site = site = _site(self._api_key, options)
        self.base_url = site.base_url
        self._setup = setup = Setup(
            Transport(site, self._pool),
            headers=_headers(site.secret, options),
            timeouts=_timeouts(options),
            retry=_retry(options),
            budget=self._budget,
            limits=self._limits,
            observers=Observers(options.get("observers") or ()),
            max_event_size=_positive(options.get("max_event_size", 16 * _MIB), "max_event_size"),
            max_body_size=_positive(options.get("max_body_size", 64 * _MIB), "max_body_size"),
        )
        self.chat = Chat(setup)
        self._service = Service(setup)
        setup.observers.tell("attached", self)

    def with_options(self, *, api_key: str | None = None, **options: Unpack[ClientOptions]) -> Self:
        """Return a copy with other options, on the same pool, retry budget and limits; closing one closes both.

        Limits of its own has a copy with other `limits`, and one with another key or base URL: they go by account.
        """
        api_key = masked(api_key)
        conceal(options)  # type: ignore[arg-type]  # a TypedDict is a dict
        check_keywords(options, ClientOptions.__annotations__.keys() - _POOL_OPTIONS)
        client = object.__new__(type(self))
        client._api_key = self._api_key if api_key is None else api_key
        client._options = {**self._options, **_kept(options)}
        # The later of two names for one thing counts.
        for name, other in (("timeout", "timeouts"), ("max_retries", "retry"), ("headers", "default_headers")):
            if name in options and other not in options:
                client._options.pop(other, None)  # type: ignore[misc]  # the names are literals of the tuple above
            elif other in options and name not in options:
                client._options.pop(name, None)  # type: ignore[misc]
        client._pool = self._pool
        client._budget = self._budget
        client._limits = self._limits
        if api_key is not None or not {"base_url", "limits"}.isdisjoint(options):
            client._limits = ModelLimits(check_limits(client._options.get("limits")))
        client._apply()
        return client

    async def aclose(self) -> None:
        """End what is under way and close the connections of the running loop; further calls raise ClosedError.

        Streams and calls that are waited for raise ClosedError, those of other loops at their next turn.
        """
        await self._pool.aclose()

    async def close(self) -> None:
        """`aclose()`, as the openai package names it."""
        await self.aclose()

    def abort(self) -> None:
        """`aclose()` for callers that can't await: from any thread, and from the handler of a signal.

        Each loop ends what it has under way at its next turn, and closes its connections as it ends itself.
        """
        self._pool.abort()

    @property
    def api_key(self) -> str:
        """The key that requests are sent with; its repr is masked. `with_options(api_key=…)` takes another."""
        return self._site.secret

    @property
    def limits(self) -> Mapping[str, LimitState]:
        """How each model fares that has limits, or that `map` has called: `client.limits["org/model"]`."""
        return self._limits

    @property
    def connections(self) -> Connections | None:
        """How many connections are in use, and how many calls wait for one; None where the session is borrowed."""
        return self._pool.connections()

    @property
    def is_closed(self) -> bool:
        """Whether `aclose()` was called."""
        return self._pool.closed

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        # A traceback may show a client whose making failed.
        pool: SessionPool | None = getattr(self, "_pool", None)
        return f"<AsyncSiliconFlow {self.base_url}{' closed' if pool is not None and pool.closed else ''}>"

    def __copy__(self) -> Self:
        return self.with_options()

    def __deepcopy__(self, memo: object) -> Self:
        return self.with_options()

    def __reduce__(self) -> tuple[Any, ...]:
        # No key or password travels: the other side has its own environment. Nor do sockets, TLS contexts, observers.
        options: dict[str, Any] = {
            name: value for name, value in self._options.items() if name not in ("session", "ssl", "observers")
        }
        for name in ("headers", "default_headers"):
            given = options.get(name)
            if isinstance(given, Mapping):
                options[name] = {key: value for key, value in given.items() if not isinstance(value, Secret)}
        if "proxy" in options:
            options["proxy"] = self._site.proxy
        return functools.partial(type(self), **options), ()


def _kept(options: ClientOptions) -> ClientOptions:
    """Return options that copies of the client can be made from: what is read once is listed."""
    observers = options.get("observers")
    return {**options, "observers": list(observers)} if isinstance(observers, Iterable) else options


def _check_pool_options(options: ClientOptions) -> None:
    context = options.get("ssl")
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise ConfigurationError(f"ssl must be an ssl.SSLContext or None, not {context!r}: TLS is always verified")
    if options.get("session") is not None and (context is not None or "max_connections" in options):
        raise ConfigurationError("session= brings its own connections: ssl= and max_connections= go with it, not here")


def _site(api_key: str | None, options: ClientOptions) -> Site:
    key = find_key(api_key)
    base_url = parse_base_url(options.get("base_url"))
    proxy_for = functools.partial(find_proxy, options.get("proxy"), trust_env=options.get("trust_env", True))
    proxy = proxy_for(base_url)
    return Site(
        base_url=base_url,
        proxy=proxy and proxy.url,
        proxy_headers=proxy and proxy.headers,
        other_site=other_site(base_url),
        secret=key,
        proxy_for=proxy_for,
    )


def _headers(key: str, options: ClientOptions) -> dict[str, str]:
    headers: dict[str, str] = {
        "Authorization": Secret(f"Bearer {key}"),
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json",
        # Compression would only hold tokens back.
        "Accept-Encoding": "identity",
        "User-Agent": f"siliconflow-async/{__version__}",
    }
    headers = replace_headers(headers, options.get("default_headers"))
    return replace_headers(headers, options.get("headers"))


def _timeouts(options: ClientOptions) -> Timeouts:
    timeouts = options.get("timeouts", Timeouts())
    if not isinstance(timeouts, Timeouts):
        raise ConfigurationError(f"timeouts must be a Timeouts, not {timeouts!r}; timeout= takes seconds")
    return as_timeouts(options["timeout"], timeouts) if "timeout" in options else timeouts


def _retry(options: ClientOptions) -> RetryPolicy:
    retry = options.get("retry", RetryPolicy())
    if not isinstance(retry, RetryPolicy):
        raise ConfigurationError(f"retry must be a RetryPolicy, not {retry!r}; max_retries= takes a number")
    if "max_retries" not in options:
        return retry
    retries = options["max_retries"]
    if not is_count(retries, 0):
        raise ConfigurationError(f"max_retries must be an integer >= 0, not {retries!r}")
    return msgspec.structs.replace(retry, max_attempts=retries + 1)


def _positive(value: int, name: str) -> int:
    if not is_count(value, 1):
        raise ConfigurationError(f"{name} must be an integer >= 1, not {value!r}")
    return value
