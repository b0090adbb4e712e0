"""This library's errors as openai's, and the way back."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from siliconflow_async import (
    APIConnectionError,
    ContextLengthError,
    InsufficientBalanceError,
    NotFoundError,
    RateLimitError,
    SiliconFlowError,
    TruncatedStreamError,
)
from siliconflow_async.integrations.openai import OpenAIClient, siliconflow_error

from ...asking import ASK
from .serving import served

pytestmark = pytest.mark.anyio

BY_STATUS = {
    400: openai.BadRequestError,
    401: openai.AuthenticationError,
    402: openai.APIStatusError,
    403: openai.PermissionDeniedError,
    404: openai.NotFoundError,
    409: openai.ConflictError,
    422: openai.UnprocessableEntityError,
    429: openai.RateLimitError,
    500: openai.InternalServerError,
    503: openai.InternalServerError,
    504: openai.InternalServerError,
}


@pytest.mark.parametrize("resource", ["chat", "another"])
@pytest.mark.parametrize("status", BY_STATUS)
async def test_a_refusal_is_openai_s_error_of_its_status(status: int, resource: str) -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(status, headers={"Retry-After": "7"})
        asking = client.chat.completions.create(**ASK) if resource == "chat" else client.post("/rerank", cast_to=object)
        with pytest.raises(openai.APIStatusError) as caught:
            await asking
        error = caught.value
        assert type(error) is BY_STATUS[status]
        cause = siliconflow_error(error)
        assert cause is error.__cause__
        assert isinstance(cause, SiliconFlowError)
        assert error.status_code == status
        assert error.response.status_code == status
        assert error.response.headers["retry-after"] == "7"
        assert error.request_id == cause.request_id
        assert str(error).startswith(str(cause))
        assert error.message == str(error)
        assert error.request.method == "POST"


@pytest.mark.parametrize(
    ("body", "told", "code"),
    [
        ({"code": 20015, "message": "no", "data": None}, {"code": 20015, "message": "no", "data": None}, "20015"),
        ({"error": {"message": "no", "type": "t", "code": "c"}}, {"message": "no", "type": "t", "code": "c"}, "c"),
        ("no", "no", None),
        (b"<html>no</html>", "<html>no</html>", None),
        (b"", None, None),
    ],
)
async def test_the_body_is_told_as_openai_tells_it(body: Any, told: Any, code: str | None) -> None:
    async with served() as (server, client):
        server.fail(400, body=body)
        with pytest.raises(openai.BadRequestError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.body == told
        assert caught.value.code == code
        text = body.decode() if isinstance(body, bytes) else json.dumps(body)
        assert caught.value.response.text.replace(" ", "") == text.replace(" ", "")


async def test_what_frameworks_act_upon_has_openai_s_codes() -> None:
    async with served() as (server, client):
        server.fail(
            400, body={"code": 20015, "message": "length of prompt_tokens (9) must be less than max_seq_len (8)"}
        )
        with pytest.raises(openai.BadRequestError, match="context_length_exceeded") as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.code == "context_length_exceeded"
        assert isinstance(siliconflow_error(caught.value), ContextLengthError)

        server.fail(402)
        with pytest.raises(openai.APIStatusError) as broke:
            await client.chat.completions.create(**ASK)
        assert broke.value.code == "insufficient_quota"
        assert isinstance(siliconflow_error(broke.value), InsufficientBalanceError)


async def test_an_error_under_200_has_the_status_of_its_code() -> None:
    async with served(max_retries=0) as (server, client):
        server.raw([json.dumps({"code": 50601, "message": "RPM"}).encode()])
        with pytest.raises(openai.RateLimitError) as caught:
            await client.chat.completions.create(**ASK)
        assert caught.value.status_code == 429
        cause = siliconflow_error(caught.value)
        assert isinstance(cause, RateLimitError)
        assert cause.meter == "rpm"


async def test_a_service_that_is_not_there_is_openai_s_connection_error() -> None:
    client: Any = OpenAIClient("key", base_url="http://127.0.0.1:9/v1", max_retries=0)
    async with client:
        for asking in (client.chat.completions.create(**ASK), client.models.list()):
            with pytest.raises(openai.APIConnectionError, match=r"127\.0\.0\.1") as caught:
                await asking
            assert isinstance(siliconflow_error(caught.value), APIConnectionError)


async def test_a_whole_answer_that_breaks_off_is_openai_s_connection_error() -> None:
    async with served() as (server, client):
        server.raw([b'{"choices": ['])
        with pytest.raises(openai.APIConnectionError) as caught:
            await client.chat.completions.create(**ASK)
        assert isinstance(siliconflow_error(caught.value), TruncatedStreamError)


async def test_the_responses_api_says_what_to_do() -> None:
    async with served() as (_, client):
        with pytest.raises(openai.NotFoundError, match="have the framework ask for chat completions"):
            await client.responses.create(model="m", input="hi")


def test_our_error_is_found_however_it_was_wrapped() -> None:
    ours = NotFoundError("gone")
    caused, meanwhile, circle = RuntimeError(), RuntimeError(), ValueError()
    caused.__cause__ = ours
    meanwhile.__context__ = caused
    circle.__cause__ = circle
    assert siliconflow_error(ours) is ours
    assert siliconflow_error(meanwhile) is ours
    for without in (ValueError(), None, circle):
        assert siliconflow_error(without) is None
