"""A chunk of which only the choices are decoded at first tells all else as it would have, had it been decoded whole."""

from __future__ import annotations

from typing import Any

import pytest

from siliconflow_async.wire.accumulate import Accumulator
from siliconflow_async.wire.events import EventBuilder, Started
from siliconflow_async.wire.lazy import Chunk, LazyChunk, whole
from siliconflow_async.wire.protocol import ChatProtocol
from siliconflow_async.wire.structs import Usage

from .build import DONE, FULL_USAGE, ID, MODEL, Json, choice, chunk, data, small, text, tokens
from .streams import STREAMS


def read(body: bytes, lazily: bool) -> list[Chunk]:
    protocol = ChatProtocol(1 << 20)
    return protocol.feed(body, lazily) + protocol.eof()


def answer(chunks: list[Chunk]) -> Json:
    accumulator = Accumulator()
    accumulator.fold(chunks)
    return accumulator.completion().to_dict()


def events(chunks: list[Chunk]) -> list[Any]:
    builder = EventBuilder()
    return [event for chunk in chunks for event in builder.feed(chunk)] + builder.finish(None)


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_comes_to_the_same(name: str) -> None:
    """To the same answer, the same events, and the same chunks if they are asked for."""
    body = STREAMS[name].body
    lazy, usual = read(body, True), read(body, False)
    assert answer(lazy) == answer(usual)
    assert events(lazy) == events(usual)
    assert [(whole(one).to_dict(), one.raw) for one in lazy] == [(one.to_dict(), one.raw) for one in usual]


def test_the_usual_chunk_is_lazy_and_an_odd_one_is_not() -> None:
    """Errors, whole answers and fields of another server's are told apart before anything is put off."""
    lazy, odd = read(data(text("a"), small({"content": "b", "reasoning": "c"})) + DONE, True)
    assert isinstance(lazy, LazyChunk)
    assert not isinstance(odd, LazyChunk)
    protocol = ChatProtocol(1 << 20)
    assert len(protocol.feed(data(text("a"), {"error": {"message": "no"}}), True)) == 1
    assert protocol.failure is not None


@pytest.mark.parametrize(
    "usage",
    [None, [], "many", 7, {}, FULL_USAGE, {"prompt_tokens": "9", "completion_tokens": 2.0}, {"total_tokens": {}}],
)
def test_usage_of_any_type_is_read_as_leniently(usage: Any) -> None:
    """A count of a wrong type is 0, and what is no usage none."""
    body = data(small({"content": "a"}, usage=usage))
    [lazy], [usual] = read(body, True), read(body, False)
    assert isinstance(lazy, LazyChunk)
    assert lazy.usage == usual.usage


@pytest.mark.parametrize("usage", [None, {"total_tokens": 1}])
def test_null_does_not_unsay_a_usage_that_came(usage: Any) -> None:
    """The last usage that is one counts."""
    body = data(small({"content": "a"}, usage=tokens(1, 2)), small({"content": "b"}, usage=usage))
    assert answer(read(body, True)) == answer(read(body, False))


@pytest.mark.parametrize("head", [{"id": 5}, {"model": None}, {"created": "x"}, {"system_fingerprint": []}])
def test_a_head_of_a_wrong_type_is_read_as_leniently(head: Json) -> None:
    """It is left out, and the rest stays."""
    body = data(text("a", usage=tokens(1, 2)) | head)
    [lazy], [usual] = read(body, True), read(body, False)
    assert isinstance(lazy, LazyChunk)
    assert whole(lazy).to_dict() == usual.to_dict()
    assert (lazy.id, lazy.model) == (usual.id, usual.model)
    assert (lazy.created, lazy.system_fingerprint) == (usual.created, usual.system_fingerprint)


def test_a_number_that_python_refuses_is_left_out() -> None:
    """A chunk that is decoded whole is malformed for it, but here its choices have been given out already."""
    huge = b"1" * 10_000
    body = (
        b'data: {"choices":[{"delta":{"content":"a"}}],"created":' + huge + b',"usage":{"total_tokens":' + huge + b"}}"
    )
    [lazy] = read(body + b"\n\n", True)
    assert lazy.usage == Usage()
    assert whole(lazy).content == "a"


def test_a_choice_that_comes_late_is_told_with_its_head() -> None:
    """`Started` names the id and the model of the chunk that began it."""
    first, second = read(data(text("a"), chunk(choice({"content": "b"}, index=1))), True)
    builder = EventBuilder()
    builder.feed(first)
    assert builder.feed(second)[0] == Started(1, ID, MODEL)


def test_what_was_changed_in_a_choice_stays_changed() -> None:
    """As where reasoning was moved out of the content."""
    [lazy] = read(data(text("a")), True)
    lazy.choices[0].delta.content = "b"
    assert whole(lazy).content == "b"
