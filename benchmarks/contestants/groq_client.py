"""AsyncGroq."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import groq

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["Groq"]


class Groq(Contestant):
    modules = ("groq",)
    distributions = ("groq", "httpx")

    async def __aenter__(self) -> Self:
        self._client = groq.AsyncGroq(api_key="key", base_url=self.base_url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    async def stream(self, take: Take) -> None:
        async with await self._client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
            async for chunk in stream:
                take(chunk.choices[0].delta.content)

    async def whole(self) -> str | None:
        answer = await self._client.chat.completions.create(model=MODEL, messages=MESSAGES)
        content: str | None = answer.choices[0].message.content
        return content
