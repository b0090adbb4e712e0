"""Refused requests: each row of the service's error table, recorded forms of bodies, and Retry-After."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async import errors
from siliconflow_async.wire.codes import status_of_code
from siliconflow_async.wire.failures import (
    MAX_ERROR_BODY,
    error_in,
    retry_after,
    status_error,
    stream_error,
    value_of,
)

from .build import Json, dump

TRACE = {"x-siliconcloud-trace-id": "ti_abc"}


def envelope(code: int | str, message: str = "No.") -> bytes:
    return dump({"code": code, "message": message, "data": None})


# The service's error table: HTTP status, codes, class. A bare string is the other form of 401, 403, 404 and 504.
TABLE: list[tuple[int, list[int], type[errors.APIStatusError]]] = [
    (
        400,
        [
            *range(20011, 20021),
            *range(20022, 20042),
            20044,
            *range(20046, 20051),
            *range(20052, 20063),
            *range(20064, 20091),
        ],
        errors.BadRequestError,
    ),
    (401, [30014], errors.AuthenticationError),
    (402, [30001], errors.InsufficientBalanceError),
    (403, [30000, *range(30002, 30014), 20051], errors.PermissionDeniedError),
    (404, [20063], errors.NotFoundError),
    (413, [20042, 20043, 20045], errors.PayloadTooLargeError),
    (429, [50601, 50602, 50604, 50605, 50606, 50607, 50608], errors.RateLimitError),
    (451, [20021], errors.ContentFlaggedError),
    (500, [50500, 50502, 50503, 50507, 50510, 60000], errors.ServerError),
    (503, [50505, 50508, 50603], errors.OverloadedError),
    (504, [50501, 50504, 50506, 50509], errors.GatewayTimeoutError),
]
ROWS = [(status, code, error) for status, codes, error in TABLE for code in codes]


@pytest.mark.parametrize(("status", "code", "error_class"), ROWS)
def test_each_code_of_the_table_has_its_class(status: int, code: int, error_class: type[errors.APIStatusError]) -> None:
    """A code gives its class with its HTTP status, and under 200, as a number and as a string of digits."""
    for http in (status, 200):
        for sent in (code, str(code)):
            error = status_error(http, envelope(sent, "It says no."), TRACE)
            assert type(error) is error_class
            assert error.status == error.status_code == http
            assert error.code == sent
            assert error.message == "It says no."
            assert error.trace_id == error.request_id == "ti_abc"
            assert error.retry_after is None
            assert error.body == envelope(sent, "It says no.").decode()
    assert status_of_code(code) == status_of_code(str(code)) == status


@pytest.mark.parametrize(
    ("status", "error_class"),
    [
        (400, errors.BadRequestError),
        (401, errors.AuthenticationError),
        (402, errors.InsufficientBalanceError),
        (403, errors.PermissionDeniedError),
        (404, errors.NotFoundError),
        (405, errors.BadRequestError),
        (408, errors.ServerError),
        (409, errors.BadRequestError),
        (410, errors.BadRequestError),
        (413, errors.PayloadTooLargeError),
        (418, errors.BadRequestError),
        (422, errors.BadRequestError),
        (429, errors.RateLimitError),
        (451, errors.ContentFlaggedError),
        (500, errors.ServerError),
        (501, errors.ServerError),
        (502, errors.ServerError),
        (503, errors.OverloadedError),
        (504, errors.GatewayTimeoutError),
        (524, errors.GatewayTimeoutError),
        (598, errors.GatewayTimeoutError),
        *((status, errors.ServerError) for status in range(520, 524)),
        (599, errors.ServerError),
        (301, errors.APIStatusError),
        (307, errors.APIStatusError),
        (200, errors.APIStatusError),
        (600, errors.APIStatusError),
    ],
)
def test_each_status_has_its_class(status: int, error_class: type[errors.APIStatusError]) -> None:
    """Without a known code the class goes by the HTTP status, whatever the body is."""
    for body in (
        b"",
        b'"No."',
        b"<html></html>",
        b"{}",
        envelope(77777),
        b'{"error":{"message":"No.","code":"x"}}',
        b"\xff",
    ):
        error = status_error(status, body, {})
        assert type(error) is error_class
        assert error.trace_id is None


@pytest.mark.parametrize(
    ("status", "code", "error_class"),
    [
        (403, 30001, errors.InsufficientBalanceError),
        (401, 20012, errors.AuthenticationError),
        (400, 20012, errors.BadRequestError),
        (500, 50505, errors.OverloadedError),
        (502, 50504, errors.GatewayTimeoutError),
        (503, 50504, errors.OverloadedError),
        (429, 50505, errors.RateLimitError),
        (400, 50601, errors.BadRequestError),
        (200, 429, errors.RateLimitError),
        (200, 404, errors.NotFoundError),
    ],
)
def test_a_code_narrows_the_class_of_its_status(
    status: int, code: int, error_class: type[errors.APIStatusError]
) -> None:
    """The status decides; a code only chooses a subclass of it, but for the empty balance, which came as 403 too."""
    assert type(status_error(status, envelope(code), {})) is error_class


@pytest.mark.parametrize(
    "code",
    [None, 0, 1, 200, 399, 600, 20010, 20091, 50511, "", "x", "20015x", "２００１５", "-20015", "9" * 30, 10**30],
)
def test_other_codes_belong_to_no_status(code: int | str | None) -> None:
    """A code of neither the service's nor HTTP's says nothing about the status."""
    assert status_of_code(code) is None


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (b'{"code":20012,"message":"No such model.","data":null}', 20012, "No such model."),
        (b'{"code":30014,"data":null,"message":"Bad token."}', 30014, "Bad token."),
        (b'{"code":20015,"message":"","data":"Why not."}', 20015, "Why not."),
        (b'{"code":20015,"message":null,"data":"Why not."}', 20015, "Why not."),
        (b'{"message":"Details:TPM limit reached.","data":null}', None, "Details:TPM limit reached."),
        (b'"Invalid token"', None, "Invalid token"),
        (b'{"error":{"message":"No.","type":"t","param":null,"code":"c"}}', "c", "No."),
        (b'{"error":{"message":"No.","code":null},"request_id":"r"}', None, "No."),
        (b'{"error":{"code":400,"message":"No.","type":"t"}}', 400, "No."),
        (b'{"error":"No."}', None, "No."),
        (b'{"detail":"No."}', None, "No."),
        (b'{"detail":[{"loc":["body"],"msg":"No."}]}', None, '{"detail":[{"loc":["body"],"msg":"No."}]}'),
        (b'{"msg":"No.","code":5}', 5, "No."),
        (b'{"code":true,"message":"No."}', None, "No."),
        (b'{"code":[1],"message":"No."}', None, "No."),
        (b"<html><head>\n<TITLE> 504 Gateway Time-out</TITLE></head></html>", None, "504 Gateway Time-out"),
        (b"<html><body>No title.</body></html>", None, "<html><body>No title.</body></html>"),
        (b"404 page not found\n", None, "404 page not found"),
        (b"x" * 1000, None, "x" * 200),
        (b"[1]", None, "[1]"),
        (b"null", None, "null"),
        (b"{}", None, "{}"),
        (b"", None, ""),
        (b'"\xff\xe4"', None, "\ufffd\ufffd"),
        (b'{"code":1,"message":"a\\ud83d"}', 1, "a\ufffd"),
        (b"[" * 100_000, None, "[" * 200),
    ],
)
def test_code_and_message_are_found_in_every_form_of_body(body: bytes, code: int | str | None, message: str) -> None:
    """Envelopes, strings, error objects, HTML, text and nothing: code and message are read, the text is kept."""
    error = status_error(400, body, {})
    assert (error.code, error.message) == (code, message)
    assert error.body == body[:MAX_ERROR_BODY].decode("utf-8", "replace")


def test_the_body_is_kept_up_to_its_bound() -> None:
    """`body` holds at most 64 KiB, however long the answer was."""
    error = status_error(500, envelope(50507, "x" * 100_000), {})
    assert len(error.body) == 64 * 1024
    assert error.code == 50507


def test_headers_are_copied() -> None:
    """`headers` is the error's own dict."""
    error = status_error(500, b"", TRACE)
    assert error.headers == TRACE
    assert error.headers is not TRACE


