"""Documents in the order of their relevance: what `POST /rerank` sends back.

`decode_ranking` raises APIStatusError for an error under 200, MalformedStreamError for what is no ranking of so many
documents: one without a score, or that is none of them, would be mistaken for another. SiliconFlow's page has the
tokens at `tokens`, others have seen them at `meta.tokens`; both are read, and a `usage` such as llama.cpp's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer, to_text, to_usage
from ..plain import Headed, Plain, nothing, told
from ..structs import Usage

__all__ = ["Ranked", "RankedDocument", "Ranking", "RankingTokens", "decode_ranking"]

_NONE = "no ranking"


class RankedDocument(Plain):
    """A document's text."""

    text: str


class Ranked(Plain):
    """One document's place: it is the `index`-th that was given; the higher its `relevance_score`, the better it fits.

    `document` is there where `return_documents` asked for it.
    """

    index: int
    relevance_score: float
    document: RankedDocument | None = None


class RankingTokens(Plain):
    """Tokens of one request."""

    input_tokens: int = told(0)
    output_tokens: int = told(0)


class Ranking(Headed, Plain):
    """Documents in `results`, in the order in which the service has them: the most relevant first.

    `tokens` is None where the service did not tell. `raw` is the body as it came, `headers` the answer's headers with
    lower-case names, `trace_id` what SiliconFlow's support asks for.
    """

    id: str = told("")
    results: list[Ranked] = msgspec.field(default_factory=nothing)
    tokens: RankingTokens | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens under the names of every other answer."""
        if self.tokens is None:
            return None
        given, made = self.tokens.input_tokens, self.tokens.output_tokens
        return Usage(prompt_tokens=given, completion_tokens=made, total_tokens=given + made)


def decode_ranking(body: bytes, mask: Mask = unmasked, *, count: int) -> Ranking:
    """Decode the body of an answer to `count` documents."""
    value = value_in(body, _NONE, mask)
    entries = value.get("results") if isinstance(value, dict) else None
    if not isinstance(entries, list):
        raise malformed(body, "no results", _NONE, mask)
    results = [ranked for entry in entries if (ranked := _ranked(entry, count)) is not None]
    if len(results) < len(entries) or len({ranked.index for ranked in results}) < len(results):
        raise malformed(body, f"results that are not those of {count} documents", _NONE, mask)
    ranking = Ranking(id=to_text(value.get("id")) or "", results=results, tokens=_tokens(value))
    ranking.raw = body
    return ranking


def _ranked(entry: Any, count: int) -> Ranked | None:
    if not isinstance(entry, dict):
        return None
    index, score = entry.get("index"), entry.get("relevance_score")
    if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
        return None
    if not isinstance(score, int | float) or isinstance(score, bool) or not math.isfinite(score):
        return None
    document = entry.get("document")
    text = document.get("text") if isinstance(document, dict) else document
    return Ranked(index, float(score), RankedDocument(text) if isinstance(text, str) else None)


def _tokens(value: Mapping[str, Any]) -> RankingTokens | None:
    meta = value.get("meta")
    for found in (value.get("tokens"), meta.get("tokens") if isinstance(meta, dict) else None):
        if isinstance(found, dict):
            return RankingTokens(
                to_integer(found.get("input_tokens")) or 0, to_integer(found.get("output_tokens")) or 0
            )
    usage = to_usage(value.get("usage"))
    return None if usage is None else RankingTokens(usage.prompt_tokens, usage.completion_tokens)
