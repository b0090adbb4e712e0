"""Scripted answers: what each of them holds, and how it goes onto the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from .answers import ChatAnswer, ChoicePieces, UsageOn, deltas, wanted_logprobs
from .steps import Framing, Scripted, Step
from .writer import AnswerWriter

__all__ = ["Failure", "Raw", "Reply", "Sendable"]


class Reply(Scripted, kw_only=True):
    """A chat answer, streamed or whole as the request asks. See `FakeSiliconFlow.reply`."""

    choice: ChoicePieces
    usage: Mapping[str, Any] | None = None
    usage_on: UsageOn = "every"
    model: str | None = None
    done: bool = True
    pause: float | None = None

    async def send(self, writer: AnswerWriter) -> None:
        request = _lenient(writer.recorded.body)
        model = request.get("model")
        answer = ChatAnswer(
            [self.choice],
            self.model or (model if isinstance(model, str) else "stand-in/model"),
            prompt_tokens=max(1, len(deltas(str(request.get("messages", ""))))),
            usage=self.usage,
            usage_on=self.usage_on,
            done=self.done,
            logprobs=wanted_logprobs(request),
        )
        await writer.answer(answer, stream=request.get("stream") is True, pause=self.pause, headers=self.headers)


class Failure(Scripted, kw_only=True):
    """An error, or any other answer that is one body. See `FakeSiliconFlow.fail`."""

    status: int
    body: bytes

    async def send(self, writer: AnswerWriter) -> None:
        kind = "text/html" if self.body.lstrip().startswith(b"<") else "application/json"
        await writer.whole(self.status, self.body, {"content-type": kind, **self.headers})


class Raw(Scripted, kw_only=True):
    """Bytes and events on the wire. See `FakeSiliconFlow.raw`."""

    steps: tuple[Step, ...]
    status: int = 200
    framing: Framing = "chunked"

    async def send(self, writer: AnswerWriter) -> None:
        await writer.raw(self.steps, self.status, self.headers, self.framing)


Sendable: TypeAlias = Reply | Failure | Raw
"""Any scripted answer."""


def _lenient(body: bytes) -> Mapping[str, Any]:
    """Read what a scripted reply needs of a request, which may be any bytes."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}
