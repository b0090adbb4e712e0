"""The processes of upstream and of a relay, for as long as an `async with` block."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Container
from types import TracebackType
from typing import Any, NamedTuple, Self

from .. import ROOT
from ..contestants import OURS

__all__ = ["Relay", "Upstream", "missing", "relays"]


class _Entry(NamedTuple):
    contestant: str
    module: str
    make: str


_ENTRIES = {
    OURS: _Entry(OURS, "ours", "make_app"),
    "openai": _Entry("openai", "plain", "make_app"),
    "openai async with": _Entry("openai", "plain", "make_careful_app"),
}
_NEEDED = ("fastapi", "uvicorn", "websockets")


def relays(contestants: Container[str]) -> list[str]:
    """The names of the relays over these contestants' libraries."""
    return [name for name, entry in _ENTRIES.items() if entry.contestant in contestants]


def missing() -> list[str]:
    """What a relay or its clients need and is not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


class _Child:
    """A module that runs in a process of its own, and says its port first."""

    def __init__(self, module: str, *arguments: str) -> None:
        self._arguments = ("-m", f"{__package__}.{module}", *arguments)

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.port = int((await self.hear())["port"])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()

    def say(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n".encode())

    async def hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self._arguments)} ended by itself")
        found: dict[str, Any] = json.loads(line)
        return found


class Relay(_Child):
    """One of the relays, on one of the event loops."""

    def __init__(self, name: str, upstream: Upstream, loop: str) -> None:
        entry = _ENTRIES[name]
        super().__init__("process", entry.module, entry.make, f"http://127.0.0.1:{upstream.port}/v1", loop)

    async def facts(self, *, begin: bool = False) -> dict[str, float]:
        """Return its CPU seconds, resident and peak bytes; the peak since the last time that said `begin`."""
        self.say("begin" if begin else "facts")
        return await self.hear()


class Upstream(_Child):
    """What the relays stream from."""

    def __init__(self) -> None:
        super().__init__("upstream")
        # name of a stream: when it was closed before its end
        self.closed: dict[str, int] = {}
        self._asked: set[str] = set()
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._listening.cancel()
        await asyncio.wait([self._listening])
        await super().__aexit__(*error)

    async def _listen(self) -> None:
        while True:
            heard = await self.hear()
            async with self._news:
                if "asked" in heard:
                    self._asked.add(heard["asked"])
                else:
                    self.closed[heard["closed"]] = heard["at"]
                self._news.notify_all()

    def go(self) -> None:
        """Let the streams go on that wait for it."""
        self.say("go")

    async def asked(self, name: str) -> None:
        """Wait until the stream of that name was asked for."""
        async with self._news:
            await self._news.wait_for(lambda: name in self._asked)

    async def left(self, name: str, seconds: float) -> int | None:
        """Wait until the stream of that name was closed before its end, and say when; None: not within `seconds`."""
        try:
            async with asyncio.timeout(seconds), self._news:
                await self._news.wait_for(lambda: name in self.closed)
        except TimeoutError:
            return None
        return self.closed[name]
