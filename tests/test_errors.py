"""The exception tree: as its module's docstring draws it, in words that help, and whole after pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from collections.abc import Callable

import pytest

from siliconflow_async import errors
from siliconflow_async.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    BusyError,
    ClosedError,
    ConfigurationError,
    ContextLengthError,
    EventTooLargeError,
    InvalidRequestError,
    ParseError,
    RateLimitError,
    ServerError,
    SiliconFlowError,
    StreamAPIError,
    StreamError,
    ToolRoundsError,
    TruncatedStreamError,
    VideoError,
)
from siliconflow_async.wire.structs import AssistantMessage, ChatCompletion, Choice, Timing, Usage

CLASSES = {
    name: value for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)
}
PARTIAL = ChatCompletion(
    id="x",
    choices=[Choice(message=AssistantMessage(content="Hel"))],
    usage=Usage(1, 2, 3),
)
PARTIAL.trace_id, PARTIAL.headers, PARTIAL.timing = "ti_1", {"a": "b"}, Timing(0.1, 0.2)
TRACE = {"x-siliconcloud-trace-id": "ti_1"}


def drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Read the docstring's drawing: each class with its parent, and its base among Python's own exceptions."""
    tree: dict[str, tuple[str, str | None]] = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"([│ ├└─]*)(\w+Error)\b *(?:\((\w+)\))?", line)
        if match:
            depth = len(match[1]) // 3
            above[depth:] = [match[2]]
            tree[match[2]] = (above[depth - 1] if depth else "Exception", match[3])
    return tree


def test_the_tree_is_as_the_docstring_draws_it() -> None:
    """Every class is drawn once, under its parent, with the base that it shares with Python's exceptions."""
    tree = drawn_tree()
    assert tree.keys() == CLASSES.keys()
    for name, (parent, foreign) in tree.items():
        bases = [base.__name__ for base in CLASSES[name].__bases__]
        assert bases == [parent, *([foreign] if foreign else [])], name


def test_the_tree_is_the_one_that_users_count_on() -> None:
    """The drawing itself is pinned: names and parents are a promise."""
    assert {name: parent for name, (parent, _) in drawn_tree().items()} == {
        "SiliconFlowError": "Exception",
        "ConfigurationError": "SiliconFlowError",
        "InvalidRequestError": "SiliconFlowError",
        "LimitsUnavailableError": "SiliconFlowError",
        "ClosedError": "SiliconFlowError",
        "BusyError": "SiliconFlowError",
        "APIConnectionError": "SiliconFlowError",
        "APITimeoutError": "APIConnectionError",
        "APIStatusError": "SiliconFlowError",
        "BadRequestError": "APIStatusError",
        "ContextLengthError": "BadRequestError",
        "AuthenticationError": "APIStatusError",
        "InsufficientBalanceError": "APIStatusError",
        "PermissionDeniedError": "APIStatusError",
        "NotFoundError": "APIStatusError",
        "PayloadTooLargeError": "APIStatusError",
        "ContentFlaggedError": "APIStatusError",
        "RateLimitError": "APIStatusError",
        "ServerError": "APIStatusError",
        "OverloadedError": "ServerError",
        "GatewayTimeoutError": "ServerError",
        "StreamError": "SiliconFlowError",
        "TruncatedStreamError": "StreamError",
        "StreamAPIError": "StreamError",
        "MalformedStreamError": "StreamError",
        "EventTooLargeError": "StreamError",
        "VideoError": "SiliconFlowError",
        "ParseError": "SiliconFlowError",
        "ToolRoundsError": "SiliconFlowError",
    }


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (ConfigurationError, ValueError),
        (InvalidRequestError, ValueError),
        (ClosedError, RuntimeError),
        (BusyError, RuntimeError),
        (APITimeoutError, TimeoutError),
    ],
)
def test_some_are_pythons_own_exceptions_too(error: type[SiliconFlowError], base: type[Exception]) -> None:
    """`except ValueError`, `RuntimeError` and `TimeoutError` catch what they should."""
    with pytest.raises(base):
        raise error("no")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (SiliconFlowError(), ""),
        (ConfigurationError("no key"), "no key"),
        (InvalidRequestError("no such parameter", param="tempo"), "no such parameter"),
        (APIConnectionError("refused"), "refused"),
        (APITimeoutError(), "the total limit ran out"),
        (APITimeoutError(clock="idle", seconds=300), "the idle limit of 300 s ran out"),
        (APITimeoutError(clock="connect", seconds=0.25), "the connect limit of 0.25 s ran out"),
        (APITimeoutError("too slow", clock="idle"), "too slow"),
        (APIStatusError(status=500), "HTTP 500: no message"),
        (BadRequestError("No.", status=400, code=20015), "HTTP 400, code 20015: No."),
        (RateLimitError("No.", status=429, code="slow", headers=TRACE), "HTTP 429, code slow: No. [trace id ti_1]"),
        (APIStatusError("No.", status=401, hint="other site"), "HTTP 401: No. (other site)"),
        (StreamAPIError("No."), "No."),
        (StreamAPIError("No.", code=50505), "code 50505: No."),
        (StreamAPIError(code=0), "code 0: no message"),
        (StreamAPIError(), "no message"),
        (TruncatedStreamError("cut off"), "cut off"),
        (ParseError("no fit"), "no fit"),
    ],
)
def test_an_error_says_what_happened(error: SiliconFlowError, text: str) -> None:
    """`str()` holds the words, the status, the code, the limit and the trace id, where there are any."""
    assert str(error) == text


