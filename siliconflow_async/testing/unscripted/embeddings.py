"""Vectors that the stand-in makes of texts, and how it ranks documents: by the words that they share.

The same text has the same vector, and texts with words in common have vectors that lie near each other, so that what
searches by them finds something. A vector has length 1.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from zlib import crc32

import msgspec

from ..serving.answers import deltas
from ..serving.refusals import refuse
from .question import Question

__all__ = ["check_texts", "embeddings", "similarity"]

_MOST_TEXTS = 64
_DIMENSIONS = 1024
# By the model's name: the most tokens of a text, and the most numbers of a vector where the model can make less.
_MOST_TOKENS = ((re.compile(r"bge-(large|reranker-base)|/bce-", re.IGNORECASE), 512), (re.compile("", 0), 32_768))
_SIZES = (
    (re.compile(r"qwen3-embedding-8b", re.IGNORECASE), 4096),
    (re.compile(r"qwen3-embedding-4b", re.IGNORECASE), 2048),
    (re.compile(r"qwen3-embedding-0\.6b", re.IGNORECASE), 1024),
)
_WORD = re.compile(r"[a-z0-9]+|[\u2e80-\u9fff\uac00-\ud7af]", re.IGNORECASE)
# How many places of a vector one word has, and how much what is the text's own weighs beside a word.
_PLACES = 8
_OWN = 0.3
# A hash makes so many numbers of its own, which repeat.
_OWN_NUMBERS = 64
_encode = msgspec.json.Encoder().encode


async def embeddings(question: Question) -> None:
    """Answer `POST /embeddings`."""
    request = question.json()
    name, meter = question.model(request)
    texts = request.get("input")
    if isinstance(texts, str):
        texts = [texts]
    checked = check_texts("input", texts, name)
    if len(checked) > _MOST_TEXTS:
        refuse(f"input batch size {len(checked)} > maximum allowed batch size {_MOST_TEXTS}", code=20042, status=413)
    form = request.get("encoding_format") or "float"
    if form not in ("float", "base64"):
        refuse("encoding_format: Must be float or base64")
    size = _size(name, request.get("dimensions"))
    tokens = sum(len(deltas(text)) for text in checked)
    if meter is not None:
        meter.admit(tokens)
    data = [
        {"object": "embedding", "index": at, "embedding": _sent(_vector(text, size), form)}
        for at, text in enumerate(checked)
    ]
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    body = {"object": "list", "model": name, "data": data, "usage": usage}
    await question.writer.whole(200, _encode(body))


def check_texts(name: str, texts: Any, model: str) -> list[str]:
    """Return the texts of a request, or raise Refused."""
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        refuse(f"{name}: Must be a string or a list of strings, none of them empty")
    most = next(tokens for pattern, tokens in _MOST_TOKENS if pattern.search(model))
    for text in texts:
        if len(deltas(text)) > most:
            refuse(f"{name}: must have less than {most} tokens", code=20042, status=413)
    return texts


def similarity(one: str, other: str) -> float:
    """Return how near the vectors of two texts are, from 0 to 1."""
    return max(0.0, sum(a * b for a, b in zip(_vector(one, _DIMENSIONS), _vector(other, _DIMENSIONS), strict=True)))


def _size(model: str, wanted: Any) -> int:
    most = next((size for pattern, size in _SIZES if pattern.search(model)), None)
    if wanted is None:
        return most or _DIMENSIONS
    if most is None:
        refuse("Value error, current model does not support parameter `dimensions`.")
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not 0 < wanted <= most:
        refuse(f"dimensions: Must be an integer from 1 to {most}")
    return wanted


@lru_cache(maxsize=1024)
def _vector(text: str, size: int) -> Sequence[float]:
    own = hashlib.shake_128(text.encode("utf-8", "replace")).digest(2 * _OWN_NUMBERS)
    scale = _OWN / 32768 / math.sqrt(size / 3)
    numbers = [number * scale for number in struct.unpack(f"<{_OWN_NUMBERS}h", own)] * (size // _OWN_NUMBERS + 1)
    del numbers[size:]
    for word in _WORD.findall(text):
        seed = crc32(word.lower().encode())
        for place in range(_PLACES):
            mixed = crc32(struct.pack("<II", seed, place))
            numbers[mixed % size] += (1 if mixed & 0x80000000 else -1) / math.sqrt(_PLACES)
    length = math.hypot(*numbers)
    # As float32, of which base64 has no more.
    packed = struct.pack(f"<{size}f", *(number / length for number in numbers))
    return struct.unpack(f"<{size}f", packed)


def _sent(vector: Sequence[float], form: str) -> Any:
    if form == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector
