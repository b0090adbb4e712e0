"""Embeddings: what `POST /embeddings` sends back.

`decode_floats`, `decode_texts` and `decode_arrays` read the same answers into lists of floats, into base64 texts, and
into arrays of NumPy. They raise APIStatusError for an error under 200, MalformedStreamError for what is no answer to so
many texts: a vector that is missing, or holds what is no number, would be taken for another text's. Whatever form the
vectors came in, they are read into the one that was asked for.
"""

from __future__ import annotations

import binascii
import sys
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import field

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer, to_text, to_usage
from ..plain import Headed, Plain, told
from ..structs import Usage
from ..weight import check_total

if TYPE_CHECKING:
    import numpy
    from numpy.typing import NDArray

__all__ = [
    "Embedding",
    "EmbeddingArray",
    "EmbeddingArrays",
    "EmbeddingList",
    "decode_arrays",
    "decode_floats",
    "decode_texts",
]

V = TypeVar("V")
E = TypeVar("E", "EmbeddingList[Any]", "EmbeddingArrays")

_NONE = "no embeddings"
# What CPython takes for a float and its place in a list, which may be two bytes on the wire. Up to so many bytes not
# even such floats come to much, and commas take long to count.
_FLOAT = 40
_SMALL = 1024 * 1024
_CANNOT_DECODE = (msgspec.DecodeError, ValueError, RecursionError)


class Embedding(Plain, Generic[V]):
    """The vector of one text, the `index`-th that was given: a list of floats, or base64 where that was asked for."""

    embedding: V
    index: int = told(0)
    object: str = told("embedding")


class EmbeddingList(Headed, Plain, Generic[V]):
    """The vectors of all texts, in `data` in the order of the texts; `usage` is the sum of all requests'.

    `raw` is the body as it came, None where several requests were made; `headers` are the answer's headers with
    lower-case names and `trace_id` what SiliconFlow's support asks for, of several requests the first's.
    """

    data: list[Embedding[V]]
    object: str = told("list")
    model: str = told("")
    usage: Usage | None = None


class EmbeddingArray(Plain):
    """The vector of one text, the `index`-th that was given; it is written as base64, as it came."""

    data: bytearray = field(name="embedding")
    index: int = told(0)
    object: str = told("embedding")

    @property
    def embedding(self) -> NDArray[numpy.float32]:
        """The vector as an array of float32, which shares this object's memory."""
        import numpy

        return numpy.frombuffer(self.data, "<f4")


class EmbeddingArrays(Headed, Plain):
    """The vectors of all texts as NumPy's arrays, in `data` in the order of the texts; else as an EmbeddingList."""

    data: list[EmbeddingArray]
    object: str = told("list")
    model: str = told("")
    usage: Usage | None = None

    @property
    def matrix(self) -> NDArray[numpy.float32]:
        """All vectors in one new array of float32: a row for each text."""
        import numpy

        return numpy.frombuffer(bytearray().join(item.data for item in self.data), "<f4").reshape(len(self.data), -1)


_FLOATS = msgspec.json.Decoder(EmbeddingList[list[float]])
_TEXTS = msgspec.json.Decoder(EmbeddingList[str])
_ARRAYS = msgspec.json.Decoder(EmbeddingArrays)


def decode_floats(body: bytes, mask: Mask = unmasked, *, count: int) -> EmbeddingList[list[float]]:
    """Decode the body of an answer to `count` texts."""
    return _decoded(_as_floats, _floats_carefully, body, mask, count)


def decode_texts(body: bytes, mask: Mask = unmasked, *, count: int) -> EmbeddingList[str]:
    """The same, each vector as the base64 of its little-endian float32."""
    return _decoded(_TEXTS.decode, _texts_carefully, body, mask, count)


def decode_arrays(body: bytes, mask: Mask = unmasked, *, count: int) -> EmbeddingArrays:
    """The same as arrays."""
    answer = _decoded(_ARRAYS.decode, _arrays_carefully, body, mask, count)
    sizes = {len(item.data) for item in answer.data}
    if len(sizes) > 1 or any(size % 4 for size in sizes):
        raise malformed(body, "vectors of unequal length, or of no whole number of floats", _NONE, mask)
    return answer


