"""The service's error table, end to end: what each refusal becomes, and how often the request was made."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from siliconflow_async import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentFlaggedError,
    ContextLengthError,
    GatewayTimeoutError,
    InsufficientBalanceError,
    MalformedStreamError,
    NotFoundError,
    OverloadedError,
    PayloadTooLargeError,
    PermissionDeniedError,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SiliconFlowError,
    StreamAPIError,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin, sse

from ..asking import ASK, DONE, NO_WAIT, chunk, served

pytestmark = pytest.mark.anyio

# Requests that a call makes at most.
ONCE, TWICE, THRICE, ALL = 1, 2, 3, NO_WAIT.max_attempts
HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1></body></html>"


def house(code: int | str | None, message: str = "No.", data: object = None) -> dict[str, Any]:
    """The service's own envelope; without `code` where that is None."""
    body = {"code": code, "message": message, "data": data}
    return {key: value for key, value in body.items() if key != "code" or value is not None}


def openai(code: int | str | None, message: str = "No.") -> dict[str, Any]:
    """The envelope of OpenAI's service and of many compatible ones."""
    return {"error": {"message": message, "type": "error", "param": None, "code": code}}


# status, body, class, code, message, requests
ROWS: list[tuple[int, Any, type[APIStatusError], int | str | None, str, int]] = [
    (400, house(20011), BadRequestError, 20011, "No.", ONCE),
    (400, house(20012, "Model does not exist."), BadRequestError, 20012, "Model does not exist.", ONCE),
    (400, house(20015, data="details"), BadRequestError, 20015, "No.", ONCE),
    (400, house(20041), BadRequestError, 20041, "No.", ONCE),
    (400, house(20090), BadRequestError, 20090, "No.", ONCE),
    (400, house(20015, "input has exceeded max_seq_len (8) limit"), ContextLengthError, 20015, "input…limit", ONCE),
    (
        400,
        house(20015, "length of prompt_tokens (9) must be less than max_seq_len (8)"),
        ContextLengthError,
        20015,
        "…",
        1,
    ),
    (400, house(20015, "input tokens (9) has exceeded max_prompt_tokens (8) limit"), ContextLengthError, 20015, "…", 1),
    (400, house(20015, "This model's maximum context length is 8 tokens"), ContextLengthError, 20015, "…", ONCE),
    (400, openai(400, "the request exceeds the available context size"), ContextLengthError, 400, "the…size", ONCE),
    (401, "Invalid token", AuthenticationError, None, "Invalid token", ONCE),
    (401, house(30014), AuthenticationError, 30014, "No.", ONCE),
    (401, house(20012), AuthenticationError, 20012, "No.", ONCE),
    (401, openai("invalid_api_key"), AuthenticationError, "invalid_api_key", "No.", ONCE),
    (402, house(30001), InsufficientBalanceError, 30001, "No.", ONCE),
    (403, house(30001), InsufficientBalanceError, 30001, "No.", ONCE),
    (403, house(30000), PermissionDeniedError, 30000, "No.", ONCE),
    (403, house(30003, "Model disabled."), PermissionDeniedError, 30003, "Model disabled.", ONCE),
    (403, house(30005), PermissionDeniedError, 30005, "No.", ONCE),
    (403, house(30013), PermissionDeniedError, 30013, "No.", ONCE),
    (403, house(20051), PermissionDeniedError, 20051, "No.", ONCE),
    (403, "Forbidden", PermissionDeniedError, None, "Forbidden", ONCE),
    (404, house(20063), NotFoundError, 20063, "No.", ONCE),
    (404, "404 page not found", NotFoundError, None, "404 page not found", ONCE),
    (413, house(20042), PayloadTooLargeError, 20042, "No.", ONCE),
    (413, house(20043), PayloadTooLargeError, 20043, "No.", ONCE),
    (413, house(20045), PayloadTooLargeError, 20045, "No.", ONCE),
    (413, HTML, PayloadTooLargeError, None, "502 Bad Gateway", ONCE),
    (451, house(20021), ContentFlaggedError, 20021, "No.", ONCE),
    (500, house(50500), ServerError, 50500, "No.", THRICE),
    (500, house(50507, "Unknown error."), ServerError, 50507, "Unknown error.", THRICE),
    (500, house(60000), ServerError, 60000, "No.", THRICE),
    (500, b"", ServerError, None, "", THRICE),
    (503, house(50505), OverloadedError, 50505, "No.", ALL),
    (503, house(50508), OverloadedError, 50508, "No.", ALL),
    (503, house(50603), OverloadedError, 50603, "No.", ALL),
    (503, HTML, OverloadedError, None, "502 Bad Gateway", ALL),
    (504, house(50501), GatewayTimeoutError, 50501, "No.", TWICE),
    (504, house(50509), GatewayTimeoutError, 50509, "No.", TWICE),
    (504, "Gateway Timeout", GatewayTimeoutError, None, "Gateway Timeout", TWICE),
    (504, HTML, GatewayTimeoutError, None, "502 Bad Gateway", TWICE),
    (408, b"", ServerError, None, "", THRICE),
    (502, HTML, ServerError, None, "502 Bad Gateway", THRICE),
    (520, b"", ServerError, None, "", THRICE),
    (524, HTML, GatewayTimeoutError, None, "502 Bad Gateway", TWICE),
    (598, b"", GatewayTimeoutError, None, "", TWICE),
    (599, b"", ServerError, None, "", THRICE),
    (421, b"", BadRequestError, None, "", TWICE),
    (425, b"", BadRequestError, None, "", TWICE),
    (409, house(None), BadRequestError, None, "No.", ONCE),
    (410, b"gone", BadRequestError, None, "gone", ONCE),
    (422, openai(None), BadRequestError, None, "No.", ONCE),
    (418, b"", BadRequestError, None, "", ONCE),
    (307, b"", APIStatusError, None, "", ONCE),
]