@pytest.mark.parametrize("code", [30014, "30014"])
def test_a_key_of_the_other_site_is_hinted_at(code: int | str) -> None:
    """Code 30014 names the other site where the caller knows it."""
    error = status_error(401, envelope(code), {}, other_site="https://api.siliconflow.com/v1")
    assert "api.siliconflow.com" in str(error)
    assert status_error(401, envelope(code), {}).hint is None
    assert status_error(401, b'"No."', {}, other_site="https://api.siliconflow.com/v1").hint is None


@pytest.mark.parametrize(
    "words",
    [
        "The prompt (300030) has exceeded max_seq_len (98304) limit",
        "length of prompt_tokens (70000) must be less than max_seq_len (65536).",
        "number of input tokens (70000) has exceeded max_prompt_tokens (65536) limit.",
        "This model's maximum context length is 8192 tokens. However, you requested more.",
        "request (100 tokens) exceeds the available context size (64 tokens), try increasing it",
    ],
)
def test_a_context_overflow_is_known_by_its_words(words: str) -> None:
    """Every known wording of a context overflow is a ContextLengthError, by envelope and by error object."""
    for body in (envelope(20015, words), dump({"error": {"code": 400, "message": words, "type": "t"}})):
        assert type(status_error(400, body, {})) is errors.ContextLengthError
        assert type(status_error(200, body, {})) is errors.ContextLengthError
        assert type(status_error(500, body, {})) is not errors.ContextLengthError


