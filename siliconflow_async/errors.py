"""Every exception that this library raises.

SiliconFlowError                  .attempts: how often the request was sent
├─ ConfigurationError             (ValueError) no key, bad base_url, CR/LF in a header; nothing was sent
├─ InvalidRequestError            (ValueError) a parameter that can't be sent; nothing was sent
├─ LimitsUnavailableError         the store of limits that processes share can't be reached; nothing was sent
├─ ClosedError                    (RuntimeError) used after close
├─ BusyError                      (RuntimeError) two tasks read one stream
├─ APIConnectionError             could not connect, or the connection broke before the answer began
│   └─ APITimeoutError            (TimeoutError) .clock, .partial
├─ APIStatusError                 the service said no: .status .code .message .body .trace_id .retry_after
│   ├─ BadRequestError            400 and every other 4xx without a class of its own
│   │   └─ ContextLengthError     the prompt is longer than the model takes
│   ├─ AuthenticationError        401
│   ├─ InsufficientBalanceError   402, or code 30001
│   ├─ PermissionDeniedError      403
│   ├─ NotFoundError              404
│   ├─ PayloadTooLargeError       413
│   ├─ ContentFlaggedError        451
│   ├─ RateLimitError             429: .meter
│   └─ ServerError                5xx and 408
│       ├─ OverloadedError        503
│       └─ GatewayTimeoutError    504, 524, 598
├─ StreamError                    the answer went wrong after it began: .partial .usage .trace_id
│   ├─ TruncatedStreamError       it ended with neither finish_reason nor [DONE], or the body broke off
│   ├─ StreamAPIError             an error object inside the stream: .code .message
│   ├─ MalformedStreamError       not JSON, not an object, HTML, nested too deep, of too many parts
│   └─ EventTooLargeError         one event, or a whole body, above its limit
├─ VideoError                     the service could not make a video: .reason .id
├─ ParseError                     the answer does not fit the type asked for: .completion
└─ ToolRoundsError                the tool conversation hit its bound: .messages

No exception of aiohttp, msgspec, json or the Unicode codecs passes through; `asyncio.CancelledError` always does.
What went wrong underneath is in `__cause__`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import KW_ONLY

    from .wire.structs import ChatCompletion, Usage

# The response header by which SiliconFlow's support finds a request, in lower case as our headers are.
TRACE_ID = "x-siliconcloud-trace-id"

Clock: TypeAlias = Literal["pool", "connect", "first_token", "idle", "total"]
Stage: TypeAlias = Literal["local", "connect", "answer"]
T = TypeVar("T")


@dataclass_transform(eq_default=False)
def _fields(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Tell type checkers that the class is built from its fields; no real dataclass, which encoders would write out."""
    return lambda made: made


@_fields()
class SiliconFlowError(Exception):
    """Base of every exception of this library.

    `attempts` counts the requests that were made; `waited` are the seconds of an outage after which `map` gave up
    waiting for the service, None for all other errors. `refusal` is the HTTP status of a refusal: the answer's own, or
    the one that the service sends its code with; None where it did not refuse. `meter` names the rate limit that was
    reached ("rpm", "tpm", "ipm", "rph", "rpd", "tpd", "ipd"), `retry_after` are the seconds that the service asked to
    wait; None if it told neither. `budget_spent` tells that the call would have been repeated, had the client's calls
    before it left any of their retry budget.
    """

    message: str = ""
    _: KW_ONLY
    attempts: int = 0
    waited: float | None = None
    budget_spent: bool = False
    refusal: int | None = None
    meter: str | None = None
    retry_after: float | None = None
    _may_pass = False  # where nobody refused

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        for name, value in fields.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no {name}")
            setattr(self, name, value)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Set what follows from the fields."""

    @property
    def passing(self) -> bool:
        """Whether the same request may fare better later: nobody refused it for what it asks, or for who asks.

        So for the connection, be it the wrong one, the clocks, full meters, a service that fails, and answers that
        broke off or could not be read.
        """
        if self.refusal is None:
            return self._may_pass
        return self.refusal in (408, 421, 425, 429) or self.refusal >= 500

    def __str__(self) -> str:
        words = self._words()
        return f"{words} (not repeated: the client's retry budget is spent)" if self.budget_spent else words

    def _words(self) -> str:
        return self.message

    @property
    def request_id(self) -> str | None:
        """`trace_id`, as the openai package names it; None for an error that has none."""
        return getattr(self, "trace_id", None)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"


class ConfigurationError(SiliconFlowError, ValueError):
    """The client cannot work as it was set up; nothing was sent."""


@_fields(kw_only=True)
class InvalidRequestError(SiliconFlowError, ValueError):
    """A parameter that can't be sent, named in `param`; nothing was sent."""

    param: str | None = None


class LimitsUnavailableError(SiliconFlowError):
    """The store of limits that processes share can't be reached, and calls go on with none else; nothing was sent."""

    _may_pass = True


class ClosedError(SiliconFlowError, RuntimeError):
    """The client or stream was used after it had been closed."""


class BusyError(SiliconFlowError, RuntimeError):
    """Another task is already waiting for this stream."""


@_fields(kw_only=True)
class APIConnectionError(SiliconFlowError):
    """Could not connect, or the connection broke before the answer began; also of a proxy that refuses the tunnel.

    `transient` says whether another attempt may fare better: not where a certificate is refused. `stage` says how far
    this one came: "local" if this machine could not even try (too many open files, no free port, no name server that
    answers), "connect" if there was no connection, "answer" if the service may have begun its work.
    """

    transient: bool = True
    stage: Stage = "answer"
    _may_pass = True


