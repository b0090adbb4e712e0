"""`with_raw_response` and `with_streaming_response`: an answer beside the response that brought it.

They are openai's own classes, for what frameworks read of them; `parse()` gives the answer that is there already. The
classes are private ones of openai's, and tests hold the oldest and the newest version to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from openai._legacy_response import LegacyAPIResponse
from openai._models import FinalRequestOptions
from openai._response import AsyncAPIResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from .httpx import Response
from .stream import ChunkStream

if TYPE_CHECKING:
    from openai import AsyncOpenAI

__all__ = ["raw_answer"]


class _Raw(LegacyAPIResponse[Any]):
    """What `with_raw_response` returns."""

    answer: Callable[[], Any]

    def parse(self, *, to: Any = None) -> Any:
        return self.answer() if to is None else super().parse(to=to)


class _Streamed(AsyncAPIResponse[Any]):
    """What `async with` of `with_streaming_response` gives."""

    answer: Callable[[], Any]

    async def parse(self, *, to: Any = None) -> Any:
        return self.answer() if to is None else await super().parse(to=to)


def raw_answer(
    kind: str,
    response: Response,
    answer: Callable[[], Any],
    *,
    client: AsyncOpenAI,
    streaming: bool,
    attempts: int,
) -> LegacyAPIResponse[Any] | AsyncAPIResponse[Any]:
    """Return a response whose `parse()` is `answer()`, of the kind that openai's header names."""
    made = (_Streamed if kind == "stream" else _Raw)(
        raw=response,
        cast_to=ChatCompletionChunk if streaming else ChatCompletion,
        client=client,
        stream=streaming,
        stream_cls=ChunkStream if streaming else None,
        options=FinalRequestOptions.construct(method="post", url="/chat/completions"),
        retries_taken=max(attempts - 1, 0),
    )
    made.answer = answer
    return made
