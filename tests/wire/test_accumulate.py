"""Folding chunks to an answer: at any time, in any order of choices, without losing or repeating anything."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest

from siliconflow_async.errors import MalformedStreamError
from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.protocol import ChatProtocol
from siliconflow_async.wire.structs import ChatCompletionChunk

from .build import FULL_USAGE, ID, Json, call, choice, chunk, data, folded, made, message, small, text, tokens
from .streams import STREAMS


def chunks(*payloads: Json) -> list[ChatCompletionChunk]:
    return ChatProtocol(1 << 20).feed(data(*payloads))


def fold(*payloads: Json) -> Json:
    accumulator = Accumulator()
    accumulator.fold(chunks(*payloads))
    return accumulator.completion().to_dict()


@pytest.mark.parametrize("name", STREAMS)
def test_looking_at_the_answer_in_between_changes_nothing(name: str) -> None:
    """The answer can be had after every chunk, twice, and the last is the one of a single fold."""
    stream = STREAMS[name]
    protocol = ChatProtocol(1 << 20)
    got = protocol.feed(stream.body) + protocol.eof()
    accumulator = Accumulator()
    for item in got:
        accumulator.fold([item])
        assert accumulator.completion() == accumulator.completion()
    assert accumulator.completion().to_dict()["choices"] == stream.choices
    assert accumulator.completion().to_dict().get("usage") == stream.usage


def test_an_answer_taken_earlier_stays_as_it_was() -> None:
    """An answer so far is a value of its own."""
    accumulator = Accumulator()
    accumulator.fold(chunks(small({"content": "Hel"}), small(call(0, "a", "f", "{"))))
    early = accumulator.completion()
    accumulator.fold(chunks(small({"content": "lo"}), small(call(0, None, None, "}"), "tool_calls")))
    assert early.to_dict()["choices"] == [folded(message("Hel", None, [made("a", "f", "{")]), None)]
    assert accumulator.completion().to_dict()["choices"] == [
        folded(message("Hello", None, [made("a", "f", "{}")]), "tool_calls")
    ]


def test_nothing_folds_to_an_answer_without_choices() -> None:
    """Before the first chunk there is an empty answer, which is not finished."""
    accumulator = Accumulator()
    assert accumulator.completion().to_dict() == {
        "id": "", "object": "chat.completion", "created": 0, "model": "", "choices": []
    }  # fmt: skip
    assert not accumulator.finished


@pytest.mark.parametrize(
    ("deltas", "content"),
    [
        ([], None),
        ([{"content": None}], None),
        ([{}], None),
        ([{"content": ""}], ""),
        ([{"content": None}, {"content": ""}], ""),
        ([{"content": "a"}, {"content": None}, {"content": "b"}], "ab"),
    ],
)
def test_content_is_none_until_some_came(deltas: list[Json], content: str | None) -> None:
    """Folded content, and reasoning likewise, is None if nothing but null came, else the joined text."""
    accumulator = Accumulator()
    accumulator.fold(chunks(*(small(delta) for delta in deltas), small({"reasoning_content": "r"})))
    assert accumulator.completion().content == content
    accumulator = Accumulator()
    accumulator.fold(
        chunks(*(small({"reasoning_content": delta.get("content")}) for delta in deltas), small({"content": "c"}))
    )
    assert accumulator.completion().reasoning_content == content


def test_the_role_is_not_joined() -> None:
    """A role on every chunk is still one role."""
    assert fold(*[small({"role": "assistant", "content": "a"})] * 3)["choices"] == [folded(message("aaa"), None)]


def test_choices_come_in_the_order_of_their_indexes() -> None:
    """Choices are kept by index, not by place."""
    payload = {"choices": [choice({"content": "c"}, "stop", 2), choice({"content": "a"}, "stop", 0)]}
    late = {"choices": [choice({"content": "b"}, "length", 1)]}
    assert fold(payload, late)["choices"] == [
        folded(message("a")), folded(message("b"), "length", 1), folded(message("c"), "stop", 2)
    ]  # fmt: skip


def test_the_head_is_the_first_that_is_not_empty() -> None:
    """id, model and created may come late; what came first stays."""
    head = fold(small({}, id="", model="", created=0), small({}, id="x", model="m", created=7), chunk())
    assert (head["id"], head["model"], head["created"]) == ("x", "m", 7)
    assert fold(chunk(), small({}, id="x", model="m", created=7, system_fingerprint="f"))["id"] == ID
    assert fold(small({}, id="x", model=""), small({}, id="y", model="m"))["id"] == "x"


@pytest.mark.parametrize(
    ("usages", "last"),
    [
        ([tokens(1, 1), tokens(1, 2)], tokens(1, 2)),
        ([tokens(1, 2), None, None], tokens(1, 2)),
        ([None, FULL_USAGE], FULL_USAGE),
        ([tokens(1, 5), tokens(1, 2)], tokens(1, 2)),
        ([None], None),
    ],
)
def test_the_last_usage_counts(usages: list[Json | None], last: Json | None) -> None:
    """Usage is cumulative: the last one that is not null counts, and none is added up."""
    assert fold(*({"choices": [], "usage": usage} for usage in usages)).get("usage") == last


@pytest.mark.parametrize("name", ["content", "reasoning_content"])
def test_empty_texts_are_not_collected(name: str) -> None:
    """Some servers send one with each chunk, to keep a connection open."""
    accumulator = Accumulator()
    empty = chunks(small({name: ""}))
    accumulator.fold(empty)
    tracemalloc.start()
    try:
        for _ in range(10_000):
            accumulator.fold(empty)
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("take", [Accumulator.completion, Accumulator.take_usage])
def test_usage_does_not_keep_the_chunk_that_it_came_in(take: Callable[[Accumulator], object]) -> None:
    """Half a mebibyte beside it is gone with the chunk."""
    accumulator = Accumulator()
    tracemalloc.start()
    try:
        accumulator.fold(chunks({"choices": [], "usage": FULL_USAGE, "padding": "x" * 2**19}))
        assert accumulator.usage is not None
        kept = take(accumulator)
        del accumulator
        assert tracemalloc.get_traced_memory()[0] < 2**18
    finally:
        tracemalloc.stop()
    assert kept is not None


@pytest.mark.parametrize(
    ("reasons", "finished"),
    [
        ([(0, None)], False),
        ([(0, "")], False),
        ([(0, "stop")], True),
        ([(0, "eos"), (0, None)], True),
        ([(0, "stop"), (0, "")], True),
        ([(0, "stop"), (1, None)], False),
        ([(0, "stop"), (1, "length")], True),
        ([(1, "stop")], True),
    ],
)
def test_an_answer_is_finished_when_every_choice_is(reasons: list[tuple[int, str | None]], finished: bool) -> None:
    """Each choice that appeared needs a finish reason that is not empty; a null after it does not take it back."""
    accumulator = Accumulator()
    accumulator.fold(chunks(*({"choices": [choice({}, reason, index)]} for index, reason in reasons)))
    assert accumulator.finished is finished


def test_an_empty_finish_reason_beside_a_call_takes_none_back() -> None:
    """A finish reason stays also where a late fragment comes with an empty one."""
    answer = fold(small(call(0, "a", "f"), "tool_calls"), small(call(0, None, None, "{}"), ""))
    assert answer["choices"] == [folded(message(calls=[made("a", "f", "{}")]), "tool_calls")]


@pytest.mark.parametrize(
    ("payload", "progress"),
    [
        (text("a"), True),
        (text(None, "r"), True),
        (small(call(0, "a", "f")), True),
        (small({}, "stop"), True),
        ({"choices": [choice({"content": ""}), choice({"content": "b"}, index=1)]}, True),
        (text(""), False),
        (text(None, ""), False),
        (small({"role": "assistant"}), False),
        (small({}, ""), False),
        (small({"tool_calls": []}), False),
        (chunk(usage=FULL_USAGE), False),
        ({"choices": None}, False),
    ],
)
def test_progress_is_text_reasoning_a_call_or_a_finish(payload: Json, progress: bool) -> None:
    """Folding tells what a model said from what a server says to keep a connection open."""
    accumulator = Accumulator()
    assert accumulator.fold(chunks(payload)) is progress
    assert not accumulator.fold(chunks(text(""), chunk()))


def test_log_probabilities_are_joined_by_key_and_choice() -> None:
    """Token lists are appended, other values are the first that is not null, rubbish is left out."""

    def item(logprobs: object, index: int = 0) -> Json:
        return {"choices": [choice({}, None, index, logprobs=logprobs)]}

    answer = fold(
        item({"content": [1], "refusal": None, "model": "m"}),
        item({"content": [1], "top": None}, 1),
        item(None),
        item("rubbish"),
        item({"content": [2, {"a": [3]}], "refusal": [4], "model": "n"}),
        item({"content": None}),
    )
    assert answer["choices"][0]["logprobs"] == {"content": [1, 2, {"a": [3]}], "model": "m", "refusal": [4]}
    assert answer["choices"][1]["logprobs"] == {"content": [1]}
    assert "logprobs" not in fold(item([1]), item("x"))["choices"][0]


def pieces_joined(build: Callable[[str], Json], count: int) -> int:
    accumulator = Accumulator()
    for item in chunks(*[build("x")] * count):
        accumulator.fold([item])
    answer = accumulator.completion()
    calls = answer.tool_calls or []
    return len((answer.content or "") + (answer.reasoning_content or "") + "".join(c.function.arguments for c in calls))


@pytest.mark.parametrize(
    "build",
    [
        lambda piece: small({"content": piece}),
        lambda piece: small({"reasoning_content": piece}),
        lambda piece: small(call(0, None, None, piece)),
    ],
)
def test_many_deltas_are_all_there(build: Callable[[str], Json]) -> None:
    """Thousands of deltas fold to their whole text."""
    assert pieces_joined(build, 5000) == 5000


def many(count: int, of: Callable[[int], Json]) -> list[ChatCompletionChunk]:
    return chunks(*map(of, range(count)))


@pytest.mark.parametrize(
    ("of", "said"),
    [
        (lambda at: chunk(choice({"content": "x"}, index=at)), "1,025 choices, more than 1,024"),
        (lambda at: small(call(at, None, "f")), "1,025 tool calls in one choice, more than 1,024"),
        (lambda at: small(call(None, f"call_{at}", "f")), "1,025 tool calls in one choice, more than 1,024"),
    ],
    ids=["choices", "calls", "calls without an index"],
)
def test_more_than_any_answer_holds_is_malformed(of: Callable[[int], Json], said: str) -> None:
    """The bound itself is an answer; one more is an error that names both, and what came before is kept."""
    accumulator = Accumulator()
    accumulator.fold(many(1024, of))
    before = accumulator.completion().to_dict()
    assert len(before["choices"]) == 1024 or len(before["choices"][0]["message"]["tool_calls"]) == 1024
    with pytest.raises(MalformedStreamError, match=said):
        accumulator.fold(many(1025, of))
    assert accumulator.completion().choices[0].index == 0


def test_log_probabilities_of_a_large_chunk_are_not_held_twice() -> None:
    """The answer has the chunk's own entries, and appends to a list of its own."""
    entries = [{"token": "x" * 50, "logprob": -0.5}] * 5000
    (large,) = chunks(chunk(choice({"content": "x"}, logprobs={"content": entries})))
    accumulator = Accumulator()
    accumulator.fold([large])
    accumulator.fold(chunks(chunk(choice({"content": "y"}, "stop", logprobs={"content": entries[:1]}))))
    for _ in range(2):
        logprobs = accumulator.completion().choices[0].logprobs
        assert logprobs == {"content": [*entries, entries[0]]}
        assert logprobs is not None
        assert large.choices[0].logprobs is not None
        assert logprobs["content"][7] is large.choices[0].logprobs["content"][7]
    assert large.choices[0].logprobs == {"content": entries}


def test_log_probabilities_add_up() -> None:
    """However few there are in each chunk, all that are folded take no more than their bytes allow."""
    accumulator = Accumulator()
    few = chunks(chunk(choice({"content": "x"}, logprobs={"content": [[]] * 1000})))
    accumulator.fold(few)
    with pytest.raises(MalformedStreamError, match=r"too many log probabilities \([\d,]+ bytes .* more than [\d,]+\)"):
        accumulator.fold(few * 1000)
