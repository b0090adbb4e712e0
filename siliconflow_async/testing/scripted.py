"""Scripted answers: what each of them holds, and how it goes onto the wire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from .answers import Answer, Choice, UsageOn, deltas, wanted_logprobs
from .framing import Framing, Headers, lower
from .steps import Scripted

if TYPE_CHECKING:
    from .exchange import Exchange
    from .steps import Step, Wait

_encode = msgspec.json.Encoder().encode


def _house(code: int, message: str) -> bytes:
    return _encode({"code": code, "message": message, "data": None})


_BODIES = {
    400: _house(20015, "The parameter is invalid. Please check again."),
    401: b'"Invalid token"',
    402: _house(30001, "Sorry, your account balance is insufficient"),
    403: _house(30003, "Model disabled."),
    404: b'"404 page not found"',
    413: _house(20043, "The request is too large."),
    429: _house(50602, "Request was rejected due to rate limiting. Details: TPM limit reached."),
    451: _house(20021, "The content was flagged."),
    500: _house(50507, "Request failed: Unknown error."),
    503: _house(50505, "Model service overloaded. Please try again later."),
    504: b'"Gateway Timeout"',
}


def error_body(status: int) -> bytes:
    """Return a body of the shape that SiliconFlow documents or sent for an HTTP status."""
    if status in _BODIES:
        return _BODIES[status]
    if 500 <= status < 600:
        return f"<html><body><h1>{status}</h1></body></html>".encode()
    return b"" if status < 400 else _BODIES[400]


@dataclass(eq=False, kw_only=True)
class Reply(Scripted):
    """A chat answer, streamed or whole as the request asks. See `FakeSiliconFlow.reply`."""

    choice: Choice
    usage: Mapping[str, Any] | None = None
    usage_on: UsageOn = "every"
    model: str | None = None
    done: bool = True
    pause: float | None = None
    headers: Headers = field(default_factory=dict[str, str | None])

    async def send(self, exchange: Exchange) -> None:
        request = _lenient(exchange.record.body)
        model = request.get("model")
        answer = Answer(
            [self.choice],
            self.model or (model if isinstance(model, str) else "stand-in/model"),
            prompt_tokens=max(1, len(deltas(str(request.get("messages", ""))))),
            usage=self.usage,
            usage_on=self.usage_on,
            done=self.done,
            logprobs=wanted_logprobs(request),
        )
        stream = request.get("stream") is True
        await exchange.answer(answer, stream=stream, pause=self.pause, headers=self.headers)


@dataclass(eq=False, kw_only=True)
class Failure(Scripted):
    """An error, or any other answer that is one body. See `FakeSiliconFlow.fail`."""

    status: int
    body: bytes
    headers: Headers

    async def send(self, exchange: Exchange) -> None:
        await exchange.whole(self.status, self.body, self.headers)


@dataclass(eq=False, kw_only=True)
class Raw(Scripted):
    """Bytes and events on the wire. See `FakeSiliconFlow.raw`."""

    steps: tuple[Step, ...]
    status: int = 200
    headers: Headers = field(default_factory=dict[str, str | None])
    framing: Framing = "chunked"

    async def send(self, exchange: Exchange) -> None:
        await exchange.raw(self.steps, self.status, self.headers, self.framing)


Sendable: TypeAlias = Reply | Failure | Raw
"""Any scripted answer."""


def make_failure(
    status: int,
    body: Mapping[str, Any] | str | bytes | None,
    headers: Headers | None,
    times: int | None,
    before: Iterable[Wait],
) -> Failure:
    """Return a `Failure` with its body encoded, so that a wrong one fails in the test itself."""
    given = body if isinstance(body, bytes) else _encode(body)
    content = error_body(status) if body is None else given
    html = content.lstrip().startswith(b"<")
    kind: Headers = {"content-type": "text/html" if html else "application/json"}
    merged = {**kind, **lower(headers)}
    return Failure(status=status, body=content, headers=merged, times=times, before=tuple(before))


def _lenient(body: bytes) -> Mapping[str, Any]:
    """Read what a scripted reply needs of a request, which may be any bytes."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}
