"""Embeddings: thousands of vectors of 1,024 numbers, asked for in lists of 32, sixteen requests at a time.

The unit is the loop that one would write by hand: aiohttp, and msgspec into typed lists of floats. It asks for numbers,
as the service's page does; the others for what they ask for by themselves. What is left of the texts, and who reads
them, is the same for all: each must have the same vectors.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import Any, ClassVar

import aiohttp
import msgspec

from . import OURS, UNIT
from .children import alone
from .contestants import Entrant, usable
from .fixtures import EMBEDDED, EMBEDDED_SIZE, embedded
from .measure import Sample, Setting, WrongAnswer, cpu_of

__all__ = ["EMBEDDERS", "embed", "embeddings"]

_AT_ONCE = 16
_MODEL = "BAAI/bge-m3"
_CPU = "CPU µs/vector"


class Embedder(Entrant):
    """Has the vectors of texts made, and tells how many there were and the sum of their first numbers."""

    async def embed(self, texts: list[str]) -> tuple[int, float]:
        raise NotImplementedError


class _Vector(msgspec.Struct):
    object: str
    index: int
    embedding: list[float]


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Answer(msgspec.Struct):
    object: str
    model: str
    data: list[_Vector]
    usage: _Usage


class ByHand(Embedder):
    """aiohttp and msgspec."""

    name = UNIT
    distributions = ("aiohttp", "msgspec")
    _decode = staticmethod(msgspec.json.Decoder(_Answer).decode)

    async def __aenter__(self) -> ByHand:
        headers = {"Authorization": "Bearer key", "Content-Type": "application/json"}
        self._session = aiohttp.ClientSession(headers=headers)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.close()

    async def embed(self, texts: list[str]) -> tuple[int, float]:
        starts = iter(range(0, len(texts), EMBEDDED))
        found: list[tuple[int, list[_Vector]]] = []

        async def work() -> None:
            for start in starts:
                body = msgspec.json.encode({"model": _MODEL, "input": texts[start : start + EMBEDDED]})
                async with self._session.post(f"{self.base_url}/embeddings", data=body) as response:
                    response.raise_for_status()
                    found.append((start, self._decode(await response.read()).data))

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        all_of_them = [vector.embedding for _, part in sorted(found, key=lambda pair: pair[0]) for vector in part]
        return len(all_of_them), sum(vector[0] for vector in all_of_them)


class Ours(Embedder):
    """`client.embeddings.create`, one call for all texts."""

    name = OURS
    options: ClassVar[dict[str, Any]] = {}

    async def __aenter__(self) -> Ours:
        from siliconflow_async import AsyncSiliconFlow

        self._client = AsyncSiliconFlow("key", base_url=self.base_url)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def embed(self, texts: list[str]) -> tuple[int, float]:
        found = await self._client.embeddings.create(model=_MODEL, input=texts, **self.options)
        return len(found.data), sum(float(item.embedding[0]) for item in found.data)


class OursFloat(Ours):
    """The same, which asks for numbers, as the unit does."""

    name = f"{OURS} float"
    options: ClassVar[dict[str, Any]] = {"encoding_format": "float"}


class OursNumpy(Ours):
    """The same, as NumPy's arrays."""

    name = f"{OURS} numpy"
    package = "the extra numpy"
    modules = ("numpy",)
    distributions = ("numpy",)
    options: ClassVar[dict[str, Any]] = {"as_numpy": True}


class OursMap(Ours):
    """`client.embeddings.map`, a result for each text."""

    name = f"{OURS} map"

    async def embed(self, texts: list[str]) -> tuple[int, float]:
        count, total = 0, 0.0
        async with self._client.embeddings.map(texts, model=_MODEL, max_concurrency=_AT_ONCE) as results:
            async for result in results:
                assert result.error is None
                count += 1
                total += result.completion.embedding[0]
        return count, total


class OpenAI(Embedder):
    """The openai package on aiohttp, its quicker transport; its user cuts the list."""

    name = "openai"
    package = "openai[aiohttp]"
    modules = ("openai",)
    distributions = ("openai",)

    async def __aenter__(self) -> OpenAI:
        from openai import AsyncOpenAI

        self._client = AsyncOpenAI(api_key="key", base_url=self.base_url)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.close()

    async def embed(self, texts: list[str]) -> tuple[int, float]:
        starts = iter(range(0, len(texts), EMBEDDED))
        found: list[Any] = []

        async def work() -> None:
            for start in starts:
                made = await self._client.embeddings.create(model=_MODEL, input=texts[start : start + EMBEDDED])
                found.extend(made.data)

        await asyncio.gather(*(work() for _ in range(_AT_ONCE)))
        return len(found), sum(item.embedding[0] for item in found)


EMBEDDERS: tuple[type[Embedder], ...] = (ByHand, Ours, OursFloat, OursNumpy, OursMap, OpenAI)


async def embeddings(setting: Setting) -> None:
    """CPU for each of 10,240 vectors of 1,024 numbers, in lists of 32; each contestant alone in its process."""
    texts = setting.size(10_240, 64)
    kinds, _ = usable(EMBEDDERS, {name.partition(" ")[0] for name in setting.contestants})
    url = setting.server.url("embeddings")
    runs = {name: partial(alone, "vectors.embed", setting.loop, name, url, texts) for name in kinds}
    await setting.measure(f"{EMBEDDED_SIZE} numbers", runs, 7, ratios=(_CPU,))


async def embed(name: str, url: str, count: int) -> Sample:
    """Have the vectors of so many texts made."""
    texts = [f"This is the text of number {number}." for number in range(count)]
    first = sum(vector[0] for vector in embedded()) * count / EMBEDDED
    kind = next(kind for kind in EMBEDDERS if kind.name == name)
    async with kind(url) as embedder:

        async def measured() -> None:
            found, total = await embedder.embed(texts)
            if found != count or not math.isclose(total, first, rel_tol=1e-4, abs_tol=1e-3):
                raise WrongAnswer(f"{name}: {found} vectors of {count}, {total} for {first}")

        # The connections are made and kept.
        await embedder.embed(texts[: EMBEDDED * _AT_ONCE])
        return {_CPU: await cpu_of(measured) * 1e6 / count}
