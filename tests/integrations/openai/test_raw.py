"""`with_raw_response`, `with_streaming_response` and the resources that are openai's own."""

from __future__ import annotations

import io
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from siliconflow_async import ClosedError, InvalidRequestError
from siliconflow_async.testing import Rst, Stall

from ...asking import ASK, DONE, chunk
from .serving import served

pytestmark = pytest.mark.anyio


class City(BaseModel):
    name: str


async def test_a_raw_answer_has_the_response_beside_the_answer() -> None:
    async with served() as (server, client):
        server.fail(503)
        server.reply("Hello", headers={"X-Mine": "1"})
        raw = await client.chat.completions.with_raw_response.create(**ASK)
        done = raw.parse()
        assert type(done) is ChatCompletion
        assert done is raw.parse()
        assert done.choices[0].message.content == "Hello"
        assert raw.status_code == 200
        assert raw.headers["x-mine"] == "1"
        assert raw.request_id == done._request_id
        assert raw.retries_taken == 1
        assert raw.http_response.json() == json.loads(raw.text) == json.loads(raw.content)
        assert raw.http_response.json()["id"] == done.id
        assert raw.parse(to=dict[str, Any])["id"] == done.id


async def test_a_raw_stream_is_the_stream() -> None:
    async with served() as (server, client):
        server.reply("Hello")
        raw = await client.chat.completions.with_raw_response.create(**ASK, stream=True)
        assert raw.headers["content-type"].startswith("text/event-stream")
        stream = raw.parse()
        assert isinstance(stream, openai.AsyncStream)
        assert "".join([piece.choices[0].delta.content or "" async for piece in stream if piece.choices]) == "Hello"


async def test_the_whole_client_has_raw_responses_too() -> None:
    async with served() as (server, client):
        server.reply("Hello")
        raw = await client.with_raw_response.chat.completions.create(**ASK)
        assert raw.parse().choices[0].message.content == "Hello"
        listed = await client.with_raw_response.models.list()
        assert listed.request_id.startswith("ti_")
        assert listed.parse().data


async def test_a_raw_answer_may_be_parsed() -> None:
    async with served() as (server, client):
        server.reply('{"name": "Ada"}')
        raw = await client.chat.completions.with_raw_response.parse(**ASK, response_format=City)
        assert raw.parse().choices[0].message.parsed == City(name="Ada")


async def test_a_streamed_answer_gives_its_parts_and_closes() -> None:
    async with served() as (server, client):
        server.reply("Hello")
        async with client.chat.completions.with_streaming_response.create(**ASK) as response:
            assert response.headers["content-type"].startswith("application/json")
            assert (await response.parse()).choices[0].message.content == "Hello"
            assert (await response.json())["object"] == "chat.completion"

        server.raw([chunk("a"), Stall()])
        async with client.chat.completions.with_streaming_response.create(**ASK, stream=True) as response:
            async for line in response.iter_lines():
                assert line.startswith("data: {")
                break
            stream = await response.parse()
        await server.left_early()
        with pytest.raises(ClosedError):
            await anext(stream)


async def test_beta_chat_is_chat() -> None:
    async with served() as (server, client):
        server.reply("Hello")
        assert client.beta.chat is client.chat
        assert (await client.beta.chat.completions.create(**ASK, min_tokens=1)).choices[0].message.content == "Hello"


# openai's own resources


async def test_another_resource_is_asked_by_this_library() -> None:
    """With its key, headers, retries and trace ids; openai's own retries are out of the way."""
    async with served(headers={"X-Mine": "1"}) as (server, client):
        server.fail(503, times=2)
        found = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        server.raw([json.dumps({"object": "list", "data": [found], "model": "m"}).encode()])
        extra: Any = {"extra_headers": {"X-Call": "2"}, "extra_query": {"a": 1}}
        done = await client.embeddings.create(model="m", input="hi", encoding_format="float", **extra)
        assert done.data[0].embedding == [0.5, 0.25]
        assert done._request_id.startswith("ti_")
        assert len(server.requests) == 3
        request = server.requests[2]
        assert (request.method, request.path, request.query) == ("POST", "/v1/embeddings", {"a": "1"})
        assert request.json["input"] == "hi"
        assert {"X-Mine": "1", "Authorization": "Bearer test-key"}.items() <= dict(request.headers).items()
        assert request.headers["x-call"] == "2"


async def test_what_would_be_done_twice_is_not_sent_twice() -> None:
    async with served() as (server, client):
        server.fail(500)
        with pytest.raises(openai.InternalServerError):
            await client.batches.create(input_file_id="f", endpoint="/v1/chat/completions", completion_window="24h")
        assert len(server.requests) == 1


async def test_a_file_is_sent_as_openai_sends_it() -> None:
    async with served() as (server, client):
        server.raw([b'{"id": "file-1", "object": "file"}'])
        made = await client.files.create(file=("a.jsonl", io.BytesIO(b'{"a": 1}\n')), purpose="batch")
        assert made.id == "file-1"
        request = server.requests[0]
        assert request.headers["Content-Type"].startswith("multipart/form-data; boundary=")
        assert b'{"a": 1}\n' in request.body
        assert b'filename="a.jsonl"' in request.body


async def test_a_deletion_has_no_body() -> None:
    async with served() as (server, client):
        server.raw([b'{"id": "file-1", "object": "file", "deleted": true}'])
        assert (await client.files.delete("file-1")).deleted
        assert (server.requests[0].method, server.requests[0].body) == ("DELETE", b"")


async def test_bytes_come_as_they_are_sent_and_a_break_closes_the_connection() -> None:
    async with served() as (server, client):
        server.raw([b"sound", Stall()], headers={"Content-Type": "audio/mpeg"})
        speech = client.audio.speech.with_streaming_response.create(model="m", voice="v", input="hi")
        async with speech as response:
            async for piece in response.iter_bytes():
                assert piece == b"sound"
                break
        await server.left_early()


async def test_a_stream_of_another_resource_is_cut_off_with_openai_s_error() -> None:
    async with served() as (server, client):
        event = b'data: {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": []}\n\n'
        server.raw([event + DONE])
        stream = await client.completions.create(model="m", prompt="hi", stream=True)
        assert [piece.id async for piece in stream] == ["1"]
        server.raw([event, Rst()])
        stream = await client.completions.create(model="m", prompt="hi", stream=True)
        await anext(stream)
        with pytest.raises(openai.APIConnectionError):
            await anext(stream)
        await stream.close()


async def test_the_key_goes_nowhere_but_to_the_base_url() -> None:
    async with served() as (server, client):
        with pytest.raises((InvalidRequestError, openai.APIConnectionError)) as caught:
            await client.get("https://elsewhere.example/v1/models", cast_to=object)
        assert "the key goes nowhere else" in str(caught.value.__cause__ or caught.value)
        with pytest.raises((InvalidRequestError, openai.APIConnectionError)):
            await client.get("/models", cast_to=object, options={"params": {"a": ["1", "2"]}})
        assert server.requests == []
