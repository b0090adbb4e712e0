"""Who reads the answers: what every contestant can do, and the two written by hand. `clients` holds the others.

A contestant gives each piece of text to `take`, like a program that shows it; what `take` does is the same for all.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Callable, Iterable
from typing import ClassVar, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from . import RAW, UNIT
from .fixtures import MESSAGES, MODEL
from .server import STREAM_END

# Called with each piece of text; None and "" for a chunk without.
Take: TypeAlias = Callable[[str | None], object]


class Entrant:
    """Whatever is measured over a server: enter it, then use it any number of times."""

    name: ClassVar[str] = ""
    # What to install for it, where that is not what this package needs anyway.
    package: ClassVar[str | None] = None
    # The modules whose import is what a program pays for it; the distributions whose versions to print.
    modules: ClassVar[tuple[str, ...]] = ()
    distributions: ClassVar[tuple[str, ...]] = ()

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    @classmethod
    def check(cls) -> None:
        """Raise ImportError if it can't be used."""
        for module in cls.modules:
            importlib.import_module(module)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        pass


K = TypeVar("K", bound=type[Entrant])


def usable(kinds: Iterable[K], only: Iterable[str] | None = None) -> tuple[dict[str, K], dict[str, str]]:
    """Return those that can run and whose names begin with one of `only`, and a word for each that can't."""
    found: dict[str, K] = {}
    skipped: dict[str, str] = {}
    for kind in kinds:
        if only is None or kind.name.startswith(tuple(only)):
            try:
                kind.check()
            except ImportError as error:
                skipped[kind.name] = f"needs {kind.package}: {error}"
            else:
                found[kind.name] = kind
    return found, skipped


class Contestant(Entrant):
    """A client of one server: reads any number of answers, also at the same time."""

    # Reads what SSE allows beyond LF and `data:` lines.
    full_sse: ClassVar[bool] = False
    # Gives text out as it comes; decodes JSON escapes in it.
    streams: ClassVar[bool] = True
    decodes: ClassVar[bool] = True
    # Reads answers that are not streamed.
    reads_whole: ClassVar[bool] = True
    # Takes microseconds for a chunk: others are given less to read.
    quick_to_read: ClassVar[bool] = False

    def without_retries(self) -> None:
        """Repeat nothing from now on."""
        raise NotImplementedError

    async def stream(self, take: Take) -> None:
        """Ask for a stream and read it to its end."""
        raise NotImplementedError

    async def whole(self) -> str | None:
        """Ask for a whole answer and return its content."""
        raise NotImplementedError


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


class WholeAnswer(msgspec.Struct):
    id: str
    object: str
    created: int
    model: str
    choices: list[WholeChoice]
    usage: Usage | None = None


_CHUNK = msgspec.json.Decoder(Chunk)
_ANSWER = msgspec.json.Decoder(WholeAnswer)
_HEADERS = {"Authorization": "Bearer key", "Content-Type": "application/json"}


class Unit(Contestant):
    """The loop that a good engineer would write by hand, and nothing else. Everything is measured against it."""

    name = UNIT
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

    async def __aexit__(self, *error: object) -> None:
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


_MARK = b'"content":"'


class _Connection(asyncio.Protocol):
    def __init__(self, idle: list[_Connection]) -> None:
        self._idle = idle
        self._rest = b""
        self._take: Take | None = None
        self.ended: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]  # it is one, if not by class

    def ask(self, request: bytes, take: Take) -> asyncio.Future[None]:
        self._take = take
        self.ended = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.ended

    def data_received(self, data: bytes) -> None:
        assert self._take is not None
        assert self.ended is not None
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            start = event.find(_MARK) + len(_MARK)
            if start >= len(_MARK):
                self._take(event[start : event.find(b'"', start)])  # type: ignore[arg-type]  # bytes do as well
        if self._rest.endswith(STREAM_END):
            self._rest = b""
            self._idle.append(self)
            self.ended.set_result(None)


class RawSockets(Contestant):
    """The floor: the request written once, events told apart and their text cut out of the bytes, no JSON."""

    name = RAW
    decodes = False
    reads_whole = False
    quick_to_read = True

    async def __aenter__(self) -> Self:
        parts = urlsplit(self.base_url)
        body = msgspec.json.encode({"model": MODEL, "messages": MESSAGES, "stream": True})
        head = f"POST {parts.path}/chat/completions HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {len(body)}\r\n"
        self._request = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._all: list[_Connection] = []
        self._idle: list[_Connection] = []
        return self

    async def __aexit__(self, *error: object) -> None:
        for connection in self._all:
            connection.transport.abort()

    async def stream(self, take: Take) -> None:
        if self._idle:
            connection = self._idle.pop()
        else:
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(
                lambda: _Connection(self._idle), host=self._host, port=self._port
            )
            self._all.append(connection)
        await connection.ask(self._request, take)


BY_HAND = (Unit, RawSockets)
