"""Chunks of which only the choices are decoded: for texts, events and folded answers, whose readers see no chunk.

What else a chunk tells, a third of the work, stays JSON until it is asked for: the usage once for each read, the rest
for a choice's first chunk at most.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Raw, field

from . import jsontext
from .lenient import to_chunk, to_usage
from .plain import Beside, nothing
from .structs import CHUNK_DECODER, MOST_CHOICES, ChatCompletionChunk, ChunkChoice, Usage

__all__ = ["LAZY_DECODER", "Chunk", "LazyChunk", "whole"]

_USAGE_DECODER = msgspec.json.Decoder(Usage | None)


class LazyChunk(Beside, msgspec.Struct, gc=False):
    """What stands for a ChatCompletionChunk where no user sees it. `raw` has to be set."""

    # Nobody reads it; but an object of another kind has to be refused, so that it is read the careful way.
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    choices: Annotated[list[ChunkChoice], Meta(max_length=MOST_CHOICES)] = field(default_factory=nothing)
    usage_json: Raw = field(default=Raw(b"null"), name="usage")
    error: None = None
    code: None = None
    message: None = None

    @property
    def usage(self) -> Usage | None:
        try:
            return _USAGE_DECODER.decode(self.usage_json)
        except msgspec.DecodeError:
            return to_usage(_parsed(self.usage_json))

    @property
    def id(self) -> str:
        return whole(self).id

    @property
    def model(self) -> str:
        return whole(self).model

    @property
    def created(self) -> int:
        return whole(self).created

    @property
    def system_fingerprint(self) -> str | None:
        return whole(self).system_fingerprint


Chunk: TypeAlias = ChatCompletionChunk | LazyChunk

LAZY_DECODER = msgspec.json.Decoder(LazyChunk)


def whole(chunk: Chunk) -> ChatCompletionChunk:
    """Return the chunk with all that it tells; its choices stay the same objects."""
    if isinstance(chunk, ChatCompletionChunk):
        return chunk
    payload = chunk.raw
    assert payload is not None
    try:
        made = CHUNK_DECODER.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        made = to_chunk(_parsed(payload))
    made.choices = chunk.choices
    made.raw = payload
    return made


def _parsed(data: bytes | Raw) -> Any:
    try:
        return jsontext.parse(data)
    except ValueError:
        # A number of thousands of digits, which Python refuses.
        return {}
