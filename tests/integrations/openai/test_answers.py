"""openai's models of what came: what openai itself makes of the same bytes, where those are as its types say."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from siliconflow_async.integrations.openai.answers import ChunkReader, completion_of
from siliconflow_async.wire.protocol import ChatProtocol, decode_completion

from ...asking import ASK, DONE, chunk
from ...wire.streams import STREAMS
from .serving import served

pytestmark = pytest.mark.anyio

WHOLE = {
    "id": "0199a8f2b6d4771f9c1a5d1c5b3a2f10",
    "object": "chat.completion",
    "created": 1760000000,
    "model": "Qwen/Qwen3-8B",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello", "reasoning_content": "Hm", "more": {"a": [1]}},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1,
        "completion_tokens": 2,
        "total_tokens": 3,
        "prompt_cache_hit_tokens": 0,
        "completion_tokens_details": {"reasoning_tokens": 1},
    },
    "system_fingerprint": "",
    "something": "new",
}


def chunks_of(body: bytes) -> list[Any]:
    protocol = ChatProtocol(1 << 20)
    return [*protocol.feed(body), *protocol.eof()]


@pytest.mark.parametrize("name", STREAMS)
def test_a_framework_folds_a_stream_as_this_library_does(name: str) -> None:
    """Whatever form the chunks come in: nothing that frameworks ask of a chunk is missing, or of another type."""
    reader = ChunkReader(by_fields=False)
    said: dict[int, dict[str, Any]] = {}
    for ours in chunks_of(STREAMS[name].body):
        made = reader.read(ours)
        assert type(made) is ChatCompletionChunk
        assert isinstance(made.id, str)
        for choice in made.choices:
            answer = said.setdefault(choice.index, {"content": "", "reasoning": "", "finish": None, "calls": {}})
            answer["content"] += choice.delta.content or ""
            answer["reasoning"] += getattr(choice.delta, "reasoning_content", None) or ""
            answer["finish"] = choice.finish_reason or answer["finish"]
            for fragment in choice.delta.tool_calls or []:
                call = answer["calls"].setdefault(fragment.index, {"id": "", "name": "", "arguments": ""})
                call["id"] = call["id"] or fragment.id or ""
                if fragment.function is not None:
                    call["name"] = call["name"] or fragment.function.name or ""
                    call["arguments"] += fragment.function.arguments or ""
    for choice in STREAMS[name].choices:
        answer, message = said[choice["index"]], choice["message"]
        assert answer["content"] == (message.get("content") or "")
        assert answer["finish"] == choice.get("finish_reason")
        assert [answer["calls"][index] for index in sorted(answer["calls"])] == [
            {"id": call["id"], **call["function"]} for call in message.get("tool_calls", [])
        ]
        if answer["reasoning"]:  # some name it otherwise
            assert answer["reasoning"] == message["reasoning_content"]


def test_a_chunk_as_the_service_sends_it_is_what_openai_would_make_of_it() -> None:
    for ours in chunks_of(STREAMS["text"].body):
        theirs = ChatCompletionChunk.construct(**json.loads(ours.raw))
        made = ChunkReader(by_fields=False).read(ours)
        assert made == theirs
        assert made.model_fields_set == theirs.model_fields_set
        assert made.to_dict() == json.loads(ours.raw)


def test_an_answer_is_what_openai_would_make_of_it() -> None:
    body = json.dumps(WHOLE).encode()
    made = completion_of(decode_completion(body))
    assert type(made) is ChatCompletion
    assert made == ChatCompletion.construct(**WHOLE)
    assert made.to_dict() == WHOLE
    assert made.choices[0].message.reasoning_content == "Hm"  # type: ignore[attr-defined]
    assert made.something == "new"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "odd",
    [{"finish_reason": "eos"}, {"finish_reason": None}, {"message": {"content": "Hello"}}],
    ids=["a finish reason that openai does not know", "none", "no role"],
)
def test_an_odd_answer_is_read_all_the_same(odd: dict[str, Any]) -> None:
    (choice,) = WHOLE["choices"]  # type: ignore[misc]
    body = json.dumps({**WHOLE, "choices": [{**choice, **odd}]}).encode()
    made = completion_of(decode_completion(body))
    assert type(made) is ChatCompletion
    assert made.choices[0].message.content == "Hello"
    assert made.choices[0].finish_reason == odd.get("finish_reason", "stop")
    assert made.usage is not None
    assert made.usage.total_tokens == 3


async def test_an_answer_has_the_trace_id_for_its_request_id() -> None:
    async with served() as (_, client):
        done = await client.chat.completions.create(**ASK)
        assert done._request_id.startswith("ti_")
        assert "_request_id" not in done.to_dict()
        assert "_request_id" not in done.model_dump()


async def test_thinking_that_is_split_off_and_breaks_that_are_mended_are_seen() -> None:
    """The bytes of such chunks are not what this library makes of them."""
    async with served() as (server, client):
        server.raw([chunk("<think>Hm</think>Hel") + chunk("lo", finish="stop") + DONE])
        stream = await client.chat.completions.create(**ASK, stream=True, split_think=True)
        deltas = [piece.choices[0].delta async for piece in stream]
        assert "".join(delta.content or "" for delta in deltas) == "Hello"
        assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm"

        server.reply("<think>Hm</think>Hello")
        done = await client.chat.completions.create(**ASK, split_think=True)
        assert done.choices[0].message.content == "Hello"
        assert done.choices[0].message.reasoning_content == "Hm"

        server.raw([chunk("Hel")])
        server.raw([chunk("lo", finish="stop") + DONE])
        stream = await client.chat.completions.create(**ASK, stream=True, resume=1)
        assert [piece.choices[0].delta.content async for piece in stream] == ["Hel", "lo"]


async def test_a_whole_answer_where_a_stream_was_asked_for_is_a_chunk() -> None:
    async with served() as (server, client):
        server.raw([json.dumps(WHOLE).encode()], headers={"Content-Type": "application/json"})
        stream = await client.chat.completions.create(**ASK, stream=True)
        (only,) = [piece async for piece in stream]
        assert only.choices[0].delta.content == "Hello"
        assert only.choices[0].finish_reason == "stop"


async def test_a_stream_where_a_whole_answer_was_asked_for_is_folded() -> None:
    async with served() as (server, client):
        server.raw([chunk("Hel") + chunk("lo", finish="stop") + DONE])
        done = await client.chat.completions.create(**ASK)
        assert isinstance(done, ChatCompletion)
        assert done.choices[0].message.content == "Hello"
        assert isinstance(client, openai.AsyncOpenAI)
