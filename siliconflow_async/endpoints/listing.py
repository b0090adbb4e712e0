"""What a `list(…)` returns: a page to await, or all entries to iterate, page after page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from typing import Any, Generic, Protocol, Self, TypeVar

__all__ = ["Listing", "Pages"]


class _Page(Protocol):
    @property
    def data(self) -> list[Any]: ...


class _NumberedPage(_Page, Protocol):
    @property
    def has_more(self) -> bool: ...

    @property
    def last_id(self) -> str | None: ...


P = TypeVar("P", bound=_Page)
Q = TypeVar("Q", bound=_NumberedPage)
E = TypeVar("E")


class Listing(Coroutine[Any, Any, P], Generic[P, E]):
    """Await it for the page that was asked for, or `async for` its entries, and those of the pages that follow.

    `following` returns the page after one, None after the last.
    """

    __slots__ = ("_asking", "_entries", "_following", "_page")

    def __init__(
        self, asking: Coroutine[Any, Any, P], following: Callable[[P], Awaitable[P | None]] | None = None
    ) -> None:
        self._asking = asking
        self._following = following
        self._page: P | None = None
        self._entries: Iterator[E] = iter(())

    def __await__(self) -> Generator[Any, Any, P]:
        return self._asking.__await__()

    # A coroutine, so that tasks can be made of it.
    def send(self, value: Any) -> Any:
        """Go on, as coroutines do."""
        return self._asking.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise inside, as coroutines do."""
        return self._asking.throw(*error)

    def close(self) -> None:
        """End, as coroutines do."""
        self._asking.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E:
        while True:
            for entry in self._entries:
                return entry
            if self._page is None:
                page: P | None = await self._asking
            else:
                page = None if self._following is None else await self._following(self._page)
            if page is None:
                raise StopAsyncIteration
            self._page = page
            self._entries = iter(page.data)


class Pages(Generic[Q]):
    """The pages of one list, each asked for by the last id of the one before; one that comes again is the end."""

    def __init__(self, ask: Callable[[str], Awaitable[Q]]) -> None:
        self._ask = ask
        self._seen: set[str] = set()

    async def __call__(self, page: Q) -> Q | None:
        """Return the page after one, None after the last."""
        last = _last(page)
        if not page.has_more or last is None:
            return None
        self._seen.add(last)
        following = await self._ask(last)
        return None if _last(following) in self._seen else following


def _last(page: _NumberedPage) -> str | None:
    return page.last_id or (page.data[-1].id if page.data else None)
