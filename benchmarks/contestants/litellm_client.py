"""litellm, told that the server speaks like OpenAI's."""

from __future__ import annotations

import os

from .contestant import MESSAGES, MODEL, Contestant, Take

# Read at import: without it litellm fetches its table of prices from the net.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import litellm  # after the line above

__all__ = ["Litellm"]


class Litellm(Contestant):
    modules = ("litellm",)
    distributions = ("litellm", "openai", "httpx")

    async def stream(self, take: Take) -> None:
        stream = await litellm.acompletion(
            model=f"openai/{MODEL}", messages=MESSAGES, api_base=self.base_url, api_key="key", stream=True
        )
        async for chunk in stream:
            take(chunk.choices[0].delta.content)

    async def whole(self) -> str | None:
        answer = await litellm.acompletion(
            model=f"openai/{MODEL}", messages=MESSAGES, api_base=self.base_url, api_key="key"
        )
        content: str | None = answer.choices[0].message.content
        return content
