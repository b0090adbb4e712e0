"""The careful way of reading chunks: equal to the fast one where that works, and never failing elsewhere."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siliconflow_async.wire.endpoints.batches import decode_batch
from siliconflow_async.wire.endpoints.files import decode_file
from siliconflow_async.wire.endpoints.images import decode_images
from siliconflow_async.wire.endpoints.models import decode_models
from siliconflow_async.wire.endpoints.rerank import decode_ranking
from siliconflow_async.wire.lenient import to_chunk, to_completion
from siliconflow_async.wire.structs import CHUNK_DECODER, COMPLETION_DECODER

from .build import FULL_USAGE, Json, call, dump, made, message

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
maybe_text = st.one_of(st.none(), texts)
counts = st.integers(0, 10)


def fields(required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(required, optional=optional)


functions = fields({}, name=maybe_text, arguments=maybe_text)
fragments = fields({}, index=counts, id=maybe_text, type=maybe_text, function=st.one_of(st.none(), functions))
deltas = fields(
    {},
    content=maybe_text,
    reasoning_content=maybe_text,
    role=st.sampled_from([None, "assistant"]),
    tool_calls=st.one_of(st.none(), st.lists(fragments, min_size=1, max_size=2)),
)
logprobs = st.one_of(st.none(), st.just({"content": [{"token": "a", "logprob": -0.5}]}))
chunk_choices = fields({"index": counts}, delta=deltas, finish_reason=maybe_text, logprobs=logprobs, other=counts)
usages = st.one_of(st.none(), st.just(FULL_USAGE))
heads = {"id": texts, "object": st.just("chat.completion.chunk"), "created": counts, "model": texts}
chunks = fields(
    {**heads, "choices": st.lists(chunk_choices, max_size=2)}, usage=usages, system_fingerprint=maybe_text, x=texts
)

calls = fields({"id": texts}, function=fields({}, name=texts, arguments=texts), type=st.just("function"))
messages = fields(
    {},
    role=st.just("assistant"),
    content=maybe_text,
    reasoning_content=maybe_text,
    tool_calls=st.one_of(st.none(), st.lists(calls, min_size=1, max_size=2)),
)
answer_choices = fields({"index": counts}, message=messages, finish_reason=maybe_text, logprobs=logprobs)
answers = fields(
    {"id": texts, "created": counts, "model": texts, "choices": st.lists(answer_choices, max_size=2)},
    usage=usages,
    system_fingerprint=maybe_text,
)


@settings(max_examples=300)
@given(chunks)
def test_a_chunk_that_the_fast_way_reads_is_the_same_by_the_careful_way(payload: Json) -> None:
    """The careful way differs in nothing on chunks that follow the format."""
    assert to_chunk(payload).to_dict() == CHUNK_DECODER.decode(dump(payload)).to_dict()


@settings(max_examples=300)
@given(answers)
def test_an_answer_that_the_fast_way_reads_is_the_same_by_the_careful_way(payload: Json) -> None:
    """And in nothing on whole answers."""
    assert to_completion(payload).to_dict() == COMPLETION_DECODER.decode(dump(payload)).to_dict()


def delta_of(delta: Any) -> Json:
    return to_chunk({"choices": [{"delta": delta}]}).choices[0].delta.to_dict()


@pytest.mark.parametrize(
    ("delta", "plain"),
    [
        ({"content": ["a", {"text": "b"}, {"text": 5}, {"image_url": {}}, None]}, {"content": "ab"}),
        ({"content": []}, {"content": ""}),
        ({"content": {"text": "a"}}, {}),
        ({"content": 5, "role": 5}, {}),
        ({"content": "a", "role": "model"}, {"content": "a", "role": "model"}),
        ({"reasoning": "a"}, {"reasoning_content": "a"}),
        ({"reasoning": "a", "reasoning_content": None}, {"reasoning_content": "a"}),
        ({"reasoning": "a", "reasoning_content": "b"}, {"reasoning_content": "b"}),
        ({"reasoning": ["a"], "reasoning_content": ["b", {"text": "c"}]}, {"reasoning_content": "bc"}),
        ({"reasoning": {"effort": "high"}}, {}),
        ({"tool_calls": None}, {}),
        ({"tool_calls": []}, {}),
        ({"tool_calls": "x"}, {}),
        ({"tool_calls": [5, {}]}, {"tool_calls": [{}]}),
        ({"tool_calls": [{"index": "0", "id": 5, "function": "f"}]}, {"tool_calls": [{}]}),
        ({"tool_calls": [{"index": -1}]}, {"tool_calls": [{}]}),
        ({"tool_calls": [{"index": 1.0, "function": {"name": 5}}]}, {"tool_calls": [{"index": 1, "function": {}}]}),
        (call(None, None, None, {"a": "é"}), {"tool_calls": [{"function": {"arguments": '{"a":"é"}'}}]}),
        (call(None, None, None, [1]), {"tool_calls": [{"function": {"arguments": "[1]"}}]}),
        (call(None, None, None, 5), {"tool_calls": [{"function": {"arguments": "5"}}]}),
        (None, {}),
        ("x", {}),
    ],
)
def test_a_delta_that_bends_the_format_is_read_as_meant_or_left_out(delta: Any, plain: Json) -> None:
    """Known bends are read as what was meant; a field of any other type is absent."""
    assert delta_of(delta) == plain


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ({"index": 3}, 3),
        ({"index": 3.0}, 3),
        ({"index": None}, 0),
        ({}, 0),
        ({"index": "3"}, 0),
        ({"index": 1e300}, 0),
        ({"index": True}, 0),
    ],
)
def test_a_choice_without_an_index_has_its_place(choice: Json, index: int) -> None:
    """An index that can't be used is the choice's place in the list."""
    assert [item.index for item in to_chunk({"choices": [choice, {"index": None}]}).choices] == [index, 1]
    assert [item.index for item in to_completion({"choices": [choice, {"index": None}]}).choices] == [index, 1]


@pytest.mark.parametrize("choices", [None, {}, "x", 5, [None, 5, "x", []]])
def test_what_is_no_list_of_choices_is_none(choices: Any) -> None:
    """`choices: null` and other types are an empty list."""
    assert to_chunk({"choices": choices}).choices == []
    assert to_completion({"choices": choices}).choices == []


def test_a_whole_answer_is_read_as_one_chunk() -> None:
    """A message stands in for a delta where there is none."""
    calls = [made("a", "f", "{}")]
    answer = {
        "object": "chat.completion",
        "choices": [{"message": message("Hi", "Hm", calls), "finish_reason": "stop"}],
    }
    chunk = to_chunk(answer)
    assert (chunk.object, chunk.content, chunk.reasoning_content, chunk.finish_reason) == (
        "chat.completion",
        "Hi",
        "Hm",
        "stop",
    )
    assert chunk.tool_calls is not None
    assert chunk.tool_calls[0].to_dict() == calls[0]


@pytest.mark.parametrize("name", ["id", "object", "created", "model", "system_fingerprint", "usage"])
@pytest.mark.parametrize("value", [None, True, 5, 1.5, 1e300, 10**40, "x", [], {}, {"a": None}])
def test_a_head_of_any_type_is_read_or_left_out(name: str, value: Any) -> None:
    """No value of a field at the top fails, and the result can be written as JSON."""
    for read in (to_chunk, to_completion):
        answer = read({name: value, "choices": [{}]})
        assert isinstance(answer.id + answer.object + answer.model, str)
        assert abs(answer.created) < 2**63
        assert answer.to_json()


@pytest.mark.parametrize("whole", [False, True])
def test_more_choices_or_calls_than_any_answer_has_are_told(whole: bool) -> None:
    """1,024 of either are read, by the fast decoders too; one more is an error that names both."""
    read, decoder, part = (
        (to_completion, COMPLETION_DECODER, "message") if whole else (to_chunk, CHUNK_DECODER, "delta")
    )
    few = {"choices": [{part: {"tool_calls": [{}] * 1024}}, *[{}] * 1023]}
    assert len(read(few).choices) == len(decoder.decode(dump(few)).choices) == 1024
    for many, said in (
        ({"choices": [{}] * 1025}, "1,025 choices in one answer, more than 1,024"),
        ({"choices": [{part: {"tool_calls": [{}] * 1025}}]}, "1,025 tool calls in one choice, more than 1,024"),
    ):
        with pytest.raises(ValueError, match=said):
            read(many)
        with pytest.raises(msgspec.ValidationError):
            decoder.decode(dump(many))


@pytest.mark.parametrize(
    ("decode", "body"),
    [
        (decode_file, b'{"id":"a","bytes":N,"created_at":N,"expires_at":N}'),
        (decode_batch, b'{"id":"a","created_at":N,"expires_at":N,"request_counts":{"total":N}}'),
        (decode_models, b'{"data":[{"id":"a","created":N}]}'),
        (lambda body: decode_ranking(body, count=0), b'{"results":[],"tokens":{"input_tokens":N}}'),
        (decode_images, b'{"images":[{"url":"http://a"}],"seed":N}'),
    ],
    ids=["a file", "a batch", "models", "a ranking", "images"],
)
def test_a_number_that_no_encoder_takes_is_left_out(decode: Any, body: bytes) -> None:
    """Whatever the endpoint: what was read can be written on."""
    answer = decode(body.replace(b"N", b"1" + b"0" * 30))
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(answer))
    assert msgspec.json.encode(written) == msgspec.json.encode(answer)
