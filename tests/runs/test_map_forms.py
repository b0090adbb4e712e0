"""What a single request may ask for, many may: media, tools, types, continuations; and all of it passes the gate."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from siliconflow_async import (
    ContentDelta,
    InvalidRequestError,
    Limit,
    ParsedChatCompletion,
    ParseError,
    RetryPolicy,
    Seam,
    TruncatedStreamError,
    image,
)
from siliconflow_async.testing import Fin

from ..asking import ASK, chunk, served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

MODEL = ASK["model"]
PLENTY = RetryPolicy(base=0.0, budget=3.0)
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class City(msgspec.Struct):
    name: str


async def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def ask(content: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": content}], **more}


async def all_of(results: Any) -> list[Any]:
    async with results:
        return [result async for result in results]


async def test_pictures_are_read_and_one_that_is_not_there_fails_alone(tmp_path: Path) -> None:
    """Media parts are sent as data URLs; a missing file is the error of its request."""
    (tmp_path / "dot.png").write_bytes(PNG)
    async with served() as (server, client):
        requests = [ask([image(tmp_path / name)]) for name in ("dot.png", "none.png")]
        good, bad = await all_of(client.chat.completions.map(requests, model="org/Some-VL", ordered=True))
        assert good.error is None
        sent = server.requests[0].json["messages"][0]["content"][0]["image_url"]["url"]
        assert sent == "data:image/png;base64," + base64.b64encode(PNG).decode()
        assert isinstance(bad.error, InvalidRequestError)
        assert "none.png" in str(bad.error)
        assert len(server.requests) == 1


async def test_functions_are_tools_of_all_requests() -> None:
    """Functions are described, also where a generator gives them; the calls are the answer's, nothing is run."""
    async with served() as (server, client):
        for _ in range(2):
            server.reply(tool_calls=[{"name": "get_weather", "arguments": {"city": "Ürümqi"}, "id": "1"}])
        tools = (tool for tool in [get_weather])
        results = await all_of(client.chat.completions.map([ask(), ask()], model=MODEL, tools=tools))
        assert [result.completion.tool_calls[0].function.name for result in results] == ["get_weather"] * 2
        for request in server.requests:
            assert request.json["tools"][0]["function"]["name"] == "get_weather"


async def test_messages_of_a_generator_are_those_of_all_requests() -> None:
    """A default that can be read once is there for each request."""
    async with served() as (server, client):
        messages = (message for message in ASK["messages"])
        requests = [{"seed": 1}, {"seed": 2}]
        results = await all_of(client.chat.completions.map(requests, model=MODEL, messages=messages))
        assert [result.error for result in results] == [None, None]
        assert all(request.json["messages"] == ASK["messages"] for request in server.requests)


@pytest.mark.parametrize("watched", [False, True])
async def test_answers_are_parsed_and_one_that_does_not_fit_is_an_error(watched: bool) -> None:
    """A type given to map, or by a request, makes `parsed`; what does not fit is a ParseError with its answer."""
    events: list[Any] = []
    async with served() as (server, client):
        server.reply('{"name": "Xi\'an"}')
        server.reply("[1]")
        server.reply("no")
        requests = [ask(), ask(response_format=list[int]), ask()]
        results = await all_of(
            client.chat.completions.map(
                requests,
                model=MODEL,
                response_format=City,
                max_concurrency=1,
                on_event=(lambda item, event: events.append(event)) if watched else None,
            )
        )
    assert [isinstance(result.completion, ParsedChatCompletion) for result in results] == [True, False, False]
    assert results[0].completion.parsed == City("Xi'an")
    for result in results[1:]:
        assert isinstance(result.error, ParseError)
        assert result.error.completion.content in ("[1]", "no")
        assert result.attempts == result.error.attempts == 1
    assert any(isinstance(event, ContentDelta) for event in events) is watched


async def test_a_think_block_is_split_off() -> None:
    """`split_think` counts for each request."""
    async with served() as (server, client):
        server.reply("<think>hm</think>yes")
        (result,) = await all_of(client.chat.completions.map([ask(split_think=True)], model=MODEL))
    assert (result.completion.reasoning_content, result.completion.content) == ("hm", "yes")


