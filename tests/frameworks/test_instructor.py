"""instructor on the facade."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async import RateLimitError, TruncatedStreamError
from siliconflow_async.integrations.openai import siliconflow_error

from ..asking import chunk
from ..integrations.openai.serving import served
from .asking import MODEL, PARIS, City, calls, stalls

pytest.importorskip("instructor")

import instructor
from instructor.core import InstructorRetryException

pytestmark = pytest.mark.anyio

ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Which?"}], "response_model": City}


async def test_an_answer_by_a_tool_call() -> None:
    async with served() as (server, client):
        calls(server, "City", **PARIS.model_dump())
        city = await instructor.from_openai(client).chat.completions.create(**ASK)
        assert city.model_dump() == PARIS.model_dump()
        assert server.requests[0].json["tools"][0]["function"]["name"] == "City"


async def test_an_answer_with_the_completion_beside_it() -> None:
    async with served() as (server, client):
        server.reply(PARIS.model_dump_json(), reasoning="Hm")
        by_json = instructor.from_openai(client, mode=instructor.Mode.JSON)
        city, done = await by_json.chat.completions.create_with_completion(**ASK, max_completion_tokens=9)
        assert city.model_dump() == PARIS.model_dump()
        assert done.choices[0].message.reasoning_content == "Hm"
        assert server.requests[0].json["max_tokens"] == 9


async def test_an_answer_that_does_not_fit_is_asked_for_again() -> None:
    async with served() as (server, client):
        calls(server, "City", name="Paris")
        calls(server, "City", **PARIS.model_dump())
        city = await instructor.from_openai(client).chat.completions.create(**ASK, max_retries=2)
        assert city.model_dump() == PARIS.model_dump()
        assert len(server.requests) == 2


async def test_a_stream_of_a_growing_value() -> None:
    async with served() as (server, client):
        calls(server, "City", **PARIS.model_dump())
        partial = instructor.from_openai(client).chat.completions.create_partial(**ASK)
        assert [value async for value in partial][-1].model_dump() == PARIS.model_dump()


async def test_a_stream_of_many() -> None:
    async with served() as (server, client):
        calls(server, "IterableCity", tasks=[PARIS.model_dump(), {"name": "Rome", "people": 3}])
        many = instructor.from_openai(client).chat.completions.create_iterable(**ASK)
        assert [city.name async for city in many] == ["Paris", "Rome"]


async def test_errors_are_the_framework_s_with_ours_as_their_cause() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(InstructorRetryException) as caught:
            await instructor.from_openai(client).chat.completions.create(**ASK, max_retries=0)
        assert isinstance(siliconflow_error(caught.value), RateLimitError)


async def test_a_stream_that_is_cut_off_is_an_error() -> None:
    async with served() as (server, client):
        server.raw([chunk('{"name": "Pa')])
        by_json = instructor.from_openai(client, mode=instructor.Mode.JSON)
        with pytest.raises(Exception) as caught:  # noqa: PT011  # instructor wraps it in one of its own or not
            [value async for value in by_json.chat.completions.create_partial(**ASK)]
        assert isinstance(siliconflow_error(caught.value), TruncatedStreamError)


async def test_a_break_closes_the_connection() -> None:
    async with served() as (server, client):
        stalls(server, '{"name": "Pa', 'ris"')
        by_json = instructor.from_openai(client, mode=instructor.Mode.JSON)
        async for _ in by_json.chat.completions.create_partial(**ASK):
            break
        await server.left_early()
