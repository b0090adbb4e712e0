"""LangChain's chat model on this client: `ChatSiliconFlow`. Needs the extra `langchain`."""

from .model import ChatSiliconFlow

__all__ = ["ChatSiliconFlow"]
