"""`with_raw_response`, as the openai package has it: an answer in `parse()`, beside what came with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Literal, TypeVar, Unpack, overload

from ..headers import conceal
from ..request.params import ChatParams
from ..stream.stream import ChatStream
from ..wire.structs import ChatCompletion

__all__ = ["RawAnswer", "RawCompletions"]

A = TypeVar("A", bound=ChatCompletion | ChatStream)


class RawAnswer(Generic[A]):
    """An answer, or an open stream, in the shape of the openai package's raw responses."""

    __slots__ = ("_answer",)
    status_code = 200

    def __init__(self, answer: A) -> None:
        self._answer = answer

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers with lower-case names."""
        return self._answer.headers

    @property
    def request_id(self) -> str | None:
        """The `trace_id`: what SiliconFlow's support asks for."""
        return self._answer.trace_id

    @property
    def content(self) -> bytes:
        """The body as it came; nothing yet of a stream."""
        return (self._answer.raw if isinstance(self._answer, ChatCompletion) else None) or b""

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    def parse(self) -> A:
        """Return the answer, or the stream, as `create` does."""
        return self._answer


class RawCompletions:
    """The `with_raw_response` of `client.chat.completions`."""

    __slots__ = ("_create",)

    def __init__(self, create: Callable[..., Any]) -> None:
        self._create = create

    @overload
    async def create(
        self, *, stream: Literal[False] | None = None, response_format: Any = None, **params: Unpack[ChatParams]
    ) -> RawAnswer[ChatCompletion]: ...

    @overload
    async def create(
        self, *, stream: Literal[True], response_format: Any = None, **params: Unpack[ChatParams]
    ) -> RawAnswer[ChatStream]: ...

    async def create(self, **params: Any) -> RawAnswer[Any]:
        """As `create` of `client.chat.completions`, whose answer it holds."""
        conceal(params)
        return RawAnswer(await self._create(**params))