def _as_floats(body: bytes) -> EmbeddingList[list[float]]:
    try:
        packed = _ARRAYS.decode(body)
    except msgspec.DecodeError:
        # At the first vector, if it is a list.
        return _FLOATS.decode(body)
    data = [Embedding(_unpacked(item.data), item.index) for item in packed.data]
    return EmbeddingList(data=data, model=packed.model, usage=packed.usage)


def _unpacked(packed: bytes | bytearray) -> list[float]:
    if len(packed) % 4:
        raise ValueError("base64 of no whole number of floats")
    if sys.byteorder == "little":
        floats: Any = memoryview(packed).cast("f")
        numbers: list[float] = floats.tolist()
        return numbers
    return _little_endian(array("f", packed)).tolist()


def _decoded(
    decode: Callable[[bytes], E],
    carefully: Callable[[dict[str, Any], list[Any]], E],
    body: bytes,
    mask: Mask,
    count: int,
) -> E:
    answer: E | None
    try:
        if len(body) > _SMALL:
            check_total(_FLOAT * body.count(b","), len(body))
        answer = decode(body)
    except _CANNOT_DECODE:
        answer = None
    why: str | None = None
    if answer is None or len(answer.data) != count:
        value = value_in(body, _NONE, mask)
        entries = value.get("data") if isinstance(value, dict) else None
        if not isinstance(entries, list):
            raise malformed(body, "no data", _NONE, mask)
        if len(entries) != count:
            raise malformed(body, f"{len(entries)} for {count} texts", _NONE, mask)
        try:
            answer = carefully(value, entries)
        except (TypeError, ValueError, OverflowError) as error:
            why = str(error)
    if answer is None or not _in_order(answer.data):
        raise malformed(body, why or "indices that are not those of the texts", _NONE, mask)
    answer.raw = body
    return answer


def _in_order(data: list[Any]) -> bool:
    """Put vectors into the order of their texts; False where their indices don't tell it."""
    if all(item.index == at for at, item in enumerate(data)):
        return True
    if not any(item.index for item in data):
        # Told of none of them: they came in order, then.
        for at, item in enumerate(data):
            item.index = at
        return True
    data.sort(key=lambda item: item.index)
    return all(item.index == at for at, item in enumerate(data))


def _floats_carefully(value: dict[str, Any], entries: list[Any]) -> EmbeddingList[list[float]]:
    data = [Embedding(_floats(entry), to_integer(entry.get("index")) or 0) for entry in entries]
    return EmbeddingList(data=data, model=to_text(value.get("model")) or "", usage=to_usage(value.get("usage")))


def _texts_carefully(value: dict[str, Any], entries: list[Any]) -> EmbeddingList[str]:
    data = [Embedding(_encoded(entry), to_integer(entry.get("index")) or 0) for entry in entries]
    return EmbeddingList(data=data, model=to_text(value.get("model")) or "", usage=to_usage(value.get("usage")))


def _arrays_carefully(value: dict[str, Any], entries: list[Any]) -> EmbeddingArrays:
    data = [EmbeddingArray(bytearray(_packed(entry)), to_integer(entry.get("index")) or 0) for entry in entries]
    return EmbeddingArrays(data=data, model=to_text(value.get("model")) or "", usage=to_usage(value.get("usage")))


def _floats(entry: Any) -> list[float]:
    vector = _vector(entry)
    return vector if isinstance(vector, list) else _unpacked(vector)


def _encoded(entry: Any) -> str:
    vector = _vector(entry)
    if isinstance(vector, bytes):
        text: str = entry["embedding"]
        return text
    return binascii.b2a_base64(_little_endian(array("f", vector)).tobytes(), newline=False).decode()


def _packed(entry: Any) -> bytes:
    vector = _vector(entry)
    return vector if isinstance(vector, bytes) else _little_endian(array("f", vector)).tobytes()


def _vector(entry: Any) -> list[float] | bytes:
    """Return the vector of an entry as it came; raise ValueError for one that holds what is no number."""
    vector = entry.get("embedding") if isinstance(entry, dict) else None
    if isinstance(vector, str):
        packed = binascii.a2b_base64(vector, strict_mode=True)
        if len(packed) % 4:
            raise ValueError("base64 of no whole number of floats")
        return packed
    if not isinstance(vector, list):
        raise ValueError("an entry without a vector")
    if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in vector):
        raise ValueError("a vector that holds what is no number")
    return [float(number) for number in vector]


def _little_endian(numbers: array[float]) -> array[float]:
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
