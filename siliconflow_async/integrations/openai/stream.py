"""An open answer as an `openai.AsyncStream`."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Self

from openai import AsyncStream
from openai.types.chat import ChatCompletionChunk

from ...errors import SiliconFlowError
from ...stream.stream import ChatStream
from .answers import ChunkReader
from .bodies import EventsOfChat
from .errors import AS_THEY_ARE, openai_error
from .httpx import Request, Response
from .responses import response_of

__all__ = ["ChunkStream"]


class ChunkStream(AsyncStream[ChatCompletionChunk]):
    """Iterate it for chunks; `siliconflow` is the ChatStream below it, with `ended`, `partial` and `trace_id`.

    Leaving it in any way closes its connection, and so does its last reference. One that broke off raises
    openai.APIConnectionError, whose `__cause__` is the TruncatedStreamError.
    """

    # The base would make an iterator here that needs a response to read, and an async generator of it.
    def __init__(self, stream: ChatStream, url: str, reader: ChunkReader) -> None:
        self.siliconflow = stream
        self._url = url
        self._read = reader.read

    if TYPE_CHECKING:
        pass  # the base's is a variable

    else:

        @cached_property
        def response(self) -> Response:
            """The response; reading its bytes takes from the stream."""
            stream, request = self.siliconflow, Request("POST", self._url)
            return response_of(request, stream.headers, EventsOfChat(stream, request), trace_id=stream.trace_id)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        try:
            chunk = await self.siliconflow.__anext__()
        except AS_THEY_ARE:
            raise
        except SiliconFlowError as error:
            raise openai_error(error, Request("POST", self._url)) from error
        return self._read(chunk)

    async def close(self) -> None:
        """Close the connection at once."""
        self.siliconflow.abort()

    async def aclose(self) -> None:
        """`close()`, as later versions of openai name it too."""
        self.siliconflow.abort()
