"""LangChain's models on this client: `ChatSiliconFlow`, and what searches. Needs the extra `langchain`."""

from .embeddings import SiliconFlowEmbeddings
from .model import ChatSiliconFlow
from .rerank import SiliconFlowRerank

__all__ = ["ChatSiliconFlow", "SiliconFlowEmbeddings", "SiliconFlowRerank"]
