"""What `map` takes and gives: requests, items, results, and the callbacks that may watch."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeAlias, TypeVar

import msgspec

from ..errors import SiliconFlowError
from .progress import MapProgress

if TYPE_CHECKING:
    from ..calls.passage import Passage
    from ..wire.events import Event

__all__ = [
    "Asking",
    "CallbackFailed",
    "MapDone",
    "MapFailed",
    "MapItem",
    "MapResult",
    "MapTimes",
    "OnEvent",
    "OnProgress",
    "Requests",
]

A = TypeVar("A", covariant=True)
C = TypeVar("C")

Requests: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class Asking(Protocol[A]):
    """One request of a run, made ready: `passage` is its way through its model's gate."""

    @property
    def passage(self) -> Passage: ...

    @property
    def attempts(self) -> int:
        """How often it was sent."""
        ...

    async def answer(self) -> A:
        """Ask, and return the answer; raise SiliconFlowError, or CallbackFailed."""
        ...


class CallbackFailed(Exception):
    """A callback of the user's raised `error`, which ends the run."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


class MapItem(msgspec.Struct, kw_only=True):
    """One request of a run: its place from 0, its `custom_id` if it has one, and the mapping as it was given."""

    index: int
    custom_id: str | None
    request: Any

    def __repr__(self) -> str:
        # The request may hold headers, and so keys.
        return f"<{type(self).__name__} {self.index} custom_id={self.custom_id!r}>"


class MapTimes(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds: `waited` for the limits, `first_token` from sending to the first token (None if none came), `total`."""

    waited: float
    first_token: float | None
    total: float


class MapResult(MapItem, Generic[C], kw_only=True):
    """How one request went: its `completion`, or else its `error`, which holds in `partial` what had arrived.

    `attempts` is how often it was sent. Each is a MapDone or a MapFailed, so that a type checker knows after
    `if result.error is None` that there is a completion.
    """

    completion: C | None
    error: SiliconFlowError | None
    attempts: int
    times: MapTimes

    def __repr__(self) -> str:
        end = "done" if self.error is None else type(self.error).__name__
        return f"<MapResult {self.index} custom_id={self.custom_id!r} {end}>"


class MapDone(MapResult[C], Generic[C], kw_only=True):
    """A request that was answered: it has its `completion`, and no `error`."""

    # The fields are MapResult's, in its order.
    if TYPE_CHECKING:
        completion: C  # pyright: ignore[reportIncompatibleVariableOverride]  # a result is read, not written
        error: None  # pyright: ignore[reportIncompatibleVariableOverride]


class MapFailed(MapResult[Any], kw_only=True):
    """A request that was not answered: it has its `error`, and no `completion`."""

    if TYPE_CHECKING:
        completion: None  # pyright: ignore[reportIncompatibleVariableOverride]
        error: SiliconFlowError  # pyright: ignore[reportIncompatibleVariableOverride]


OnEvent: TypeAlias = "Callable[[MapItem, Event], Awaitable[None] | None]"
OnProgress: TypeAlias = Callable[[MapProgress], None]
