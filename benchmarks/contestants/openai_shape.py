"""Clients in the shape of the openai package, which differ only in how they are opened."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["OpenAIShape"]


class OpenAIShape(Contestant):
    """Each kind opens its `_client` on entering."""

    _client: Any

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.close()

    def without_retries(self) -> None:
        self._client = self._client.with_options(max_retries=0)

    async def stream(self, take: Take) -> None:
        async with await self._client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True) as stream:
            async for chunk in stream:
                take(chunk.choices[0].delta.content)

    async def whole(self) -> str | None:
        answer = await self._client.chat.completions.create(model=MODEL, messages=MESSAGES)
        content: str | None = answer.choices[0].message.content
        return content
