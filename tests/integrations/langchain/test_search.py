"""Embeddings and reranking for LangChain: its own standard tests, in a loop and without, in a retrieval."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

from siliconflow_async import AsyncSiliconFlow, BadRequestError, ClosedError, ConfigurationError
from siliconflow_async.integrations.langchain import SiliconFlowEmbeddings, SiliconFlowRerank

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siliconflow_async.testing import FakeSiliconFlow

pytestmark = pytest.mark.anyio
MODEL = "BAAI/bge-m3"
RERANKER = "BAAI/bge-reranker-v2-m3"
NOTES = ["Bread needs flour and water.", "The sky is blue because air scatters light.", "Cars have wheels."]


@pytest.fixture
def embeddings(server: FakeSiliconFlow) -> Iterator[SiliconFlowEmbeddings]:
    found = SiliconFlowEmbeddings(model=MODEL, base_url=server.base_url, api_key="sk-test")
    yield found
    found.close()


@pytest.fixture
def reranker(server: FakeSiliconFlow) -> Iterator[SiliconFlowRerank]:
    found = SiliconFlowRerank(model=RERANKER, top_n=2, base_url=server.base_url, api_key="sk-test")
    yield found
    found.close()


class Told:
    """What the suites are told."""

    @property
    def embeddings_class(self) -> type[SiliconFlowEmbeddings]:
        return SiliconFlowEmbeddings


class TestUnit(Told, EmbeddingsUnitTests):  # type: ignore[misc]  # without LangChain's tests it is no class
    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "api_key": "sk-test"}

    @property
    def init_from_env_params(self) -> tuple[dict[str, str], dict[str, Any], dict[str, Any]]:
        return {"SILICONFLOW_API_KEY": "sk-env"}, {"model": MODEL}, {"api_key": "sk-env"}


class TestIntegration(Told, EmbeddingsIntegrationTests):  # type: ignore[misc]
    @pytest.fixture(autouse=True)
    def _on_a_stand_in(self, server: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SILICONFLOW_BASE_URL", server.base_url)

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "api_key": "sk-test"}


async def test_a_long_list_goes_in_several_requests(server: FakeSiliconFlow, embeddings: SiliconFlowEmbeddings) -> None:
    vectors = await embeddings.aembed_documents([f"text {number}" for number in range(40)])
    assert [len(vector) for vector in vectors] == [1024] * 40
    assert len(server.requests) == 2
    assert await embeddings.aembed_query("text 7") == vectors[7]
    assert await embeddings.aembed_documents([]) == []
    await embeddings.aclose()
    with pytest.raises(ClosedError):
        await embeddings.aembed_query("a")


def test_without_a_loop_it_says_the_same(embeddings: SiliconFlowEmbeddings) -> None:
    found = embeddings.embed_documents(NOTES)
    assert found == asyncio.run(embeddings.aembed_documents(NOTES))
    assert embeddings.embed_query(NOTES[1]) == found[1]


async def test_fields_are_parameters(server: FakeSiliconFlow) -> None:
    """With a client of one's own, which stays open."""
    async with AsyncSiliconFlow("sk-mine", base_url=server.base_url) as client:
        model = "Qwen/Qwen3-Embedding-0.6B"
        mine = SiliconFlowEmbeddings(model=model, dimensions=8, batch_size=2, timeout=5, client=client)
        assert [len(vector) for vector in await mine.aembed_documents(NOTES)] == [8, 8, 8]
        await mine.aclose()
        await client.models.list()
    assert len(server.requests) == 3
    assert {asked.headers["authorization"] for asked in server.requests} == {"Bearer sk-mine"}


def test_no_key_travels_and_none_is_shown(server: FakeSiliconFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = SiliconFlowEmbeddings(model=MODEL, base_url=server.base_url, api_key="sk-secret", dimensions=8)
    assert "sk-secret" not in repr(mine)
    assert b"sk-secret" not in pickle.dumps(mine)
    monkeypatch.setenv("SILICONFLOW_API_KEY", "sk-there")
    there = pickle.loads(pickle.dumps(mine))
    assert (there.model, there.dimensions, there.api_key.get_secret_value()) == (MODEL, 8, "sk-there")
    monkeypatch.delenv("SILICONFLOW_API_KEY")
    with pytest.raises(ConfigurationError):
        SiliconFlowEmbeddings(model=MODEL)
    with pytest.raises(TypeError, match="'dimension'; did you mean 'dimensions'"):
        SiliconFlowEmbeddings(model=MODEL, api_key="a", dimension=5)
    for made in (mine, there):
        made.close()


async def test_documents_are_searched_and_ranked(
    embeddings: SiliconFlowEmbeddings, reranker: SiliconFlowRerank
) -> None:
    store = InMemoryVectorStore(embeddings)
    await store.aadd_documents([Document(page_content=note, metadata={"at": at}) for at, note in enumerate(NOTES)])
    found = await store.asimilarity_search("why is the sky blue", k=3)
    assert found[0].page_content == NOTES[1]
    ranked = await reranker.acompress_documents(found, "why is the sky blue")
    assert [document.page_content for document in ranked][:1] == [NOTES[1]]
    assert len(ranked) == 2
    assert ranked[0].metadata["at"] == 1
    assert ranked[0].metadata["relevance_score"] > ranked[1].metadata["relevance_score"]
    assert "relevance_score" not in found[0].metadata


def test_a_reranker_without_a_loop(server: FakeSiliconFlow, reranker: SiliconFlowRerank) -> None:
    (one,) = reranker.compress_documents([Document(page_content="a")], "a")
    assert one.page_content == "a"
    assert reranker.compress_documents([], "a") == []
    assert len(server.requests) == 1
    with pytest.raises(BadRequestError):
        reranker.compress_documents([Document(page_content="")], "a")