@pytest.mark.parametrize(
    "error", [APIConnectionError("refused"), APITimeoutError(clock="connect", seconds=1), ServerError("no", status=500)]
)
def test_an_error_that_was_not_repeated_for_want_of_budget_says_so(error: SiliconFlowError) -> None:
    """Its own words come first and stay as they are; a pickle tells it too."""
    assert not error.budget_spent
    words, message = str(error), error.message
    error.budget_spent = True
    for told in (error, pickle.loads(pickle.dumps(error))):
        assert str(told) == f"{words} (not repeated: the client's retry budget is spent)"
        assert (told.message, told.budget_spent) == (message, True)


FULL: list[Callable[[], SiliconFlowError]] = [
    lambda: SiliconFlowError("no"),
    lambda: ConfigurationError("no"),
    lambda: InvalidRequestError("no", param="n"),
    lambda: ClosedError("no"),
    lambda: APIConnectionError("no"),
    lambda: APITimeoutError("no", clock="idle", seconds=1.5, partial=PARTIAL, trace_id="ti_1"),
    lambda: APITimeoutError(clock="connect", seconds=2),
    lambda: ContextLengthError("no", status=400, code=20015, body="{}", headers=TRACE, retry_after=1.5, hint="h"),
    lambda: ServerError("no", status=500),
    lambda: StreamAPIError("no", code="c", partial=PARTIAL, trace_id="ti_1"),
    lambda: EventTooLargeError("no", partial=PARTIAL, trace_id="ti_1"),
    lambda: ParseError("no", completion=PARTIAL),
    lambda: VideoError(reason="no", id="v", trace_id="t"),
    lambda: ToolRoundsError("no", messages=({"role": "user", "content": "x"},)),
]


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("build", FULL)
def test_a_pickle_keeps_every_field(
    build: Callable[[], SiliconFlowError], again: Callable[[SiliconFlowError], SiliconFlowError]
) -> None:
    """An error that crosses a process keeps its class, words, attempts and all it carries."""
    error = build()
    error.attempts = 3
    twin = again(error)
    assert type(twin) is type(error)
    assert str(twin) == str(error)
    assert vars(twin) == vars(error)
    assert twin.attempts == 3


@pytest.mark.parametrize("name", CLASSES)
def test_every_class_can_be_made_of_its_words_alone(name: str) -> None:
    """Users raise them in tests of their own: a message is enough, and nothing is; a pickle comes back."""
    for error in (CLASSES[name](), CLASSES[name]("no")):
        assert isinstance(str(error), str)
        assert error.attempts == 0
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert CLASSES[name]("no").message == "no"
    assert CLASSES[name].__doc__


def test_status_errors_have_openais_names_too() -> None:
    """`status_code` and `request_id` are `status` and `trace_id`."""
    error = BadRequestError("no", status=400, headers=TRACE)
    assert (error.status_code, error.request_id, error.trace_id) == (400, "ti_1", "ti_1")
    assert APIStatusError().trace_id is None
    assert APIStatusError().headers == {}
    assert RateLimitError().meter is None


def test_stream_errors_keep_what_had_arrived() -> None:
    """`partial`, its usage and the trace id are at hand; without a partial there is no usage."""
    error = TruncatedStreamError("no", partial=PARTIAL, trace_id="ti_1")
    assert error.partial is PARTIAL
    assert error.usage is not None
    assert error.usage.total_tokens == 3
    assert (error.trace_id, error.request_id) == ("ti_1", "ti_1")
    assert StreamError().usage is None
    assert StreamError().request_id is None


def test_repr_says_what_str_says() -> None:
    """An exception whose words are built from its fields shows them in a log of its repr too."""
    assert repr(APITimeoutError(clock="idle", seconds=3)) == "APITimeoutError('the idle limit of 3 s ran out')"
