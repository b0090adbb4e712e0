"""Ways of asking many requests, so many at a time; each asks for streams and returns every answer with its number.

What a way costs beyond the requests themselves is what `SELF`, this library's stream under gather and a semaphore, does
not cost: `MAP`, aiometer and async-batch-llm ask by the very same call.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterable
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

from siliconflow_async import AsyncSiliconFlow

from .contestants import OURS, UNIT, load
from .contestants.contestant import MESSAGES, MODEL

__all__ = ["AT_ONCE", "CHUNKS", "CPU", "MAP", "SELF", "FanOut", "load_fanouts"]

CPU = "CPU per item, µs"
# As many at a time.
AT_ONCE = 100
# Of a short answer, in one read.
CHUNKS = 20
SELF = f"{OURS} gathered"
MAP = f"{OURS} map()"
# The number of each request, and what it was answered.
Answers: TypeAlias = Iterable[tuple[int, str | None]]


class FanOut:
    """A way of asking many: enter it, then `ask` any number of times. This one gathers, behind a semaphore."""

    name: ClassVar[str] = ""
    # The contestant that asks.
    asker: ClassVar[str] = f"{OURS} completion()"
    # What to install for it, and whose version to print.
    package: ClassVar[str | None] = None
    distributions: ClassVar[tuple[str, ...]] = ()
    # Is given a tenth to do.
    slow: ClassVar[bool] = False

    def __init__(self, base_url: str) -> None:
        self._reader = load(self.asker)(base_url)

    @classmethod
    def check(cls) -> None:
        """Raise ImportError if it can't be used."""
        load(cls.asker)

    async def __aenter__(self) -> Self:
        await self._reader.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._reader.__aexit__(kind, error, traceback)

    async def ask(self, count: int) -> Answers:
        """Ask so many requests, `AT_ONCE` at a time."""
        turn = asyncio.Semaphore(AT_ONCE)

        async def in_turn(number: int) -> tuple[int, str | None]:
            async with turn:
                return await self.one(number)

        return await asyncio.gather(*map(in_turn, range(count)))

    async def one(self, number: int) -> tuple[int, str | None]:
        texts: list[str | None] = []
        await self._reader.stream(texts.append)
        return number, "".join(text or "" for text in texts)


class _Self(FanOut):
    name = SELF


class _Map(FanOut):
    name = MAP

    def __init__(self, base_url: str) -> None:
        self._client = AsyncSiliconFlow("key", base_url=base_url, max_connections=10_000)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, count: int) -> Answers:
        requests: Iterable[dict[str, Any]] = ({"model": MODEL, "messages": MESSAGES} for _ in range(count))
        async with self._client.chat.completions.map(requests, max_concurrency=AT_ONCE) as results:
            return [(result.index, result.completion and result.completion.content) async for result in results]


class _Unit(FanOut):
    name = asker = UNIT


class _Aiometer(FanOut):
    name = package = "aiometer"
    distributions = ("aiometer",)

    @classmethod
    def check(cls) -> None:
        import aiometer  # noqa: F401  # is it there?

    async def ask(self, count: int) -> Answers:
        import aiometer

        calls = [functools.partial(self.one, number) for number in range(count)]
        answers: Answers = await aiometer.run_all(calls, max_at_once=AT_ONCE)
        return answers


class _AsyncBatchLLM(FanOut):
    name = package = "async-batch-llm"
    distributions = ("async-batch-llm",)
    slow = True

    @classmethod
    def check(cls) -> None:
        import async_batch_llm  # noqa: F401  # is it there?

    async def ask(self, count: int) -> Answers:
        from async_batch_llm import ArtifactIdentity, CallableStrategy, CallOutcome, ProcessorConfig, process_stream

        async def invoke(prompt: str, **options: Any) -> Any:
            _, answer = await self.one(int(prompt))
            return CallOutcome(answer)

        strategy = CallableStrategy(invoke, identity=ArtifactIdentity(provider="stand-in", model=MODEL))
        results = process_stream(
            strategy, ((str(n), str(n)) for n in range(count)), config=ProcessorConfig(concurrency=AT_ONCE)
        )
        return [(int(result.item_id), result.output) async for result in results]


class _Litellm(FanOut):
    name = asker = package = "litellm"
    slow = True


_ALL: tuple[type[FanOut], ...] = (_Unit, _Self, _Map, _Aiometer, _AsyncBatchLLM, _Litellm)


def load_fanouts(only: Iterable[str] | None = None) -> tuple[dict[str, type[FanOut]], dict[str, str]]:
    """Return those that can run and whose names begin with one of `only`, and a word for each that can't."""
    found: dict[str, type[FanOut]] = {}
    skipped: dict[str, str] = {}
    for kind in _ALL:
        if only is None or kind.name.startswith(tuple(only)):
            try:
                kind.check()
            except ImportError as error:
                skipped[kind.name] = f"needs {kind.package}: {error}"
            else:
                found[kind.name] = kind
    return found, skipped
