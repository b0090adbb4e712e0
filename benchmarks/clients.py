"""Clients: this library, in the four ways in which it gives out a stream, and its peers.

A peer is imported when it is checked, so that no other one's process has it.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Self

from siliconflow_async import AsyncSiliconFlow, ContentDelta, ReasoningDelta

from . import OURS
from .contestants import Contestant, Take
from .fixtures import MESSAGES, MODEL


class Chunks(Contestant):
    name = OURS
    modules = ("siliconflow_async",)
    full_sse = True
    quick_to_read = True

    async def __aenter__(self) -> Self:
        self.use(AsyncSiliconFlow("key", base_url=self.base_url, max_connections=10_000))
        return self

    def use(self, client: AsyncSiliconFlow) -> None:
        self._client = client

    async def __aexit__(self, *error: object) -> None:
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
    name = f"{OURS} text()"
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for text in stream.text():
                take(text)


class Events(Chunks):
    name = f"{OURS} events()"
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream.events():
                match event:
                    case ContentDelta(text=text) | ReasoningDelta(text=text):
                        take(text)


class Completion(Chunks):
    """Nothing is given out until the end."""

    name = f"{OURS} completion()"
    streams = False
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            done = await stream.completion()
            take((done.reasoning_content or "") + (done.content or ""))


class OpenAI(Contestant):
    """Over its default transport; the raw stream."""

    name = package = "openai"
    modules = ("openai",)
    distributions: ClassVar[tuple[str, ...]] = ("openai", "httpx", "httpx2")

    def open(self) -> Any:
        import openai

        return openai.AsyncOpenAI(api_key="key", base_url=self.base_url)

    async def __aenter__(self) -> Self:
        self._client = self.open()
        return self

    async def __aexit__(self, *error: object) -> None:
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


class OpenAIHelper(OpenAI):
    name = "openai .stream()"
    reads_whole = False

    async def stream(self, take: Take) -> None:
        async with self._client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream:
                if event.type == "content.delta":
                    take(event.delta)


class OpenAIAiohttp(OpenAI):
    name = "openai aiohttp"
    package = "openai[aiohttp]"

    @classmethod
    def check(cls) -> None:
        super().check()
        try:
            cls("").open()
        except RuntimeError as error:
            raise ImportError("its aiohttp transport is not there") from error

    def open(self) -> Any:
        import openai

        http = openai.DefaultAioHttpClient()
        return openai.AsyncOpenAI(api_key="key", base_url=self.base_url, http_client=http)


class OpenAIAiohttpHelper(OpenAIAiohttp, OpenAIHelper):
    name = "openai aiohttp .stream()"


class Groq(OpenAI):
    """In the shape of the openai package."""

    name = package = "groq"
    modules = ("groq",)
    distributions = ("groq", "httpx")

    def open(self) -> Any:
        import groq

        return groq.AsyncGroq(api_key="key", base_url=self.base_url)


class Mistralai(Contestant):
    name = package = "mistralai"
    modules = ("mistralai.client",)
    distributions = ("mistralai", "httpx2")

    async def __aenter__(self) -> Self:
        import httpx2
        from mistralai.client import Mistral

        # Its own transport stops at 100 connections.
        self._http = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None), timeout=600)
        self._client = Mistral(api_key="key", server_url=self.base_url, async_client=self._http)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def stream(self, take: Take) -> None:
        async with await self._client.chat.stream_async(model=MODEL, messages=MESSAGES) as stream:
            async for event in stream:
                take(event.data.choices[0].delta.content)

    async def whole(self) -> str | None:
        answer = await self._client.chat.complete_async(model=MODEL, messages=MESSAGES)
        content: str | None = answer.choices[0].message.content
        return content


class Litellm(Contestant):
    name = package = "litellm"
    modules = ("litellm",)
    distributions = ("litellm", "openai", "httpx")

    @classmethod
    def check(cls) -> None:
        # Read at import: without it litellm fetches its table of prices from the net.
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        super().check()

    async def _ask(self, **options: Any) -> Any:
        import litellm

        # Told that the server speaks like OpenAI's.
        model = f"openai/{MODEL}"
        return await litellm.acompletion(model, MESSAGES, api_base=self.base_url, api_key="key", **options)

    async def stream(self, take: Take) -> None:
        async for chunk in await self._ask(stream=True):
            take(chunk.choices[0].delta.content)

    async def whole(self) -> str | None:
        content: str | None = (await self._ask()).choices[0].message.content
        return content


class Langchain(Contestant):
    """A chat model of LangChain's."""

    name = package = "langchain-siliconflow"
    modules = ("langchain_siliconflow",)
    distributions = ("langchain-siliconflow", "langchain-openai", "openai", "httpx")

    def open(self) -> Any:
        from langchain_siliconflow import ChatSiliconFlow

        return ChatSiliconFlow(model=MODEL, api_key="key", base_url=self.base_url)

    async def __aenter__(self) -> Self:
        self._chat = self.open()
        return self

    async def stream(self, take: Take) -> None:
        async for chunk in self._chat.astream("Say something long."):
            take(chunk.content)

    async def whole(self) -> str | None:
        content: str = (await self._chat.ainvoke("Say something long.")).content
        return content


class LangchainOpenAI(Langchain):
    name = package = "langchain-openai"
    modules = ("langchain_openai",)
    distributions = ("langchain-openai", "langchain-core", "openai", "httpx")

    def open(self) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(model=MODEL, api_key="key", base_url=self.base_url)


class LangchainOurs(Langchain):
    name = f"{OURS} langchain"
    package = "siliconflow-async[langchain]"
    modules = ("siliconflow_async.integrations.langchain",)
    distributions = ("langchain-core",)

    def open(self) -> Any:
        from siliconflow_async.integrations.langchain import ChatSiliconFlow

        return ChatSiliconFlow(model=MODEL, api_key="key", base_url=self.base_url)

    async def __aexit__(self, *error: object) -> None:
        await self._chat.aclose()


class LangchainWaits(Langchain):
    """By the method that waits, in this thread."""

    reads_whole = False

    async def stream(self, take: Take) -> None:
        for chunk in self._chat.stream("Say something long."):
            take(chunk.content)


class LangchainOpenAIWaits(LangchainWaits, LangchainOpenAI):
    name = "langchain-openai stream()"


class LangchainOursWaits(LangchainWaits, LangchainOurs):
    name = f"{OURS} langchain stream()"


CLIENTS: tuple[type[Contestant], ...] = (
    *(Chunks, Text, Events, Completion),
    *(OpenAI, OpenAIAiohttp, OpenAIHelper, OpenAIAiohttpHelper),
    *(Groq, Mistralai, Litellm, Langchain),
    *(LangchainOurs, LangchainOursWaits, LangchainOpenAI, LangchainOpenAIWaits),
)