async def test_an_answer_that_breaks_off_goes_on() -> None:
    """With `resume`, a broken answer is one answer, and is counted as sent twice; its tokens are those of both."""
    events: list[Any] = []
    tokens: list[int] = []
    async with served(retry=PLENTY) as (server, client):
        server.raw([chunk("one "), chunk("two "), Fin()])
        server.reply("three")
        (result,) = await all_of(
            client.chat.completions.map(
                [ask()],
                model=MODEL,
                resume=1,
                on_event=lambda item, event: events.append(event),
                on_progress=lambda progress: tokens.append(progress.tokens),
            )
        )
        assert server.requests[1].json["prefix"] == "one two "
    assert result.completion.content == "one two three"
    assert result.attempts == 2
    assert 0 < result.times.first_token <= result.times.total
    assert sum(isinstance(event, Seam) for event in events) == 1
    assert tokens[-1] > 2
    assert client.limits[MODEL].in_flight == 0


async def test_an_answer_that_breaks_off_for_good_keeps_what_came() -> None:
    """After the last continuation the error holds all that had arrived."""
    async with served(retry=PLENTY) as (server, client):
        server.raw([chunk("one "), Fin()])
        server.raw([chunk("two"), Fin()])
        (result,) = await all_of(client.chat.completions.map([ask()], model=MODEL, resume=1))
    assert isinstance(result.error, TruncatedStreamError)
    assert result.error.partial.content == "one two"
    assert result.error.attempts == result.attempts == 2


async def test_what_can_not_be_continued_is_refused_alone() -> None:
    """`resume` with a type is the error of that request, before it is sent."""
    async with served() as (server, client):
        (result,) = await all_of(client.chat.completions.map([ask(response_format=City, resume=1)], model=MODEL))
        assert isinstance(result.error, InvalidRequestError)
        assert result.error.param == "resume"
        assert len(server.requests) == 0


class TestTheGate:
    """Where limits are given, each request that is sent has passed."""

    async def test_each_round_of_a_tool_run_passes(self) -> None:
        """Two rounds are two requests to the limit."""
        async with served(limits=Limit(rpm=100)) as (server, client):
            server.reply(tool_calls=[{"name": "get_weather", "arguments": {"city": "Ürümqi"}, "id": "1"}])
            server.reply("sunny")
            async with client.chat.completions.run_tools(**ASK, tools=[get_weather]) as run:
                await run.completion()
            state = client.limits[MODEL]
            assert (state.requests, state.in_flight) == (2, 0)

    async def test_a_continuation_passes(self) -> None:
        """What goes on after a break is a request more, and nothing stays in flight."""
        async with served(limits=Limit(rpm=100), retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                async for _ in stream:
                    assert client.limits[MODEL].in_flight == 1
                    break
                await stream.completion()
            state = client.limits[MODEL]
            assert (state.requests, state.in_flight) == (2, 0)

    async def test_a_continuation_waits_for_its_turn(self) -> None:
        """Where the window is full, the rest of the answer waits until it is not."""
        async with served(limits=Limit(rpm=1, window=0.3), retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            async with client.chat.completions.stream(**ASK, resume=1) as stream:
                await stream.completion()
            first, second = (request.received_at for request in server.requests)
            assert second - first >= 0.3

    async def test_a_continued_prompt_is_weighed_with_what_had_come(self) -> None:
        """`count_tokens` sees the prefix of the request that it counts for."""
        seen: list[Any] = []

        def count(params: Any) -> int:
            seen.append(params.get("prefix"))
            return 5

        async with served(limits=Limit(tpm=10**6, count_tokens=count), retry=PLENTY) as (server, client):
            server.raw([chunk("one "), Fin()])
            async with client.chat.completions.stream(**ASK, prefix="zero ", resume=1) as stream:
                await stream.completion()
        assert seen == ["zero ", "zero one "]

    async def test_a_parsed_answer_passes(self) -> None:
        """With a type, whole or streamed, the gate counts as ever."""
        async with served(limits=Limit(rpm=100)) as (server, client):
            server.reply('{"name": "a"}')
            server.reply('{"name": "b"}')
            await client.chat.completions.create(**ASK, response_format=City)
            async with client.chat.completions.stream(**ASK, response_format=City) as stream:
                assert (await stream.completion()).parsed == City("b")
            assert client.limits[MODEL].requests == 2
