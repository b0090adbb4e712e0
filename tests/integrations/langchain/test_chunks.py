"""Streamed answers as LangChain's chunks, read in a loop and in none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk

from siliconflow_async import (
    InvalidRequestError,
    MalformedStreamError,
    ParseError,
    StreamAPIError,
    TruncatedStreamError,
)
from siliconflow_async.integrations.langchain import ChatSiliconFlow
from siliconflow_async.testing import FakeSiliconFlow, Fin, sse

from ...asking import DONE, chunk

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["astream", "stream"])
def read(request: pytest.FixtureRequest, made: Callable[..., ChatSiliconFlow]) -> Callable[..., Any]:
    """Asks for a stream and returns its chunks; those before a failure are in `kept`."""

    async def reading(kept: list[AIMessageChunk] | None = None, **fields: Any) -> list[AIMessageChunk]:
        chunks: list[Any] = [] if kept is None else kept
        model = made(**fields)
        if request.param == "stream":
            chunks.extend([] if kept is None else kept)
            for one in model.stream("hi"):
                chunks.append(one)  # what came before a failure is to be there
        else:
            async for one in model.astream("hi"):
                chunks.append(one)
        return chunks

    return reading


def added(chunks: list[AIMessageChunk]) -> AIMessageChunk:
    first, *others = chunks
    return first + others


def fragment(index: int | None, identity: str | None = None, name: str | None = None, arguments: str = "") -> bytes:
    call = {"index": index, "id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk(tool_calls=[call])


async def test_a_stream_is_reasoning_text_and_at_the_end_all_that_is_known(
    server: FakeSiliconFlow, read: Callable[..., Any]
) -> None:
    server.reply(["Scat", "tering."], reasoning=["Light", ", then."])
    chunks = await read()
    assert [(one.content, one.additional_kwargs.get("reasoning_content")) for one in chunks] == [
        ("", "Light"),
        ("", ", then."),
        ("Scat", None),
        ("tering.", None),
        ("", None),
    ]
    *pieces, last = chunks
    # One that is told with each chunk would be added up.
    assert [one.usage_metadata for one in pieces] == [None] * 4
    assert last.usage_metadata is not None
    assert last.usage_metadata["output_token_details"] == {"reasoning": 2}
    assert last.chunk_position == "last"
    (seen,) = server.requests
    assert last.response_metadata["trace_id"] == seen.trace_id
    assert seen.json["stream"] is True


@pytest.mark.parametrize("usage_on", ["every", "last", "never"])
async def test_the_chunks_add_up_to_what_the_whole_answer_is(
    server: FakeSiliconFlow, model: ChatSiliconFlow, read: Callable[..., Any], usage_on: Any
) -> None:
    answer: dict[str, Any] = {
        "text": "So: ",
        "reasoning": "Hm.",
        "tool_calls": [
            {"name": "add", "arguments": {"a": 1}, "id": "call_1"},
            {"name": "add", "arguments": {"a": "2"}, "id": "call_2"},
        ],
        "usage_on": usage_on,
    }
    server.reply(**answer, times=2)
    whole = await model.ainvoke("hi")
    full = added(await read())
    assert isinstance(whole, AIMessage)
    differs = {"id", "response_metadata"}
    alike = whole.model_dump(exclude=differs)
    assert {name: value for name, value in full.model_dump(exclude=differs).items() if name in alike} == {
        **alike,
        "type": "AIMessageChunk",
    }
    assert full.content_blocks == whole.content_blocks
    assert {**full.response_metadata, "id": 0, "trace_id": 0} == {**whole.response_metadata, "id": 0, "trace_id": 0}


async def test_standard_blocks_add_up_to_those_of_the_whole_answer(
    server: FakeSiliconFlow, made: Callable[..., ChatSiliconFlow], read: Callable[..., Any]
) -> None:
    """One for the reasoning, one for the text, and one for each call, though they come in turns."""
    calls = [
        {"name": "add", "arguments": {"a": 1}, "id": "call_1"},
        {"name": "add", "arguments": {"a": "2"}, "id": "call_2"},
    ]
    server.reply("So: ", reasoning="Hm.", tool_calls=calls, times=2)
    whole = await made(output_version="v1").ainvoke("hi")
    full = added(await read(output_version="v1"))
    plain = [{name: value for name, value in block.items() if name != "index"} for block in full.content_blocks]
    assert plain == whole.content_blocks
    assert full.tool_calls == whole.tool_calls
    assert full.response_metadata["output_version"] == "v1"

    turns = [chunk(reasoning_content="a"), chunk("b"), chunk(reasoning_content="c"), chunk("d", finish="stop"), DONE]
    server.raw(turns)
    full = added(await read(output_version="v1"))
    assert [(block["type"], block.get("text", block.get("reasoning"))) for block in full.content_blocks] == [
        ("reasoning", "ac"),
        ("text", "bd"),
    ]


ODD = {
    "in turns": [
        fragment(0, "call_1", "add"),
        fragment(1, "call_2", "add", "{"),
        fragment(0, None, None, '{"a": '),
        fragment(1, None, "", "}"),
        fragment(0, "", None, "1}"),
    ],
    "with a new id on each": [
        fragment(0, "call_1", "add", '{"a"'),
        fragment(0, "other", "add", ": 1}"),
        fragment(1, "call_2", "add", "{}"),
    ],
    "without an index": [
        fragment(None, "call_1", "add", '{"a"'),
        fragment(None, None, None, ": 1}"),
        fragment(None, "call_2", "add", "{}"),
    ],
    "with an id that comes late": [
        fragment(0, None, "add", '{"a": '),
        fragment(0, "call_1", None, "1}"),
        fragment(1, "call_2", "add", "{}"),
    ],
}


@pytest.mark.parametrize("output_version", ["v0", "v1"])
@pytest.mark.parametrize("pieces", ODD.values(), ids=ODD)
async def test_calls_are_put_together_from_any_fragments(
    server: FakeSiliconFlow, read: Callable[..., Any], pieces: list[bytes], output_version: str
) -> None:
    server.raw([*pieces, chunk(finish="tool_calls"), DONE])
    full = added(await read(output_version=output_version))
    assert [(call["name"], call["args"], call["id"]) for call in full.tool_calls] == [
        ("add", {"a": 1}, "call_1"),
        ("add", {}, "call_2"),
    ]
    blocks = [block for block in full.content_blocks if block["type"] == "tool_call"]
    assert [(block["args"], block["id"]) for block in blocks] == [({"a": 1}, "call_1"), ({}, "call_2")]


@pytest.mark.parametrize("output_version", ["v0", "v1"])
async def test_a_call_without_an_id_gets_one(
    server: FakeSiliconFlow, read: Callable[..., Any], output_version: str
) -> None:
    server.raw([fragment(0, "", "add", "{}"), fragment(1, None, "add", "{}"), chunk(finish="tool_calls"), DONE])
    full = added(await read(output_version=output_version))
    first, second = (call["id"] for call in full.tool_calls)
    assert first
    assert first.startswith("call_")
    assert first != second
    assert [block["id"] for block in full.content_blocks if block["type"] == "tool_call"] == [first, second]


@pytest.mark.parametrize("pieces", [[chunk("Ray")], [chunk("Ray"), Fin()]])
async def test_a_stream_that_breaks_off_raises_with_what_had_arrived(
    server: FakeSiliconFlow, read: Callable[..., Any], pieces: list[Any]
) -> None:
    server.raw(pieces)
    came: list[AIMessageChunk] = []
    with pytest.raises(TruncatedStreamError) as caught:
        await read(came)
    assert [one.content for one in came] == ["Ray"]
    assert caught.value.partial is not None
    assert caught.value.partial.content == "Ray"


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (sse({"code": 50505, "message": "overloaded"}), StreamAPIError),
        (sse({"error": {"message": "no"}}), StreamAPIError),
        (b"data: <html>\n\n", MalformedStreamError),
    ],
)
async def test_an_error_within_a_stream_raises_after_what_came(
    server: FakeSiliconFlow, read: Callable[..., Any], frame: bytes, kind: type[Exception]
) -> None:
    server.raw([chunk("Ray"), frame])
    came: list[AIMessageChunk] = []
    with pytest.raises(kind):
        await read(came)
    assert [one.content for one in came] == ["Ray"]


async def test_a_call_that_is_cut_off_within_its_arguments_raises(
    server: FakeSiliconFlow, read: Callable[..., Any]
) -> None:
    """LangChain would complete them, and run the tool with what had come: with /home, say, for /home/me/old."""
    call = {"name": "delete", "arguments": '{"path": "/home'}
    server.reply(tool_calls=[call], finish_reason="length")
    with pytest.raises(ParseError, match="cut off within the arguments of 'delete': length") as caught:
        await read()
    assert caught.value.completion is not None
    assert caught.value.completion.finish_reason == "length"


async def test_a_text_that_is_cut_off_says_so(server: FakeSiliconFlow, read: Callable[..., Any]) -> None:
    server.reply("Ray", finish_reason="length")
    full = added(await read())
    assert (full.content, full.response_metadata["finish_reason"]) == ("Ray", "length")


async def test_log_probabilities_of_a_stream_are_told_at_its_end(
    server: FakeSiliconFlow, read: Callable[..., Any]
) -> None:
    *pieces, last = await read(logprobs=True)
    assert len(last.response_metadata["logprobs"]["content"]) == len(pieces)


async def test_a_stream_has_one_answer(server: FakeSiliconFlow, read: Callable[..., Any]) -> None:
    with pytest.raises(InvalidRequestError, match="n: "):
        await read(n=2)
    assert server.requests == []
    # What a server sends of others unasked is passed over.
    server.raw([chunk("a"), chunk("z", index=1), chunk(finish="stop"), chunk(finish="stop", index=1), DONE])
    full = added(await read(n=1))
    assert full.content == "a"


async def test_a_stream_that_goes_on_after_a_break_is_one(server: FakeSiliconFlow, read: Callable[..., Any]) -> None:
    server.raw([chunk("Scat"), Fin()])
    server.reply(["tering."])
    full = added(await read(resume=1))
    assert full.content == "Scattering."
    assert len(server.requests) == 2


async def test_an_answer_of_nothing_is_one_chunk(server: FakeSiliconFlow, read: Callable[..., Any]) -> None:
    server.raw([chunk("", finish="stop"), DONE])
    (only,) = await read()
    assert (only.content, only.response_metadata["finish_reason"]) == ("", "stop")


@pytest.mark.filterwarnings("ignore:.* is in beta")  # which is said once in a process
async def test_protocol_events_have_each_block_once(server: FakeSiliconFlow, model: ChatSiliconFlow) -> None:
    call = {"name": "add", "arguments": {"a": 1}, "id": "call_1"}
    server.reply("So: ", reasoning="Hm.", tool_calls=[call])
    stream = await model.astream_events("hi", version="v3")
    finished = [event["content"] async for event in stream if event["event"] == "content-block-finish"]
    assert [block["type"] for block in finished] == ["reasoning", "text", "tool_call"]
    assert (await stream.output).usage_metadata
