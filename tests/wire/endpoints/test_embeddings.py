"""Vectors read from bodies of either form into the form asked for; none is ever given to another text."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import struct
from collections.abc import Callable
from typing import Any

import pytest

from siliconflow_async import APIStatusError, MalformedStreamError
from siliconflow_async.answers import EmbeddingArrays, EmbeddingList
from siliconflow_async.wire.endpoints.embeddings import decode_arrays, decode_floats, decode_texts

DECODERS: list[Callable[..., Any]] = [decode_floats, decode_texts, decode_arrays]
# Exact as float32.
VECTORS = [[0.5, -1.0, 0.0], [0.25, 2.0, 1e-3 * 0 + 8.0]]


def packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def body(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"object": "list", "model": "org/m", "data": list(entries), **more}).encode()


def entry(at: int, vector: Any) -> dict[str, Any]:
    return {"object": "embedding", "index": at, "embedding": vector}


FLOATS = body(*(entry(at, vector) for at, vector in enumerate(VECTORS)), usage={"prompt_tokens": 4, "total_tokens": 4})
BASE64 = body(*(entry(at, packed(vector)) for at, vector in enumerate(VECTORS)))


@pytest.mark.parametrize("came", [FLOATS, BASE64])
def test_vectors_have_the_form_that_was_asked_for_whatever_they_came_in(came: bytes) -> None:
    assert [item.embedding for item in decode_floats(came, count=2).data] == VECTORS
    assert [item.embedding for item in decode_texts(came, count=2).data] == [packed(vector) for vector in VECTORS]
    arrays = decode_arrays(came, count=2)
    assert [item.embedding.tolist() for item in arrays.data] == VECTORS
    assert arrays.matrix.tolist() == VECTORS
    assert arrays.matrix.dtype == arrays.data[0].embedding.dtype == "float32"


def test_an_answer_has_the_names_of_the_wire() -> None:
    answer = decode_floats(FLOATS, count=2)
    assert isinstance(answer, EmbeddingList)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.model, answer.object) == (4, "org/m", "list")
    assert answer.raw == FLOATS
    assert answer.to_dict()["data"][1] == {"object": "embedding", "index": 1, "embedding": VECTORS[1]}
    assert json.loads(answer.to_json())["data"][0]["embedding"] == VECTORS[0]


def test_arrays_are_written_as_they_came_and_may_be_written_to() -> None:
    answer = decode_arrays(BASE64, count=2)
    assert isinstance(answer, EmbeddingArrays)
    assert answer.to_dict()["data"] == json.loads(BASE64)["data"] == json.loads(answer.to_json())["data"]
    answer.data[0].embedding[0] = 7
    assert answer.matrix[0, 0] == 7
    for twin in (copy.copy(answer), copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert twin == answer
        assert twin.raw == BASE64


@pytest.mark.parametrize("decode", DECODERS)
def test_vectors_come_in_the_order_of_their_texts(decode: Callable[..., Any]) -> None:
    """By their indices, or as they came where no index is told."""
    mixed = decode(body(entry(1, VECTORS[1]), entry(0, VECTORS[0])), count=2)
    untold = decode(body(*({"embedding": vector} for vector in VECTORS)), count=2)
    right = decode(FLOATS, count=2)
    assert mixed.data == untold.data == right.data


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "data",
    [
        [],
        [entry(0, VECTORS[0])],
        [entry(0, VECTORS[0])] * 3,
        [entry(1, VECTORS[0]), entry(1, VECTORS[1])],
        [entry(0, VECTORS[0]), entry(2, VECTORS[1])],
        [entry(0, VECTORS[0]), entry(1, None)],
        [entry(0, VECTORS[0]), entry(1, ["0.5"])],
        [entry(0, VECTORS[0]), entry(1, [True])],
        [entry(0, VECTORS[0]), entry(1, [None])],
        [entry(0, VECTORS[0]), entry(1, "?")],
        [entry(0, VECTORS[0]), entry(1, "AAAA")],
        [entry(0, VECTORS[0]), 5],
        {"0": VECTORS[0], "1": VECTORS[1]},
        None,
    ],
)
def test_vectors_that_may_be_another_texts_are_malformed(decode: Callable[..., Any], data: Any) -> None:
    with pytest.raises(MalformedStreamError):
        decode(json.dumps({"object": "list", "model": "m", "data": data}).encode(), count=2)


def test_vectors_of_unequal_length_make_no_matrix() -> None:
    with pytest.raises(MalformedStreamError, match="unequal length"):
        decode_arrays(body(entry(0, [0.5]), entry(1, [0.5, 1.0])), count=2)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "came",
    [
        b'{"code":20012,"message":"Model does not exist.","data":null}',
        b'{"code":50505,"message":"Overloaded.","data":[]}',
        b'{"error":{"message":"no","code":"x"}}',
    ],
)
def test_an_error_under_200_is_told(decode: Callable[..., Any], came: bytes) -> None:
    with pytest.raises(APIStatusError):
        decode(came, count=1)


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("came", [b"", b"<html>", b"[]", b"5", b'"no"', b"\xff\xfe", b"[" * 9999, FLOATS[:-9]])
def test_what_is_no_answer_is_malformed(decode: Callable[..., Any], came: bytes) -> None:
    with pytest.raises((MalformedStreamError, APIStatusError)):
        decode(came, count=2)


def test_odd_fields_beside_the_vectors_are_read_as_far_as_they_go() -> None:
    answer = decode_floats(
        body(entry(0, VECTORS[0]), model=5, usage={"prompt_tokens": "x", "total_tokens": 3}), count=1
    )
    assert answer.model == ""
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (0, 3)
    assert decode_floats(body(entry(0, [1, 0])), count=1).data[0].embedding == [1.0, 0.0]


def test_a_body_that_would_take_many_times_its_size_is_not_read() -> None:
    """Each float takes twelve times what its two bytes do."""
    dense = b'{"data":[{"embedding":[' + b"1," * 2_000_000 + b"1]}]}"
    with pytest.raises(MalformedStreamError, match="of memory"):
        decode_floats(dense, count=1)
