"""Open answers as the bytes of an httpx response: for who reads those instead of the answer."""

from __future__ import annotations

from typing import Self

from ...errors import SiliconFlowError
from ...stream.bytestream import ByteStream
from ...stream.stream import ChatStream
from .errors import AS_THEY_ARE, openai_error
from .httpx import AsyncByteStream, Request

__all__ = ["BytesOfAnswer", "EventsOfChat"]


class EventsOfChat(AsyncByteStream):
    """A stream of chunks as server-sent events, with a `[DONE]` if it ended well; closing it closes the stream."""

    def __init__(self, stream: ChatStream, request: Request) -> None:
        self._stream = stream
        self._request = request
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._over:
            raise StopAsyncIteration
        try:
            chunk = await self._stream.__anext__()
        except StopAsyncIteration:
            self._over = True
            return b"data: [DONE]\n\n"
        except AS_THEY_ARE:
            raise
        except SiliconFlowError as error:
            raise openai_error(error, self._request) from error
        payload = chunk.raw or chunk.to_json().encode()
        return b"data: " + payload.replace(b"\n", b"\ndata: ") + b"\n\n"

    async def aclose(self) -> None:
        """Close the stream, and with it the connection."""
        self._stream.abort()


class BytesOfAnswer(AsyncByteStream):
    """An answer's bytes as they come; closing it closes the connection."""

    def __init__(self, stream: ByteStream, request: Request) -> None:
        self._stream = stream
        self._request = request

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._stream.__anext__()
        except AS_THEY_ARE:
            raise
        except SiliconFlowError as error:
            raise openai_error(error, self._request) from error

    async def aclose(self) -> None:
        """Close the stream, and with it the connection."""
        self._stream.abort()
