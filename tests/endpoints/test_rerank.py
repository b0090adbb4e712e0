"""`client.rerank.create`: its request, its answer in every form that was seen, and what is no ranking."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from siliconflow_async import (
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    CallState,
    ClosedError,
    InvalidRequestError,
    Limit,
    MalformedStreamError,
    RateLimitError,
    TruncatedStreamError,
)
from siliconflow_async.answers import Ranked, RankedDocument, RankingTokens
from siliconflow_async.testing import Stall

from ..asking import served

pytestmark = pytest.mark.anyio
MODEL = "BAAI/bge-reranker-v2-m3"
JSON = {"content-type": "application/json"}
DOCUMENTS = ["how to bake bread", "the sky is blue", "blue is the colour of the sky", "cars"]
ASK: dict[str, Any] = {"model": MODEL, "query": "why is the sky blue", "documents": DOCUMENTS}


def body(*results: Any, **more: Any) -> bytes:
    return msgspec.json.encode({"id": "1", "results": results, **more})


async def test_documents_come_in_the_order_of_their_relevance() -> None:
    """That of the service, which the stand-in makes by their words."""
    async with served() as (server, client):
        ranking = await client.rerank.create(**ASK)
        best = await client.rerank.create(
            **ASK, top_n=2, return_documents=True, max_chunks_per_doc=3, overlap_tokens=80, extra_body={"x": 1}
        )
    plain, full = server.requests
    assert (plain.method, plain.path, msgspec.json.decode(plain.body)) == ("POST", "/v1/rerank", ASK)
    more = {"top_n": 2, "return_documents": True, "max_chunks_per_doc": 3, "overlap_tokens": 80, "x": 1}
    assert msgspec.json.decode(full.body) == {**ASK, **more}
    assert [ranked.index for ranked in ranking.results][:2] == [1, 2]
    assert sorted(ranked.index for ranked in ranking.results) == [0, 1, 2, 3]
    scores = [ranked.relevance_score for ranked in ranking.results]
    assert scores == sorted(scores, reverse=True)
    assert {ranked.document for ranked in ranking.results} == {None}
    assert [ranked.document and ranked.document.text for ranked in best.results] == [DOCUMENTS[1], DOCUMENTS[2]]
    assert ranking.tokens is not None
    assert ranking.usage is not None
    assert ranking.usage.prompt_tokens == ranking.usage.total_tokens == ranking.tokens.input_tokens > 0
    assert ranking.trace_id == plain.trace_id
    assert ranking.id


@pytest.mark.parametrize(
    "told",
    [
        {"tokens": {"input_tokens": 5, "output_tokens": 1}},
        {"meta": {"tokens": {"input_tokens": 5, "output_tokens": 1}}},
        {"usage": {"prompt_tokens": 5, "completion_tokens": 1}},
        {"tokens": None, "meta": {"tokens": {"input_tokens": 5, "output_tokens": 1}, "billed_units": {}}},
    ],
)
async def test_tokens_are_found_wherever_the_service_puts_them(told: dict[str, Any]) -> None:
    async with served() as (server, client):
        server.raw([body({"index": 3, "relevance_score": 0.5}, **told)], headers=JSON)
        ranking = await client.rerank.create(**ASK)
    assert ranking.tokens == RankingTokens(5, 1)
    assert ranking.to_dict() == {
        "id": "1",
        "results": [{"index": 3, "relevance_score": 0.5}],
        "tokens": {"input_tokens": 5, "output_tokens": 1},
    }


async def test_the_order_is_the_services_and_documents_may_be_text_alone() -> None:
    results = [{"index": 1, "relevance_score": 0, "document": "b"}, {"index": 0, "relevance_score": 0.5, "document": 5}]
    async with served() as (server, client):
        server.raw([body(*results, tokens=5, id=7)], headers=JSON)
        ranking = await client.rerank.create(**ASK)
    assert ranking.results == [Ranked(1, 0.0, RankedDocument("b")), Ranked(0, 0.5)]
    assert (ranking.id, ranking.tokens, ranking.usage) == ("", None, None)
    assert ranking.raw is not None


@pytest.mark.parametrize(
    "came",
    [
        b"<html>",
        b"[]",
        b'{"id":"1"}',
        b'{"results":{}}',
        body(5),
        body({"index": 0}),
        body({"relevance_score": 1}),
        body({"index": 4, "relevance_score": 1}),
        body({"index": -1, "relevance_score": 1}),
        body({"index": True, "relevance_score": 1}),
        body({"index": 0, "relevance_score": "1"}),
        body({"index": 0, "relevance_score": None}),
        b'{"results":[{"index":0,"relevance_score":NaN}]}',
        body({"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}),
    ],
)
async def test_what_is_no_ranking_of_the_documents_is_malformed(came: bytes) -> None:
    async with served() as (server, client):
        server.raw([came], headers=JSON)
        with pytest.raises(MalformedStreamError) as caught:
            await client.rerank.create(**ASK)
        assert caught.value.trace_id == server.requests[0].trace_id


async def test_refusals_retries_clocks_and_cancellation_are_those_of_every_call() -> None:
    async with served(max_retries=2) as (server, client):
        server.fail(503, times=2)
        assert (await client.rerank.create(**ASK)).timing.attempts == 3
        server.fail(200, {"code": 30003, "message": "Model disabled.", "data": None})
        with pytest.raises(APIStatusError, match="Model disabled"):
            await client.rerank.create(**ASK)
        with pytest.raises(BadRequestError, match="none of them empty"):
            await client.rerank.create(**{**ASK, "documents": ["a", ""]})
        with pytest.raises(BadRequestError, match="max_chunks_per_doc"):
            await client.rerank.create(**{**ASK, "model": "Qwen/Qwen3-Reranker-8B"}, max_chunks_per_doc=1)
        for _ in range(3):
            server.raw([b""], headers=JSON)
        with pytest.raises(TruncatedStreamError):
            await client.rerank.create(**ASK)
        server.raw([Stall()])
        with pytest.raises(APITimeoutError):
            await client.rerank.create(**ASK, timeout=0.05)
        server.raw([Stall()])
        task = asyncio.create_task(client.with_options().rerank.create(**ASK))
        await server.received(len(server.requests) + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.left_early(2)
        await client.aclose()
        with pytest.raises(ClosedError):
            await client.rerank.create(**ASK)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"documents": []}, "documents must have at least one text"),
        ({"documents": "a"}, "documents must be a list of texts, not a value of type str"),
        ({"documents": {"a": 1}}, "documents must be a list of texts"),
        ({"documents": 5}, "documents must be a list of texts"),
        ({"documents": ["a", {"text": "b"}]}, r"documents\[1\] must be text, not a value of type dict"),
        ({"query": None}, "query must not be None"),
        ({"top_n": float("inf")}, "top_n: inf"),
    ],
)
async def test_a_wrong_argument_is_named_before_anything_is_sent(given: Any, words: str) -> None:
    async with served() as (server, client):
        with pytest.raises(InvalidRequestError, match=words) as caught:
            await client.rerank.create(**{**ASK, **given})
        assert caught.value.param in given
        with pytest.raises(TypeError, match="'top_k'; did you mean 'top_n'"):
            await client.rerank.create(**ASK, top_k=3)
        with pytest.raises(AttributeError, match=r"create\(…\) ranks"):
            client.rerank.rank  # type: ignore[attr-defined]  # noqa: B018
        assert server.requests == []


async def test_a_call_passes_the_gate_of_its_model_and_observers_see_it() -> None:
    seen: list[tuple[str, Any, int | None]] = []

    class Watch:
        def ended(self, call: CallState) -> None:
            seen.append((call.endpoint, call.ended, call.usage and call.usage.prompt_tokens))

    async with served(limits={MODEL: Limit(rpm=1, tpm=1000)}, observers=[Watch()]) as (_, client):
        ranking = await client.rerank.create(**ASK)
        state = client.limits[MODEL]
        assert ranking.tokens is not None
        assert (state.requests, state.tokens, state.reserved) == (1, ranking.tokens.input_tokens, 0)
        with pytest.raises(APITimeoutError):
            await client.rerank.create(**ASK, timeout=0.05)
    assert seen[0] == ("/rerank", "done", ranking.tokens.input_tokens)


async def test_a_rate_limit_is_an_error_like_any() -> None:
    async with served(max_retries=0) as (server, client):
        server.fail(429)
        with pytest.raises(RateLimitError) as caught:
            await client.rerank.create(**ASK)
        assert caught.value.meter == "tpm"
