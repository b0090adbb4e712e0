"""The unit: the loop that a good engineer would write by hand, and nothing else. Everything is measured against it."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import aiohttp
import msgspec

from .contestant import MESSAGES, MODEL, Contestant, Take

__all__ = ["Unit"]


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    completion_tokens_details: CompletionDetails | None = None
    prompt_tokens_details: PromptDetails | None = None


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: Function | None = None


class Delta(msgspec.Struct):
    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(msgspec.Struct):
    index: int
    delta: Delta
    finish_reason: str | None = None


class Chunk(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[Choice]
    usage: Usage | None = None


class Message(msgspec.Struct):
    role: str
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[ToolCall] | None = None


class WholeChoice(msgspec.Struct):
    index: int
    message: Message
    finish_reason: str | None = None


class Answer(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[WholeChoice]
    usage: Usage | None = None


_CHUNK = msgspec.json.Decoder(Chunk)
_ANSWER = msgspec.json.Decoder(Answer)
_HEADERS = {"Authorization": "Bearer key", "Content-Type": "application/json"}


class Unit(Contestant):
    quick_to_read = True

    async def __aenter__(self) -> Self:
        self.use(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None), headers=_HEADERS
            )
        )
        return self

    def use(self, session: aiohttp.ClientSession) -> None:
        self._url = f"{self.base_url}/chat/completions"
        self._session = session

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def stream(self, take: Take) -> None:
        decode = _CHUNK.decode
        buffer = b""
        body = msgspec.json.encode({"model": MODEL, "messages": MESSAGES, "stream": True})
        async with self._session.post(self._url, data=body) as response:
            async for data in response.content.iter_any():
                buffer += data
                *events, buffer = buffer.split(b"\n\n")
                for event in events:
                    payload = event[6:]
                    if payload == b"[DONE]":
                        continue
                    delta = decode(payload).choices[0].delta
                    take(delta.content or delta.reasoning_content)

    async def whole(self) -> str | None:
        body = msgspec.json.encode({"model": MODEL, "messages": MESSAGES})
        async with self._session.post(self._url, data=body) as response:
            return _ANSWER.decode(await response.read()).choices[0].message.content