@pytest.mark.parametrize(
    ("status", "body", "error_class", "code", "message", "requests"),
    ROWS,
    ids=[f"{row[0]}-{row[3]}-{row[2].__name__}-{at}" for at, row in enumerate(ROWS)],
)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_a_refusal_becomes_its_exception(
    status: int,
    body: Any,
    error_class: type[APIStatusError],
    code: int | str | None,
    message: str,
    requests: int,
    stream: bool,
) -> None:
    """Class, code, words and trace id are the service's; what another try may mend is tried so often and no more."""
    async with served() as (server, client):
        server.fail(status, body, times=None)
        with pytest.raises(APIStatusError) as caught:
            await client.chat.completions.create(stream=stream, **ASK)
        error = caught.value
        assert type(error) is error_class
        assert (error.status, error.status_code, error.code) == (status, status, code)
        start, _, end = message.partition("…")
        assert error.message.startswith(start)
        assert error.message.endswith(end) if end else "…" in message or error.message == message
        assert error.trace_id == error.request_id == server.requests[-1].trace_id
        assert error.body == (body.decode() if isinstance(body, bytes) else json.dumps(body, separators=(",", ":")))
        assert error.attempts == len(server.requests) == requests


@pytest.mark.parametrize(
    ("body", "meter", "requests"),
    [
        (house(50601), "rpm", ALL),
        (house(50602), "tpm", ALL),
        (house(50604), "ipm", ALL),
        (house(50605), "ipd", ONCE),
        (house(50606), "rpd", ONCE),
        (house(50607), "rph", ONCE),
        (house(50608), "rpd", ONCE),
        (house(None, "Request was rejected. Details:TPM limit reached."), "tpm", ALL),
        (house(None, "Request was rejected. Details:RPD limit reached."), "rpd", ONCE),
        (house(None, "Request was rejected."), None, ALL),
        (b"", None, ALL),
    ],
)
async def test_a_rate_limit_is_waited_for_by_the_minute_alone(body: Any, meter: str | None, requests: int) -> None:
    """A meter of the minute, or one that isn't told, is retried up to `max_attempts`; one of the hour or day is not."""
    async with served() as (server, client):
        server.fail(429, body, times=None)
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.meter == meter
        assert caught.value.attempts == len(server.requests) == requests