@_fields(kw_only=True)
class APITimeoutError(APIConnectionError, TimeoutError):
    """One of the five clocks ran out.

    `clock` is "pool", "connect", "first_token", "idle" or "total", `seconds` its limit, `partial` what had arrived by
    then (None if nothing had, and for whole answers). "pool" says that all of the client's connections were in use, for
    the whole of the limit: it is not repeated, since whatever holds them most likely goes on to.
    """

    clock: Clock = "total"
    seconds: float | None = None
    partial: ChatCompletion | None = None
    trace_id: str | None = None

    def __post_init__(self) -> None:
        self.stage = "local" if self.clock == "pool" else "connect" if self.clock == "connect" else "answer"

    def _words(self) -> str:
        limit = "" if self.seconds is None else f" of {self.seconds:g} s"
        why = ": all connections of the client were in use" if self.clock == "pool" else ""
        return self.message or f"the {self.clock} limit{limit} ran out{why}"


@_fields(kw_only=True)
class APIStatusError(SiliconFlowError):
    """The service refused the request.

    `status` is the HTTP status, `code` the service's own code where it sent one, `message` its words, `body` the start
    of the answer as it came (at most 64 KiB), `headers` its headers with lower-case names, `trace_id` what
    SiliconFlow's support asks for.
    """

    status: int = 0
    code: int | str | None = None
    body: str = ""
    headers: dict[str, str] = {}
    hint: str | None = None

    def __post_init__(self) -> None:
        # Its own, also where none were given.
        self.headers = dict(self.headers)
        if self.status >= 400:
            self.refusal = self.status

    @property
    def trace_id(self) -> str | None:
        return self.headers.get(TRACE_ID)

    @property
    def status_code(self) -> int:
        """`status`, as the openai package names it."""
        return self.status

    def _words(self) -> str:
        code = "" if self.code is None else f", code {self.code}"
        text = f"HTTP {self.status}{code}: {self.message or 'no message'}"
        if self.hint:
            text += f" ({self.hint})"
        if self.trace_id:
            text += f" [trace id {self.trace_id}]"
        return text


class BadRequestError(APIStatusError):
    """400: the service does not accept the request as it stands."""


class ContextLengthError(BadRequestError):
    """The prompt is longer than the model's context."""


class AuthenticationError(APIStatusError):
    """401: the key is missing, wrong, or belongs to the other site (code 30014)."""


class InsufficientBalanceError(APIStatusError):
    """402 (403 before 2026), code 30001: the account has no balance."""


class PermissionDeniedError(APIStatusError):
    """403: the account may not use this model or this endpoint."""


class NotFoundError(APIStatusError):
    """404: no such path, or an expired task."""


class PayloadTooLargeError(APIStatusError):
    """413: the request is larger than the service takes."""


class ContentFlaggedError(APIStatusError):
    """451: the content was flagged."""


class RateLimitError(APIStatusError):
    """429: a rate limit; `meter` says which, if it was told."""


class ServerError(APIStatusError):
    """5xx, or 408: the service failed."""


class OverloadedError(ServerError):
    """503: the model is overloaded; try again later."""


class GatewayTimeoutError(ServerError):
    """504, 524, 598: the gateway gave up waiting; long answers want streaming."""


@_fields(kw_only=True)
class StreamError(SiliconFlowError):
    """The answer went wrong after it had begun.

    `partial` is the ChatCompletion of all that had arrived (None for whole answers), `trace_id` identifies the request.
    """

    partial: ChatCompletion | None = None
    trace_id: str | None = None
    _may_pass = True

    @property
    def usage(self) -> Usage | None:
        """The last usage that the service had reported before the error."""
        return self.partial.usage if self.partial is not None else None


@_fields(kw_only=True)
class TruncatedStreamError(StreamError):
    """The answer ended with neither a finish_reason nor `[DONE]`, or its body broke off.

    `empty` if nothing of it had come; `received` is how many bytes had, of a body that is no event stream.
    """

    empty: bool = False
    received: int | None = None


@_fields(kw_only=True)
class StreamAPIError(StreamError):
    """The service sent an error object inside the stream: `code` and `message` are its own."""

    code: int | str | None = None

    def _words(self) -> str:
        text = self.message or "no message"
        return text if self.code is None else f"code {self.code}: {text}"


class MalformedStreamError(StreamError):
    """What came is not a chat answer: not JSON, not an object, HTML, nested too deep, or of too many parts."""


class EventTooLargeError(StreamError):
    """One event, one line, or a whole body is larger than the client's limit."""

    _may_pass = False


@_fields(kw_only=True)
class VideoError(SiliconFlowError):
    """The service could not make a video; `reason` is its own word for why, `id` the video's, where it gave one."""

    reason: str | None = None
    id: str | None = None
    trace_id: str | None = None

    def _words(self) -> str:
        return self.message or f"the service could not make the video: {self.reason or 'it did not say why'}"


@_fields(kw_only=True)
class ParseError(SiliconFlowError):
    """The answer does not fit the type that was asked for; `completion` is the answer."""

    completion: ChatCompletion | None = None

    def __post_init__(self) -> None:
        self.attempts = 0 if self.completion is None else self.completion.timing.attempts or 0


@_fields(kw_only=True)
class ToolRoundsError(SiliconFlowError):
    """The tool conversation reached its bound; `messages` is the conversation so far."""

    messages: Sequence[Any] = ()

    def __post_init__(self) -> None:
        self.messages = list(self.messages)