def test_other_bad_requests_are_no_context_overflow() -> None:
    """A parameter that is refused is a plain BadRequestError."""
    assert (
        type(status_error(400, envelope(20015, "seed: Must be greater than or equal to 0"), {}))
        is errors.BadRequestError
    )


@pytest.mark.parametrize(
    ("body", "meter"),
    [
        (envelope(50601), "rpm"),
        (envelope(50602), "tpm"),
        (envelope(50604), "ipm"),
        (envelope(50605), "ipd"),
        (envelope(50606), "rpd"),
        (envelope(50607), "rph"),
        (envelope(50608), "rpd"),
        (envelope("50602"), "tpm"),
        (b'{"message":"Request was rejected due to rate limiting. Details:TPM limit reached.","data":null}', "tpm"),
        (b'{"message":"Details: TPD limit reached."}', "tpd"),
        (b'{"message":"details: rph limit"}', "rph"),
        (b'{"message":"Too many requests."}', None),
        (b"", None),
    ],
)
def test_a_rate_limit_names_its_meter(body: bytes, meter: str | None) -> None:
    """The meter is known by the code, else by the words, else it is None; pickling keeps it."""
    error = status_error(429, body, {})
    assert isinstance(error, errors.RateLimitError)
    assert error.meter == meter
    assert pickle.loads(pickle.dumps(error)).meter == meter


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "7"}, 7.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "Sunday, 06-Nov-94 08:49:37 GMT"}, 0.0),
        ({"retry-after": "Sun Nov  6 08:49:37 1994"}, 0.0),
        *(
            ({"retry-after": rubbish}, None)
            for rubbish in (
                *(
                    "",
                    " ",
                    "nan",
                    "NaN",
                    "inf",
                    "-inf",
                    "infinity",
                    "-1",
                    "-0.5",
                    "1" + "0" * 35,
                    "1e35",
                    "1e400",
                    "1_000",
                ),
                *(
                    "７",
                    "5s",
                    "0x10",
                    "soon",
                    "1,5",
                    "5; 6",
                    "Wed, 99 Foo 2015 07:28:00 GMT",
                    "Mon, 32 Jan 2040 00:00:00 GMT",
                ),
                *(
                    "Thu, 1 Jan 99999999999999999999 0:0:0 GMT",
                    "Thu, 1 Jan 2020 0:0:0 +99999999999999999",
                    "2040-01-01T00:00:00Z",
                ),
            )
        ),
    ],
)
def test_retry_after_is_read_or_ignored(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, milliseconds and past dates are read; what is neither is ignored."""
    assert retry_after(headers) == seconds
    assert status_error(429, b"", headers).retry_after == seconds


@pytest.fixture
def far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC-8")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("far_from_greenwich")
@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=8)), None])
def test_retry_after_may_be_a_date_to_come(zone: timezone | None) -> None:
    """A date gives the seconds until then; without a zone it is GMT, wherever the machine stands."""
    then = datetime.now(UTC) + timedelta(seconds=60)
    value = then.strftime("%a %b %d %H:%M:%S %Y") if zone is None else format_datetime(then.astimezone(zone))
    seconds = retry_after({"retry-after": value})
    assert seconds is not None
    assert 50 < seconds <= 60


@pytest.mark.parametrize("skew", [-3600, 0, 3600], ids=["slow", "right", "fast"])
@pytest.mark.parametrize("zone", [UTC, None])
def test_a_retry_after_date_is_read_against_the_answers_own(skew: int, zone: timezone | None) -> None:
    """Whatever our clock says, it asks for the seconds from the answer's `Date` on."""
    then = datetime.now(UTC) + timedelta(seconds=skew)

    def written(moment: datetime) -> str:
        return moment.strftime("%a %b %d %H:%M:%S %Y") if zone is None else format_datetime(moment, usegmt=True)

    later = written(then + timedelta(seconds=7))
    assert retry_after({"retry-after": later, "date": written(then)}) == 7
    assert retry_after({"retry-after": written(then - timedelta(seconds=7)), "date": written(then)}) == 0


def test_a_date_that_is_none_leaves_the_local_clock() -> None:
    """An answer's `Date` that can't be read is as good as none."""
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    seconds = retry_after({"retry-after": later, "date": "yesterday"})
    assert seconds is not None
    assert 50 < seconds <= 60


@given(
    st.one_of(
        st.text(max_size=30),
        st.from_regex(r"\A\w{3}, ?\d+ (Jan|Feb) \d+ \d+:\d+:\d+ ?([+-]\d+|GMT)?\Z", fullmatch=True),
    )
)
def test_no_retry_after_raises(value: str) -> None:
    """Whatever stands in the header, it is a number of seconds or None."""
    for name in ("retry-after", "retry-after-ms"):
        seconds = retry_after({name: value})
        assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"choices": [{"index": 0}], "code": 5, "message": "x"}, None),
        ({"choices": []}, None),
        ({"code": 0, "message": "ok"}, None),
        ({"code": 20000, "message": "ok", "data": {}}, None),
        ({"code": "0"}, None),
        ({"error": None, "message": ""}, None),
        ({"error": {}}, None),
        ({"error": False}, None),
        ({"error": ""}, None),
        ({"message": 5}, None),
        ({"detail": "x"}, None),
        ([], None),
        ("x", None),
        (None, None),
        ({"error": [1]}, (None, "[1]")),
        ({"code": 5}, (5, "")),
        ({"choices": [{"index": 0}], "error": {"message": "x"}}, (None, "x")),
    ],
)
def test_what_is_an_error_object(value: Json, found: tuple[int | str | None, str] | None) -> None:
    """An `error`, or code and message without choices, make an error; a code that means success does not."""
    assert error_in(value) == found


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (errors.APIConnectionError(), True),
        (errors.APIConnectionError(transient=False), True),
        *[(errors.APITimeoutError(clock=clock), True) for clock in get_args(errors.Clock)],
        (errors.TruncatedStreamError(), True),
        (errors.MalformedStreamError(), True),
        (errors.EventTooLargeError(), False),
        (errors.StreamAPIError("of no code"), True),
        (stream_error({"code": 50505, "message": "No."}), True),
        (stream_error({"code": "503", "message": "No."}), True),
        (stream_error({"code": 429, "message": "No."}), True),
        (stream_error({"code": 20021, "message": "No."}), False),
        (stream_error({"code": 30001, "message": "No."}), False),
        *[(status_error(status, b"", {}), True) for status in (408, 421, 425, 429, 500, 502, 503, 504, 524, 598, 599)],
        *[(status_error(status, b"", {}), False) for status in (307, 400, 401, 402, 403, 404, 413, 422, 451)],
        *[(status_error(200, envelope(code), {}), True) for code in (50603, 50505)],
        (status_error(200, envelope(20015), {}), False),
        (errors.InvalidRequestError(), False),
        (errors.ConfigurationError(), False),
        (errors.ParseError(), False),
    ],
    ids=repr,
)
def test_what_may_fare_better_later(error: errors.SiliconFlowError, passing: bool) -> None:
    """What failed for want of the service passes; what was refused for the request or the account does not."""
    assert error.passing is passing


@pytest.mark.parametrize(
    "words", ["no " * 100_000, ["no"] * 100_000, {"message": "é" * 100_000}], ids=["text", "list", "object"]
)
def test_no_more_of_an_error_s_words_is_kept_than_of_its_body(words: Any) -> None:
    """64 KiB, whatever the server had to say."""
    value = {"error": words}
    for message in (status_error(200, dump(value), {}).message, stream_error(value).message):
        assert 60 * 1024 < len(message.encode()) <= 64 * 1024


@pytest.mark.parametrize("error", [{"message": "no", "code": 50505}, "no"], ids=["object", "text"])
def test_an_error_is_seen_beside_what_is_too_heavy(error: Any) -> None:
    """What an error tells is read, though nothing else of such an object is."""
    many = b",".join([b"{}"] * 500_000)
    value = value_of(b'{"choices":[%s],"code":50505,"error":%s}' % (many, dump(error)))
    assert error_in(value) == (50505, "no")
    with pytest.raises(ValueError, match="of memory"):
        value_of(b'{"choices":[%s],"error":null}' % many)
