"""`<think>` at the start of the content, split off as reasoning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol
from siliconflow_async.wire.structs import AssistantMessage, ChatCompletion, Choice
from siliconflow_async.wire.think import ThinkProtocol, split_completion


def event(content: str | None = None, reasoning: str | None = None, finish: str | None = None, index: int = 0) -> bytes:
    delta = {"content": content, "reasoning_content": reasoning}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "1", "model": "m", "choices": [choice]}).encode() + b"\n\n"


def streamed(events: list[bytes], protocol: ChatProtocol | None = None) -> list[tuple[str | None, str | None]]:
    """What a stream of these events folds to: (reasoning, content) of each choice."""
    protocol = protocol or ThinkProtocol(1 << 20)
    accumulator = Accumulator()
    for data in events:
        accumulator.fold(protocol.feed(data))
    accumulator.fold(protocol.eof())
    return [(c.message.reasoning_content or None, c.message.content or None) for c in accumulator.completion().choices]


def whole(content: str, reasoning: str | None = None) -> tuple[str | None, str | None]:
    completion = ChatCompletion(
        choices=[Choice(message=AssistantMessage(content=content, reasoning_content=reasoning))]
    )
    split_completion(completion)
    message = completion.choices[0].message
    return message.reasoning_content, message.content or None


CASES = [
    ("<think>Hm.</think>Yes.", "Hm.", "Yes."),
    ("\n <think>\nHm.\n</think>\n\nYes.\n", "Hm.\n", "Yes.\n"),
    ("<think>\n\n</think>\n\nYes.", None, "Yes."),
    ("<think></think>", None, None),
    ("<think>Hm.", "Hm.", None),
    ("<think>Hm.</thi", "Hm.</thi", None),
    ("<think>a </ b </think", "a </ b </think", None),
    ("<think>a<think>b</think>c</think>d", "a<think>b", "c</think>d"),
    ("<thi", None, "<thi"),
    ("<thin air", None, "<thin air"),
    ("Yes <think>no</think>", None, "Yes <think>no</think>"),
    ("no tag</think>Yes", None, "no tag</think>Yes"),
    ("<Think>Yes", None, "<Think>Yes"),
    ("  Yes", None, "  Yes"),
    (" " * 2000 + "<think>Hm.</think>", None, " " * 2000 + "<think>Hm.</think>"),
    ("", None, None),
]


@pytest.mark.parametrize(("text", "reasoning", "content"), CASES)
def test_a_leading_block_is_reasoning(text: str, reasoning: str | None, content: str | None) -> None:
    """Tags and the white space after them go, all else stays, whole or letter by letter."""
    assert whole(text) == (reasoning, content)
    assert streamed([event(text)]) == [(reasoning, content)]
    assert streamed([event(letter) for letter in text] or [event("")]) == [(reasoning, content)]
    assert streamed([*map(event, text), event("", finish="stop"), b"data: [DONE]\n\n"]) == [(reasoning, content)]


PIECES = st.lists(st.sampled_from(["<think>", "</think>", "<", "/", "</", "thi", "nk>", " ", "\n", "a", "你", ""]))


@given(pieces=PIECES, opened=st.booleans())
def test_any_cut_gives_the_same_split(pieces: list[str], opened: bool) -> None:
    """Tags come out split wherever the chunks were cut."""
    pieces = ["<think>", *pieces] if opened else pieces
    assert streamed([event("", "")] + [event(piece) for piece in pieces]) == [whole("".join(pieces))]


def test_choices_are_split_apart() -> None:
    """Each choice has its own beginning."""
    events = [event("<think>a"), event("b", index=1), event("</think>c"), event("<think>d", index=1)]
    assert streamed(events) == [("a", "c"), (None, "b<think>d")]


def test_a_choice_with_reasoning_of_its_own_is_left_alone() -> None:
    """A server that splits by itself may well speak of tags."""
    assert streamed([event(None, "Hm."), event("<think>"), event("x")]) == [("Hm.", "<think>x")]
    assert whole("<think>x", "Hm.") == ("Hm.", "<think>x")


@pytest.mark.parametrize("end", [b"data: [DONE]\n\n", b'data: {"error":{"message":"no"}}\n\n', b"data: {]\n\n", b""])
def test_what_is_held_back_comes_before_every_end(end: bytes) -> None:
    """Half a tag is text once nothing follows it."""
    assert streamed([event("<think>Hm.</th") + end]) == [("Hm.</th", None)]
    assert streamed([event("Y"), event("<th", index=1) + end]) == [(None, "Y"), (None, "<th")]


def test_what_is_held_back_can_be_had_where_the_body_broke_off() -> None:
    """`cut_short` gives it, once."""
    protocol = ThinkProtocol(1 << 20)
    assert protocol.feed(event("<thi"))[0].content is None
    (chunk,) = protocol.cut_short()
    assert (chunk.content, chunk.id, chunk.model) == ("<thi", "1", "m")
    assert protocol.cut_short() == []


@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from(["<think>", "</think>", "<th", "ink>", "x", " ", "", None]),
            st.sampled_from(["r", "", None]),
            st.sampled_from([None, None, None, "stop"]),
            st.integers(0, 1),
        )
    )
)
def test_nothing_is_lost_but_tags_and_space(pieces: list[tuple[str | None, str | None, str | None, int]]) -> None:
    """Whatever a server mixes, each choice's letters come out, as many as went in."""
    for index in range(2):
        sent = "".join(f"{reasoning or ''}{text or ''}" for text, reasoning, _, at in pieces if at == index)
        split = dict(enumerate(streamed([event(*piece) for piece in pieces])))
        alone = streamed([event(*piece[:3]) for piece in pieces if piece[3] == index])
        if sent:
            got = split[index if any(piece[3] == 0 for piece in pieces) else 0]
            assert got == alone[0]
            for letter in "xr":
                assert "".join(filter(None, got)).count(letter) == sent.count(letter)


def test_reasoning_of_its_own_comes_after_what_was_held_back() -> None:
    """The order is that of the wire."""
    assert streamed([event("<think>a</th"), event(None, "R")]) == [("a</thR", None)]


def test_a_plain_protocol_splits_nothing() -> None:
    """The option is off unless asked for."""
    assert streamed([event("<think>Hm.</think>Yes.")], ChatProtocol(1 << 20)) == [(None, "<think>Hm.</think>Yes.")]
