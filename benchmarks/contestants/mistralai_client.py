"""Mistral's client."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx2
from mistralai.client import Mistral

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["Mistralai"]


class Mistralai(Contestant):
    modules = ("mistralai.client",)
    distributions = ("mistralai", "httpx2")

    async def __aenter__(self) -> Self:
        # Its own transport stops at 100 connections.
        self._http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None), timeout=600)
        self._client = Mistral(api_key="key", server_url=self.base_url, async_client=self._http)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def stream(self, take: Take) -> None:
        async with await self._client.chat.stream_async(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream:
                take(event.data.choices[0].delta.content)

    async def whole(self) -> str | None:
        answer = await self._client.chat.complete_async(model=MODEL, messages=MESSAGES)
        content: str | None = answer.choices[0].message.content
        return content
