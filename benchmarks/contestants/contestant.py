"""What every contestant can do."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, ClassVar, Self, TypeAlias

__all__ = ["MESSAGES", "MODEL", "Contestant", "Take"]

MODEL = "stand-in/Large-Instruct-2507"
MESSAGES: Any = [{"role": "user", "content": "Say something long."}]

# Called with each piece of text; None and "" for a chunk without.
Take: TypeAlias = Callable[[str | None], object]


class Contestant:
    """A client of one server: enter it, then read any number of answers, also at the same time."""

    name: ClassVar[str] = ""
    # The modules whose import is what a program pays for it; the distributions whose versions to print.
    modules: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()
    # Reads what SSE allows beyond LF and `data:` lines.
    full_sse: ClassVar[bool] = False
    # Gives text out as it comes; decodes JSON escapes in it.
    streams: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    # Reads answers that are not streamed.
    reads_whole: ClassVar[bool] = True
    # Takes microseconds for a chunk: others are given less to read.
    quick_to_read: ClassVar[bool] = False

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    @classmethod
    def check(cls) -> None:
        """Raise ImportError if it can't be used."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def without_retries(self) -> None:
        """Repeat nothing from now on."""
        raise NotImplementedError

    async def stream(self, take: Take) -> None:
        """Ask for a stream and read it to its end."""
        raise NotImplementedError

    async def whole(self) -> str | None:
        """Ask for a whole answer and return its content."""
        raise NotImplementedError
