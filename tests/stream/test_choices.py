"""n > 1 and log probabilities: each choice is an answer of its own."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async import (
    ContentDelta,
    Finished,
    ReasoningDelta,
    Started,
    ToolCallDone,
    TruncatedStreamError,
)
from siliconflow_async.testing import Fin
from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol

from ..asking import ASK, DONE, chunk, served

pytestmark = pytest.mark.anyio

HYBRID = {**ASK, "model": "Qwen/Qwen3-8B"}
CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
MIXED = [
    chunk("a0", index=0),
    chunk("a1", index=1),
    chunk(None, index=2, reasoning_content="r2"),
    chunk("b1", index=1),
    chunk("", index=1, finish="stop"),
    chunk("b0", index=0),
    chunk(None, index=2, tool_calls=[CALL]),
    chunk("", index=0, finish="length"),
    chunk(None, index=2, finish="tool_calls"),
]


async def test_every_way_to_ask_gives_the_same_choices() -> None:
    """A whole answer, a fold and the deltas of iteration agree, choice by choice."""
    async with served() as (_server, client):
        done = await client.chat.completions.create(**HYBRID, n=3)
        assert [choice.index for choice in done.choices] == [0, 1, 2]
        assert len({choice.message.content for choice in done.choices}) == 3
        async with client.chat.completions.stream(**HYBRID, n=3) as stream:
            content, reasoning = [""] * 3, [""] * 3
            async for c in stream:
                for choice in c.choices:
                    content[choice.index] += choice.delta.content or ""
                    reasoning[choice.index] += choice.delta.reasoning_content or ""
            folded = await stream.completion()
        for index, choice in enumerate(done.choices):
            assert folded.choices[index].to_dict() == choice.to_dict()
            assert (content[index], reasoning[index]) == (choice.message.content, choice.message.reasoning_content)
        assert done.content == folded.content == content[0]


async def test_text_is_that_of_the_first_choice() -> None:
    """`text()`, and the shortcuts of chunks and answers, leave the other choices out."""
    async with served() as (server, client):
        server.raw([*MIXED, DONE], times=2)
        async with client.chat.completions.stream(**ASK, n=3) as stream:
            assert [text async for text in stream.text()] == ["a0", "b0"]
        async with client.chat.completions.stream(**ASK, n=3) as stream:
            assert [c.content async for c in stream if c.content is not None] == ["a0", "b0", ""]
        assert (stream.partial.content, stream.partial.finish_reason) == ("a0b0", "length")


async def test_events_say_whose_they_are() -> None:
    """Each choice starts and finishes once; the usage is on the last `Finished`."""
    async with served() as (server, client):
        usage = b'data: {"choices":[],"usage":{"total_tokens":9}}\n\n'
        server.raw([*MIXED, usage, DONE])
        async with client.chat.completions.stream(**ASK, n=3) as stream:
            events = [event async for event in stream.events()]
        assert [event.index for event in events if isinstance(event, Started)] == [0, 1, 2]
        texts = [(event.index, event.text) for event in events if isinstance(event, ContentDelta | ReasoningDelta)]
        assert texts == [(0, "a0"), (1, "a1"), (2, "r2"), (1, "b1"), (0, "b0")]
        assert [(event.index, event.name) for event in events if isinstance(event, ToolCallDone)] == [(2, "f")]
        assert [type(event) for event in events[-3:]] == [Finished] * 3
        ends = [(event.index, event.reason, event.usage) for event in events if isinstance(event, Finished)]
        assert [end[:2] for end in ends] == [(0, "length"), (1, "stop"), (2, "tool_calls")]
        assert [end[2] and end[2].total_tokens for end in ends] == [None, None, 9]


@pytest.mark.parametrize("missing", [0, 1, 2])
async def test_one_unfinished_choice_makes_the_answer_truncated(missing: int) -> None:
    """All that came is in `partial`, where the finish reasons show which choices are whole."""
    finishes = [(0, "length"), (1, "stop"), (2, "tool_calls")]
    cut = [
        event
        for event in MIXED
        if not (b'"finish_reason": "' in event and f'"index": {missing}, "delta"'.encode() in event)
    ]
    assert len(cut) == len(MIXED) - 1
    async with served() as (server, client):
        server.raw([*cut, Fin()])
        async with client.chat.completions.stream(**ASK, n=3) as stream:
            with pytest.raises(TruncatedStreamError) as caught:
                _ = [event async for event in stream.events()]
        assert caught.value.partial is not None
        choices = caught.value.partial.choices
        expected = [(index, None if index == missing else reason) for index, reason in finishes]
        assert [(choice.index, choice.finish_reason) for choice in choices] == expected
        assert [choice.message.content for choice in choices[:2]] == ["a0b0", "a1b1"]


@given(
    order=st.permutations([0] * 4 + [1] * 4 + [2] * 4),
    cut=st.integers(1, 500),
)
def test_any_interleaving_folds_to_the_same_choices(order: list[int], cut: int) -> None:
    """However the choices' chunks are mixed and the bytes are cut, each choice is its own text in its own order."""
    parts = {index: iter("abcd") for index in range(3)}
    body = b"".join(chunk(f"{next(parts[index])}{index} ", index=index) for index in order) + DONE
    protocol, accumulator = ChatProtocol(1 << 20), Accumulator()
    for at in range(0, len(body), cut):
        accumulator.fold(protocol.feed(body[at : at + cut]))
    texts = [choice.message.content for choice in accumulator.completion().choices]
    assert texts == [f"a{index} b{index} c{index} d{index} " for index in range(3)]


async def test_log_probabilities_are_those_of_each_choice() -> None:
    """In chunks they come with their token; folded, they are what a whole answer has."""
    ask: dict[str, Any] = {**ASK, "n": 2, "logprobs": True, "top_logprobs": 3}
    async with served() as (_server, client):
        done = await client.chat.completions.create(**ask)
        async with client.chat.completions.stream(**ask) as stream:
            async for c in stream:
                for choice in c.choices:
                    if choice.delta.content:
                        assert choice.logprobs is not None
                        (token,) = choice.logprobs["content"]
                        assert token["token"] == choice.delta.content
            folded = await stream.completion()
        for whole, joined in zip(done.choices, folded.choices, strict=True):
            assert whole.logprobs is not None
            assert whole.logprobs == joined.logprobs
            assert "".join(token["token"] for token in whole.logprobs["content"]) == whole.message.content
            assert all(len(token["top_logprobs"]) == 3 for token in whole.logprobs["content"])
        assert done.logprobs == done.choices[0].logprobs != done.choices[1].logprobs


async def test_log_probabilities_are_absent_unless_asked_for() -> None:
    """Nothing is made up."""
    async with served() as (_server, client):
        done = await client.chat.completions.create(**ASK)
        assert done.logprobs is None
        assert "logprobs" not in done.to_dict()["choices"][0]


async def test_log_probabilities_go_on_across_a_seam() -> None:
    """What a continued stream folds to has those of both requests."""
    ask: dict[str, Any] = {**ASK, "logprobs": True}
    async with served() as (server, client):
        whole = await client.chat.completions.create(**ask)
        server.reply(["You", " said"], finish=False, done=False)
        async with client.chat.completions.stream(**ask, resume=1) as stream:
            done = await stream.completion()
        assert done.content == whole.content
        assert done.logprobs == whole.logprobs
