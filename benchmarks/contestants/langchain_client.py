"""langchain-siliconflow."""

from __future__ import annotations

from typing import Self

from langchain_siliconflow import ChatSiliconFlow

from .contestant import MODEL, Contestant, Take

__all__ = ["Langchain"]


class Langchain(Contestant):
    modules = ("langchain_siliconflow",)
    distributions = ("langchain-siliconflow", "langchain-openai", "openai", "httpx")

    async def __aenter__(self) -> Self:
        self._chat = ChatSiliconFlow(model=MODEL, api_key="key", base_url=self.base_url)
        return self

    async def stream(self, take: Take) -> None:
        async for chunk in self._chat.astream("Say something long."):
            take(chunk.content)

    async def whole(self) -> str | None:
        content: str = (await self._chat.ainvoke("Say something long.")).content
        return content
