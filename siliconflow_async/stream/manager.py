"""The `async with` that opens a stream and closes it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import BusyError
from .opened import OpenAnswer
from .stream import ChatStream

__all__ = ["ChatStreamManager", "StreamManager"]

S = TypeVar("S", bound=OpenAnswer[Any])


class StreamManager(Generic[S]):
    """Opens the stream on entering, closes it on leaving."""

    __slots__ = ("_open", "_stream")

    # The class of the stream, and what is awaited for one without `async with`.
    _opens: type[Any]
    _awaited = "create(…, stream=True)"

    def __init__(self, opener: Callable[[], Awaitable[S]]) -> None:
        self._open: Callable[[], Awaitable[S]] | None = opener
        self._stream: S | None = None

    def __repr__(self) -> str:
        state = "not entered: use `async with`" if self._open is not None else f"entered: {self._stream}"
        return f"<{type(self).__name__} {state}>"

    def _misused(self) -> None:
        raise TypeError(
            "`async with … .stream(…) as stream:` opens a stream, which can then be iterated; "
            f"what can be awaited is `{self._awaited}`"
        )

    if TYPE_CHECKING:
        pass  # any name would be one, to a type checker
    else:

        def __getattr__(self, name: str) -> None:
            message = f"{type(self).__name__!r} object has no attribute {name!r}"
            if hasattr(self._opens, name):
                message = f"{message}: it is the stream's that `async with … .stream(…) as stream:` opens"
            raise AttributeError(message, name=name, obj=self)

    # None, as which no type checker lets them pass.
    __await__ = __aiter__ = __iter__ = _misused

    async def _begin(self) -> S:
        if self._open is None:
            raise BusyError("this stream was opened before; call stream(…) again")
        # With it goes the request, which an open stream has no more use for.
        opener, self._open = self._open, None
        return await opener()

    async def __aenter__(self) -> S:
        self._stream = await self._begin()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.abort()


class ChatStreamManager(StreamManager[ChatStream]):
    """What `stream(…)` returns: opens the stream on entering, closes it on leaving."""

    __slots__ = ()

    _opens = ChatStream
