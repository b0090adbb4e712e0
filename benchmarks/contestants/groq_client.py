"""AsyncGroq."""

from __future__ import annotations

from typing import Self

import groq

from .openai_shape import OpenAIShape

__all__ = ["Groq"]


class Groq(OpenAIShape):
    modules = ("groq",)
    distributions = ("groq", "httpx")

    async def __aenter__(self) -> Self:
        self._client = groq.AsyncGroq(api_key="key", base_url=self.base_url)
        return self
