"""A chat's answer: `ChatProtocol` for one that is streamed, `decode_completion` for one that is asked for whole.

How a stream is read stands in `streamed`; what the decoder of whole answers refuses is read as a stream would be.
"""

from __future__ import annotations

from typing import Any

from . import jsontext
from .accumulate import Accumulator, has_progress
from .failures import Mask, malformed, unmasked
from .lazy import LAZY_DECODER, Chunk
from .lenient import to_chunk, to_completion
from .streamed import CANNOT_DECODE, Kind, StreamProtocol, read_as_stream
from .structs import CHUNK_DECODER, COMPLETION_DECODER, ChatCompletion
from .weight import check_weight

__all__ = ["ChatProtocol", "decode_completion"]

_NONE = "not a chat answer"


def _is_whole(value: dict[str, Any]) -> bool:
    """Whether an object is an answer, and not a chunk of one."""
    choices = value.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and isinstance(choice.get("message"), dict) for choice in choices
    )


class ChatProtocol(StreamProtocol[Chunk]):
    """Decode the stream of a chat; `lazily` makes LazyChunks of what is of the usual form."""

    __slots__ = ()

    kind = Kind(CHUNK_DECODER.decode, LAZY_DECODER.decode, to_chunk, _is_whole, _NONE)

    def has_progress(self, chunks: list[Chunk]) -> bool:
        return has_progress(chunks)


def decode_completion(body: bytes, mask: Mask = unmasked) -> ChatCompletion:
    """Decode a whole answer, or fold the events of one that came as a stream.

    Raises what a stream of the same bytes would: APIStatusError or StreamAPIError for an error under 200,
    MalformedStreamError for what is no answer, TruncatedStreamError for one that was cut off. What the errors quote
    passes `mask`.
    """
    completion: ChatCompletion | None
    try:
        check_weight(body)
        completion = COMPLETION_DECODER.decode(body)
    except CANNOT_DECODE:
        # What is raised here would lead to the decoder's error, which may hold the body.
        completion = None
    if completion is None or not completion.choices:
        completion = _completion_carefully(body, mask)
    for choice in completion.choices:
        if choice.logprobs is not None:
            choice.logprobs = jsontext.without_none(choice.logprobs)
    completion.raw = body
    return completion


def _completion_carefully(body: bytes, mask: Mask) -> ChatCompletion:
    """Read what the fast decoder refused."""
    accumulator = Accumulator()
    value = read_as_stream(body, ChatProtocol(max(len(body), 1), mask), accumulator)
    if value is None:
        return accumulator.completion()
    try:
        return to_completion(value)
    except ValueError as error:
        why = str(error)
    raise malformed(body, why, _NONE, mask)
