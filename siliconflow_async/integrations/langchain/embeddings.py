"""`SiliconFlowEmbeddings`: the client's embeddings for LangChain's vector stores."""

from __future__ import annotations

from langchain_core.embeddings import Embeddings

from .owner import ClientOwner

__all__ = ["SiliconFlowEmbeddings"]


class SiliconFlowEmbeddings(ClientOwner, Embeddings):
    """Embeddings of SiliconFlow's for LangChain, async first.

        embeddings = SiliconFlowEmbeddings(model="BAAI/bge-m3")
        vectors = await embeddings.aembed_documents(["The sky is blue.", "Bread needs time."])

    Lists of any length go in as many requests as it takes. Every failure is the library's own SiliconFlowError. Raises
    ConfigurationError without a key, TypeError for an unknown keyword.

    dimensions, batch_size: as of `client.embeddings.create`.
    client: runs every call, with its limits, retries and observers, and is never closed. None: one of its own.
    api_key, base_url: by default from SILICONFLOW_API_KEY and SILICONFLOW_BASE_URL; a `client` has its own.
    """

    model: str
    dimensions: int | None = None
    batch_size: int | None = None

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return the vectors of texts, in their order."""
        if not texts:
            return []
        options = self._given("dimensions", "batch_size")
        made = await self._client.embeddings.create(model=self.model, input=texts, **options)
        return [item.embedding for item in made.data]

    async def aembed_query(self, text: str) -> list[float]:
        """Return the vector of a text."""
        (vector,) = await self.aembed_documents([text])
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """`aembed_documents` for callers that can't await."""
        return self._thread.call(self.aembed_documents(texts))

    def embed_query(self, text: str) -> list[float]:
        """`aembed_query` for callers that can't await."""
        return self._thread.call(self.aembed_query(text))
