"""AsyncOpenAI, over its default transport and over aiohttp; the raw stream and the `.stream()` helper."""

from __future__ import annotations

from typing import Any, Self

import openai

from .contestant import MESSAGES, MODEL, Take
from .openai_shape import OpenAIShape

__all__ = ["Aiohttp", "AiohttpHelper", "Default", "Helper"]


class Default(OpenAIShape):
    modules = ("openai",)
    distributions = ("openai", "httpx", "httpx2")

    def _http_client(self) -> Any:
        return None

    async def __aenter__(self) -> Self:
        self._client = openai.AsyncOpenAI(api_key="key", base_url=self.base_url, http_client=self._http_client())
        return self


class Helper(Default):
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    take(event.delta)


class _OverAiohttp(Default):
    @classmethod
    def check(cls) -> None:
        try:
            openai.DefaultAioHttpClient()
        except RuntimeError as error:
            raise ImportError("its aiohttp transport is not there") from error

    def _http_client(self) -> Any:
        return openai.DefaultAioHttpClient()


class Aiohttp(_OverAiohttp):
    pass


class AiohttpHelper(_OverAiohttp, Helper):
    reads_whole = False
