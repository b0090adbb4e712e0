"""`SiliconFlowRerank`: the client's reranking as a step behind LangChain's retrievers."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document

from .owner import ClientOwner

__all__ = ["SiliconFlowRerank"]


class SiliconFlowRerank(ClientOwner, BaseDocumentCompressor):
    """Keeps the documents that fit a query best, the best first, each with `metadata["relevance_score"]`.

        reranker = SiliconFlowRerank(model="BAAI/bge-reranker-v2-m3", top_n=3)
        documents = await reranker.acompress_documents(documents, "Why is the sky blue?")

    Every failure is the library's own SiliconFlowError. Raises ConfigurationError without a key, TypeError for an
    unknown keyword.

    top_n: how many documents are kept; None: all.
    max_chunks_per_doc, overlap_tokens: as of `client.rerank.create`.
    client: runs every call, with its limits, retries and observers, and is never closed. None: one of its own.
    api_key, base_url: by default from SILICONFLOW_API_KEY and SILICONFLOW_BASE_URL; a `client` has its own.
    """

    model: str
    top_n: int | None = None
    max_chunks_per_doc: int | None = None
    overlap_tokens: int | None = None

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the documents that fit best, as copies."""
        if not documents:
            return []
        options = self._given("max_chunks_per_doc", "overlap_tokens")
        if self.top_n is not None:
            # More than there are would be refused.
            options["top_n"] = min(self.top_n, len(documents))
        ranking = await self._client.rerank.create(
            model=self.model, query=query, documents=[document.page_content for document in documents], **options
        )
        return [
            documents[ranked.index].model_copy(
                update={"metadata": {**documents[ranked.index].metadata, "relevance_score": ranked.relevance_score}}
            )
            for ranked in ranking.results
        ]

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """`acompress_documents` for callers that can't await."""
        return self._thread.call(self.acompress_documents(documents, query, callbacks))
