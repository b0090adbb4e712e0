"""How the stand-in ranks documents: by the words that they share with the query."""

from __future__ import annotations

import re

import msgspec

from ..serving.answers import deltas, new_id
from ..serving.refusals import refuse
from .embeddings import check_texts, similarity
from .question import Question

__all__ = ["rerank"]

_CHUNKS = re.compile(r"bge-|bce-", re.IGNORECASE)
_OVERLAP = 80
_encode = msgspec.json.Encoder().encode


async def rerank(question: Question) -> None:
    """Answer `POST /rerank`."""
    request = question.json()
    name, meter = question.model(request)
    (query,) = check_texts("query", [request.get("query")], name)
    documents = check_texts("documents", request.get("documents"), name)
    top = _whole("top_n", request.get("top_n"), 1, len(documents)) or len(documents)
    for parameter, most in (("max_chunks_per_doc", None), ("overlap_tokens", _OVERLAP)):
        value = request.get(parameter)
        if value is not None and _CHUNKS.search(name) is None:
            refuse(f"Value error, current model does not support parameter `{parameter}`.")
        _whole(parameter, value, 0 if most else 1, most)
    whole = request.get("return_documents")
    if whole not in (None, True, False):
        refuse("return_documents: Must be of type boolean")
    tokens = sum(len(deltas(query)) + len(deltas(document)) for document in documents)
    if meter is not None:
        meter.admit(tokens)
    scores = [similarity(query, document) for document in documents]
    best = sorted(range(len(documents)), key=lambda at: -scores[at])[:top]
    results = [
        {"index": at, "relevance_score": scores[at], **({"document": {"text": documents[at]}} if whole else {})}
        for at in best
    ]
    body = {"id": new_id(), "results": results, "tokens": {"input_tokens": tokens, "output_tokens": 0}}
    await question.writer.whole(200, _encode(body))


def _whole(name: str, value: object, low: int, high: int | None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        refuse(f"{name}: Must be an integer of at least {low}" + (f" and at most {high}" if high is not None else ""))
    return value
