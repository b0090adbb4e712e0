"""This library, in the four ways in which it gives out a stream."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from siliconflow_async import AsyncSiliconFlow, ContentDelta, ReasoningDelta

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["Chunks", "Completion", "Events", "Text"]


class Chunks(Contestant):
    modules = ("siliconflow_async",)
    full_sse = True
    quick_to_read = True

    async def __aenter__(self) -> Self:
        self.use(AsyncSiliconFlow("key", base_url=self.base_url, max_connections=10_000))
        return self

    def use(self, client: AsyncSiliconFlow) -> None:
        self._client = client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    def without_retries(self) -> None:
        self.use(self._client.with_options(max_retries=0))

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for chunk in stream:
                delta = chunk.choices[0].delta
                take(delta.content or delta.reasoning_content)

    async def whole(self) -> str | None:
        return (await self._client.chat.completions.create(model=MODEL, messages=MESSAGES)).content


class Text(Chunks):
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for text in stream.text():
                take(text)


class Events(Chunks):
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream.events():
                match event:
                    case ContentDelta(text=text) | ReasoningDelta(text=text):
                        take(text)


class Completion(Chunks):
    """Nothing is given out until the end."""

    streams = False
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            done = await stream.completion()
            take((done.reasoning_content or "") + (done.content or ""))
