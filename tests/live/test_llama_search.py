"""Embeddings, reranking and text completion by a real server: llama.cpp, each kind in a process of its own.

Without the extra `live` they are skipped; with `SILICONFLOW_LIVE=require` in the environment they fail instead.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator

import pytest

from siliconflow_async import AsyncSiliconFlow, AuthenticationError

from .conftest import Llama, running

MISSING = [name for name in ("xllamacpp", "gguf", "numpy") if importlib.util.find_spec(name) is None]
if MISSING and os.environ.get("SILICONFLOW_LIVE") != "require":
    pytest.skip(f"needs {', '.join(MISSING)}: pip install -e '.[live]'", allow_module_level=True)

pytestmark = [pytest.mark.live, pytest.mark.anyio]
# Of the tiny model's vectors.
WIDTH = 48
TEXTS = [f"the sky is blue {'and blue ' * (number % 5)}" for number in range(70)]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    with running(tmp_path_factory.mktemp("embedder"), "embedding") as llama:
        yield llama


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    with running(tmp_path_factory.mktemp("reranker"), "rerank") as llama:
        yield llama


async def test_a_long_list_has_its_vectors_in_every_form(embedder: Llama) -> None:
    """In three requests, in order; numbers, base64 and arrays say the same."""
    async with AsyncSiliconFlow(embedder.key, base_url=embedder.base_url) as client:
        packed = await client.embeddings.create(model="tiny/random", input=TEXTS)
        numbers = await client.embeddings.create(model="tiny/random", input=TEXTS, encoding_format="float")
        arrays = await client.embeddings.create(model="tiny/random", input=TEXTS, as_numpy=True)
        (alone,) = (await client.embeddings.create(model="tiny/random", input=TEXTS[66])).data
    assert packed.timing.attempts == 3
    assert [item.index for item in packed.data] == list(range(70))
    assert arrays.matrix.shape == (70, WIDTH)
    assert arrays.matrix.tolist() == [item.embedding for item in packed.data]
    for one, other in zip(packed.data, numbers.data, strict=True):
        assert one.embedding == pytest.approx(other.embedding, abs=1e-4)
    assert alone.embedding == pytest.approx(packed.data[66].embedding, abs=1e-4)
    assert packed.usage is not None
    assert packed.usage.prompt_tokens > 70


async def test_a_run_of_texts_has_a_vector_for_each(embedder: Llama) -> None:
    async with (
        AsyncSiliconFlow(embedder.key, base_url=embedder.base_url) as client,
        client.embeddings.map(iter(TEXTS), model="tiny/random", ordered=True, batch_size=10) as results,
    ):
        seen = [result async for result in results]
    assert [result.error for result in seen] == [None] * 70
    assert {len(result.completion.embedding) for result in seen if result.error is None} == {WIDTH}


async def test_documents_are_ranked(reranker: Llama) -> None:
    documents = ["blue", "the sky", "scatters and scatters"]
    async with AsyncSiliconFlow(reranker.key, base_url=reranker.base_url) as client:
        ranking = await client.rerank.create(model="tiny/random", query="the sky", documents=documents)
        best = await client.rerank.create(model="tiny/random", query="the sky", documents=documents, top_n=1)
    scores = [ranked.relevance_score for ranked in ranking.results]
    assert sorted(ranked.index for ranked in ranking.results) == [0, 1, 2]
    assert scores == sorted(scores, reverse=True)
    assert [ranked.index for ranked in best.results] == [ranking.results[0].index]
    assert ranking.usage is not None
    assert ranking.usage.prompt_tokens > 0


async def test_a_text_goes_on_whole_and_as_it_comes(client: AsyncSiliconFlow) -> None:
    ask = {"model": "tiny/random", "prompt": "the sky", "max_tokens": 20, "seed": 1, "temperature": 0.0}
    done = await client.completions.create(**ask, extra_body={"ignore_eos": True})
    async with client.completions.stream(**ask, extra_body={"ignore_eos": True}) as stream:
        texts = [text async for text in stream.text()]
        folded = await stream.completion()
    assert stream.ended == "done"
    assert "".join(texts) == folded.text == done.text
    assert folded.finish_reason == done.finish_reason == "length"
    assert done.usage is not None
    assert done.usage.completion_tokens == 20


async def test_a_wrong_key_is_told(embedder: Llama) -> None:
    async with AsyncSiliconFlow("sk-wrong", base_url=embedder.base_url) as client:
        with pytest.raises(AuthenticationError):
            await client.embeddings.create(model="tiny/random", input="a")