@pytest.mark.parametrize(
    ("headers", "retry_after", "requests"),
    [
        ({"Retry-After": "0"}, 0, TWICE),
        ({"Retry-After": "0.01"}, 0.01, TWICE),
        ({"Retry-After-Ms": "10"}, 0.01, TWICE),
        ({"Retry-After-Ms": "10", "Retry-After": "100"}, 0.01, TWICE),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0, TWICE),
        ({"Retry-After": "5.1"}, 5.1, ONCE),
        ({"Retry-After": "100"}, 100, ONCE),
        *(({"Retry-After": value}, None, TWICE) for value in ("nan", "inf", "1" + "0" * 35, "-1", "soon", "")),
    ],
    ids=str,
)
async def test_retry_after_is_kept_to(headers: dict[str, str], retry_after: float | None, requests: int) -> None:
    """Seconds, milliseconds and dates are waited for; beyond the cap the call fails at once; rubbish is ignored."""
    async with served(retry=RetryPolicy(base=0, cap=5, max_attempts=2)) as (server, client):
        server.fail(503, headers=headers, times=None)
        with pytest.raises(OverloadedError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.retry_after == retry_after
        assert len(server.requests) == requests


async def test_retry_after_may_be_a_date() -> None:
    """A date to come is as many seconds as there are until then."""
    async with served(retry=RetryPolicy(base=0, cap=5)) as (server, client):
        later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
        server.fail(503, headers={"Retry-After": later})
        with pytest.raises(OverloadedError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.retry_after == pytest.approx(3600, abs=60)
        assert len(server.requests) == 1


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    """Where the total clock would run out during the wait, the service's own error is raised at once."""
    async with served() as (server, client):
        server.fail(503, headers={"Retry-After": "30"})
        with pytest.raises(OverloadedError):
            await client.chat.completions.create(timeout=20, **ASK)
        assert len(server.requests) == 1


FRAMES = [
    pytest.param(sse(house(50505)), 50505, ALL, id="house 503"),
    pytest.param(sse(house(50602)), 50602, ALL, id="house minute"),
    pytest.param(sse(house(50507)), 50507, THRICE, id="house 500"),
    pytest.param(sse(house(50501)), 50501, TWICE, id="house 504"),
    pytest.param(sse(house(20015)), 20015, ONCE, id="house 400"),
    pytest.param(sse(house(50608)), 50608, ONCE, id="house day"),
    pytest.param(sse(house("50505")), "50505", ALL, id="digits"),
    pytest.param(sse(openai(503)), 503, ALL, id="openai 503"),
    pytest.param(sse(openai("overloaded")), "overloaded", ONCE, id="openai word"),
    pytest.param(sse({"choices": [], **openai(50505)}), 50505, ALL, id="beside choices"),
    pytest.param(b"event: error\n" + sse(house(50505)), 50505, ALL, id="event error"),
    pytest.param(b"event: error\n" + sse("No."), None, ONCE, id="event error of text"),
]


@pytest.mark.parametrize(("frame", "code", "requests"), FRAMES)
async def test_an_error_as_the_first_event_is_retried_by_its_code(
    frame: bytes, code: int | str | None, requests: int
) -> None:
    """Nothing has been given out yet, so a code that may pass is tried again as its status would be."""
    async with served() as (server, client):
        server.raw([frame], times=None)
        with pytest.raises(StreamAPIError) as caught:
            await client.chat.completions.create(stream=True, **ASK)
        assert (caught.value.code, caught.value.message) == (code, "No.")
        assert caught.value.trace_id == server.requests[-1].trace_id
        assert caught.value.attempts == len(server.requests) == requests


@pytest.mark.parametrize(
    ("end", "error_class"),
    [
        ([sse(house(50505)), DONE], StreamAPIError),
        ([b"data: {{{\n\n"], MalformedStreamError),
        ([Fin()], TruncatedStreamError),
        ([], TruncatedStreamError),
    ],
)
async def test_nothing_is_retried_after_the_first_chunk(end: list[Any], error_class: type[SiliconFlowError]) -> None:
    """Once a chunk was given out a failure is the caller's to handle, with what had come."""
    async with served() as (server, client):
        server.raw([chunk("Hel"), *end], times=None)
        async with client.chat.completions.stream(**ASK) as stream:
            with pytest.raises(error_class) as caught:
                await stream.completion()
        assert caught.value.partial.content == "Hel"  # type: ignore[attr-defined]
        assert caught.value.trace_id == server.requests[0].trace_id  # type: ignore[attr-defined]
        assert len(server.requests) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_empty_answer_is_asked_for_again(stream: bool) -> None:
    """200 without a body is no answer: it is retried, and in the end a truncated one."""
    async with served() as (server, client):
        server.fail(200, b"")
        await client.chat.completions.create(stream=stream, **ASK)
        assert len(server.requests) == 2
        server.reset()
        server.fail(200, b"", times=None)
        with pytest.raises(TruncatedStreamError):
            await client.chat.completions.create(stream=stream, **ASK)
        assert len(server.requests) == ALL


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("body", "error_class", "code", "requests"),
    [
        (house(50505), OverloadedError, 50505, ALL),
        (house(20015), BadRequestError, 20015, ONCE),
        (openai("rate"), APIStatusError, "rate", ONCE),
        (HTML, MalformedStreamError, None, ONCE),
        (b"[]", MalformedStreamError, None, ONCE),
        (b'"OK"', MalformedStreamError, None, ONCE),
        (b"{{{", MalformedStreamError, None, ONCE),
    ],
)
async def test_an_error_under_200_is_one(
    body: Any, error_class: type[SiliconFlowError], code: int | str | None, requests: int, stream: bool
) -> None:
    """An envelope counts by its code, anything else that is no answer as malformed; status 200 makes neither good."""
    async with served() as (server, client):
        server.fail(200, body, times=None)
        with pytest.raises(error_class) as caught:
            await client.chat.completions.create(stream=stream, **ASK)
        assert type(caught.value) is error_class
        assert getattr(caught.value, "code", None) == code
        assert caught.value.trace_id == server.requests[-1].trace_id  # type: ignore[attr-defined]
        assert caught.value.attempts == len(server.requests) == requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """The key would travel to wherever it points."""
    async with served() as (server, client):
        server.fail(status, b"", headers={"Location": f"{server.base_url}/elsewhere"})
        with pytest.raises(APIStatusError, match="redirects are never followed") as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.status == status
        assert [request.path for request in server.requests] == ["/v1/chat/completions"]


async def test_the_other_site_is_named_for_its_key() -> None:
    """Only a client of SiliconFlow's own sites names the other one; the stand-in has none."""
    async with served() as (server, client):
        server.fail(401, house(30014))
        with pytest.raises(AuthenticationError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.hint is None


async def test_an_error_body_that_quotes_the_key_is_masked() -> None:
    """Some gateways say which key they refuse."""
    async with served() as (server, client):
        server.fail(401, "Invalid token: test-key")
        with pytest.raises(AuthenticationError) as caught:
            await client.chat.completions.create(**ASK)
        assert (caught.value.message, caught.value.body) == ("Invalid token: ***", '"Invalid token: ***"')


async def test_a_retry_that_succeeds_gives_the_answer() -> None:
    """Failures before it leave no trace but a warning."""
    async with served() as (server, client):
        server.fail(503)
        server.fail(429)
        server.raw([sse(house(50505))])
        server.reply("At last.")
        async with client.chat.completions.stream(**ASK) as stream:
            assert (await stream.completion()).content == "At last."
        assert len(server.requests) == 4


async def test_a_dead_service_is_not_asked_many_times_over() -> None:
    """1,000 calls make at most 1,200 requests: a client's calls share one retry budget, its copies' too."""
    async with served() as (server, client):
        server.fail(503, times=None)
        for asked in [client, client.with_options(timeout=60)] * 500:
            with pytest.raises(OverloadedError):
                await asked.chat.completions.create(**ASK)
        assert 1_100 < len(server.requests) <= 1_200
