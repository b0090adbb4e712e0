"""What is asked in openai's words, as it reaches the service."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionUserMessageParam
from pydantic import BaseModel

from siliconflow_async import InvalidRequestError, Timeouts
from siliconflow_async.integrations.openai.params import timeouts_of
from siliconflow_async.testing import Stall

from ...asking import ASK, chunk
from .serving import served

pytestmark = pytest.mark.anyio

OMIT = openai.Omit()


async def sent(**params: Any) -> dict[str, Any]:
    """The body of a call, less what every call has."""
    async with served() as (server, client):
        await client.chat.completions.create(**{**ASK, **params})
        body = server.requests[0].json
    return {name: value for name, value in body.items() if body[name] != ASK.get(name)}


async def test_what_openai_calls_not_given_is_not_sent() -> None:
    assert await sent(temperature=OMIT, stop=openai.NOT_GIVEN, tools=None, timeout=openai.NOT_GIVEN, user=OMIT) == {}


async def test_a_keyword_that_nobody_knows_goes_into_the_body() -> None:
    """As do those of openai that this library has no keyword for; `extra_body` is the last word."""
    body = await sent(user="me", store=False, min_tokens=3, extra_body={"min_tokens": 4, "more": 1})
    assert body == {"user": "me", "store": False, "min_tokens": 4, "more": 1}


async def test_a_keyword_of_siliconflow_s_own_is_checked_and_sent() -> None:
    assert await sent(model="Qwen/Qwen3-8B", enable_thinking=False, top_k=20) == {
        "model": "Qwen/Qwen3-8B",
        "enable_thinking": False,
        "top_k": 20,
    }
    with pytest.raises(InvalidRequestError) as caught:
        await sent(temperature=object())
    assert caught.value.param == "temperature"


async def test_max_completion_tokens_is_max_tokens() -> None:
    assert await sent(max_completion_tokens=9) == {"max_tokens": 9}
    assert await sent(max_completion_tokens=9, max_tokens=8) == {"max_tokens": 8}
    assert await sent(max_completion_tokens=OMIT, max_tokens=8) == {"max_tokens": 8}


async def test_messages_and_tools_may_be_generators_and_openai_s_own_answers() -> None:
    async with served() as (server, client):
        server.reply(tool_calls=[{"name": "look", "arguments": {"at": "sky"}}])
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        asked: list[Any] = [ChatCompletionUserMessageParam(role="user", content="hi")]
        done = await client.chat.completions.create(model="m/m", messages=iter(asked), tools=iter([tool]))
        message = done.choices[0].message
        asked += [message, {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "blue"}]
        await client.chat.completions.create(model="m/m", messages=asked)
        assert server.requests[0].json["tools"] == [tool]
        turn = server.requests[1].json["messages"][1]
        assert turn["content"] == ""
        assert turn["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at":"sky"}'}


async def test_headers_and_query_are_sent() -> None:
    async with served(default_headers={"X-Mine": "1", "X-Other": "2"}) as (server, client):
        headers = {"X-Mine": OMIT, "X-Call": "3", "X-Stainless-Helper-Method": "stream"}
        await client.chat.completions.create(**ASK, extra_headers=headers, extra_query={"a": 1})
        request = server.requests[0]
        assert request.query == {"a": "1"}
        assert (request.headers.get("X-Call"), request.headers.get("X-Other")) == ("3", "2")
        assert not {"X-Mine", "X-Stainless-Helper-Method"} & set(request.headers)


@pytest.mark.parametrize("missing", ["model", "messages"])
async def test_model_and_messages_are_required(missing: str) -> None:
    async with served() as (server, client):
        given = {name: value for name, value in ASK.items() if name != missing}
        with pytest.raises(TypeError, match=f"'{missing}'"):
            await client.chat.completions.create(**given)
        assert server.requests == []


async def test_create_takes_no_class_as_response_format() -> None:
    class Answer(BaseModel):
        a: str

    async with served() as (server, client):
        with pytest.raises(TypeError, match=r"parse\("):
            await client.chat.completions.create(**ASK, response_format=Answer)
        assert server.requests == []


OURS = Timeouts(pool=1, connect=2, first_token=3, idle=4)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (None, OURS),
        (Timeouts(idle=9), Timeouts(idle=9)),
        (7, Timeouts(pool=7, connect=7, first_token=7, idle=7)),
        (openai.Timeout(8, connect=5, pool=6), Timeouts(pool=6, connect=5, first_token=8, idle=8)),
        ({"connect": 5, "read": None, "write": 1, "pool": 6}, Timeouts(pool=6, connect=5, first_token=None, idle=None)),
    ],
)
def test_a_timeout_bounds_each_silence(timeout: Any, expected: Timeouts, streaming: bool) -> None:
    """A whole answer is one silence; no more than openai's does it bound the whole of a stream."""
    clocks = timeouts_of(timeout, OURS, streaming=streaming)
    silence = None if timeout is None or isinstance(timeout, Timeouts) else expected.idle
    bounded = timeout is not None and not isinstance(timeout, Timeouts) and not streaming
    total = silence if bounded else "default"
    assert clocks == Timeouts(
        pool=expected.pool,
        connect=expected.connect,
        first_token=expected.first_token,
        idle=expected.idle,
        total=total,
    )


@pytest.mark.parametrize("given", ["call", "copy", "client", "resource"])
async def test_a_timeout_ends_a_call_that_is_not_answered(given: str) -> None:
    async with served(**({"timeout": 0.05} if given == "client" else {}), max_retries=0) as (server, client):
        server.raw([Stall()])
        asking = client.with_options(timeout=0.05) if given == "copy" else client
        ask = asking.models.list if given == "resource" else asking.chat.completions.create
        keywords = {} if given == "resource" else ASK
        limit = {"timeout": 0.05} if given in ("call", "resource") else {}
        with pytest.raises(openai.APITimeoutError):
            await ask(**keywords, **limit)


async def test_a_timeout_ends_a_stream_that_falls_silent() -> None:
    async with served() as (server, client):
        server.raw([chunk("a"), Stall()])
        stream = await client.chat.completions.create(**ASK, stream=True, timeout=0.05)
        assert (await anext(stream)).choices[0].delta.content == "a"
        with pytest.raises(openai.APITimeoutError, match="idle") as caught:
            await anext(stream)
        assert caught.value.__cause__.partial.content == "a"  # type: ignore[union-attr]
