"""One chat answer, and its two forms on the wire: a list of events, or one body.

The shapes are those of recorded answers: cumulative usage on every chunk, null for the one of content and reasoning
that a delta doesn't carry, keys that a whole answer doesn't use left out.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, TypeAlias
from zlib import crc32

import msgspec

__all__ = [
    "CallPieces",
    "ChatAnswer",
    "ChoicePieces",
    "UsageOn",
    "deltas",
    "new_id",
    "sse",
    "stream_events",
    "wanted_logprobs",
]

UsageOn: TypeAlias = Literal["every", "last", "never"]

_encode = msgspec.json.Encoder().encode
_TOKEN = re.compile(r"\s?[A-Za-z]{1,7}|\s?[0-9]{1,3}|[\u2e80-\u9fff\uac00-\ud7af]{1,2}|\s+|.", re.DOTALL)


def deltas(text: str) -> list[str]:
    """Split a text into small pieces, as a tokenizer would; joined they give the text again."""
    return _TOKEN.findall(text)


def sse(data: object) -> bytes:
    """Return one event of a stream: `data: …` and an empty line.

    `data` is sent as it is if it is bytes or a str, anything else as JSON.
    """
    if isinstance(data, str):
        data = data.encode()
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else _encode(data))


def new_id() -> str:
    """Return 32 hex digits that grow with time, as in recorded answers."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


class CallPieces(msgspec.Struct, frozen=True):
    """One tool call. `arguments` is its JSON text in the pieces that a stream sends."""

    name: str
    arguments: Sequence[str]
    id: str

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> CallPieces:
        """Read `{"name": …, "arguments": text or object, "id": optional}`."""
        unknown = call.keys() - {"name", "arguments", "id"}
        if unknown or not isinstance(call.get("name"), str):
            raise ValueError(f"a tool call has name, arguments and id, not {dict(call)!r}")
        arguments = call.get("arguments", "{}")
        if not isinstance(arguments, str):
            arguments = _encode(arguments).decode()
        return cls(call["name"], deltas(arguments), call.get("id") or secrets.token_hex(16))


class ChoicePieces(msgspec.Struct, frozen=True):
    """One choice of an answer; each piece of text is one delta and counts as one token."""

    content: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    calls: Sequence[CallPieces] = ()
    finish_reason: str | None = "stop"

    @classmethod
    def of(
        cls,
        text: str | Iterable[str] | None,
        reasoning: str | Iterable[str] | None,
        tool_calls: Iterable[Mapping[str, Any]] | None,
        finish_reason: str | None,
        finish: bool,
    ) -> ChoicePieces:
        """Return the choice that a script describes."""
        content, thoughts = (
            deltas(given) if isinstance(given, str) else tuple(given or ()) for given in (text, reasoning)
        )
        calls = [CallPieces.of(call) for call in tool_calls or ()]
        reason = finish_reason or ("tool_calls" if calls else "stop")
        return cls(content, thoughts, calls, reason if finish else None)

    @property
    def tokens(self) -> int:
        pieces = sum(1 + len(call.arguments) for call in self.calls)
        return len(self.reasoning) + len(self.content) + pieces

    def as_message(self) -> dict[str, Any]:
        """Return the choice as a whole answer has it."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.content)}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": "".join(call.arguments)},
                }
                for call in self.calls
            ]
        return message

    def as_deltas(self) -> Iterator[tuple[dict[str, Any], int, str | None]]:
        """Yield each delta of a stream, how many tokens it is, and its finish_reason."""
        nothing = {"content": None, "reasoning_content": None}
        role = {"role": "assistant"}
        # Recorded thinking models repeat the role on every chunk, the others send it once.
        again = role if self.reasoning else {}
        yield {**nothing, "reasoning_content" if self.reasoning else "content": "", **role}, 0, None
        for text in self.reasoning:
            yield {**nothing, "reasoning_content": text, **again}, 1, None
        for text in self.content:
            yield {**nothing, "content": text, **again}, 1, None
        for index, call in enumerate(self.calls):
            function: dict[str, str] = {"name": call.name, "arguments": ""}
            parts: list[dict[str, Any]] = [{"index": index, "id": call.id, "type": "function", "function": function}]
            for text in call.arguments:
                parts.append({"index": index, "id": None, "type": None, "function": {"arguments": text}})
            for part in parts:
                yield {**nothing, **role, "tool_calls": [part]}, 1, None
        if self.finish_reason is not None:
            yield {**nothing, "content": "", **again}, 0, self.finish_reason


class ChatAnswer(msgspec.Struct, frozen=True):
    """A whole answer.

    `usage` is the final one, None to have it counted, and `usage_on` says which chunks of a stream carry one. `done` is
    whether the stream ends with `data: [DONE]`. `logprobs` is how many alternatives each token of the content is sent
    with, None for no log probabilities.
    """

    choices: Sequence[ChoicePieces]
    model: str
    prompt_tokens: int = 1
    usage: Mapping[str, Any] | None = None
    usage_on: UsageOn = "every"
    done: bool = True
    logprobs: int | None = None
    id: str = msgspec.field(default_factory=new_id)
    created: int = msgspec.field(default_factory=lambda: int(time.time()))

    @property
    def tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)

    def body(self) -> bytes:
        """Return the answer as one `chat.completion`."""
        choices = [
            {
                "index": index,
                "message": choice.as_message(),
                "finish_reason": choice.finish_reason,
                **self._logprobs(choice.content),
            }
            for index, choice in enumerate(self.choices)
        ]
        whole = {**self._head("chat.completion"), "choices": choices}
        if self.usage_on != "never":
            thoughts = sum(len(choice.reasoning) for choice in self.choices)
            whole["usage"] = self.usage or self._counted(self.tokens, thoughts)
        return _encode({**whole, "system_fingerprint": ""})

    def events(self) -> list[bytes]:
        """Return the answer as the events of a stream, `n` choices interleaved."""
        head = self._head("chat.completion.chunk")
        events: list[bytes] = []
        total = thoughts = 0
        unfinished = sum(choice.finish_reason is not None for choice in self.choices)
        for row in zip_longest(*(choice.as_deltas() for choice in self.choices)):
            for index, piece in enumerate(row):
                if piece is None:
                    continue
                delta, tokens, finish = piece
                choice = {"index": index, "delta": delta, "finish_reason": finish}
                if tokens and delta["content"] is not None:
                    choice |= self._logprobs([delta["content"]])
                chunk = {**head, "choices": [choice], "system_fingerprint": ""}
                total += tokens
                thoughts += bool(tokens and delta["reasoning_content"] is not None)
                unfinished -= finish is not None
                if self.usage_on == "every":
                    is_last = finish is not None and not unfinished
                    given = self.usage if is_last else None
                    chunk["usage"] = self._counted(total, thoughts) if given is None else given
                events.append(sse(chunk))
        if self.usage_on == "last":
            usage = self.usage or self._counted(total, thoughts)
            events.append(sse({**head, "choices": [], "system_fingerprint": "", "usage": usage}))
        if self.done:
            events.append(sse("[DONE]"))
        return events

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _counted(self, completion: int, reasoning: int) -> dict[str, Any]:
        """Return the usage of so many tokens."""
        usage: dict[str, Any] = {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion,
            "total_tokens": self.prompt_tokens + completion,
        }
        if reasoning:
            usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
        # Nothing of a prompt is found in a cache here.
        usage["prompt_tokens_details"] = {"cached_tokens": 0}
        usage["prompt_cache_hit_tokens"] = 0
        usage["prompt_cache_miss_tokens"] = self.prompt_tokens
        return usage

    def _logprobs(self, tokens: Sequence[str]) -> dict[str, Any]:
        if self.logprobs is None:
            return {}
        content = []
        for token in tokens:
            # A number of its own for each token, the same in every run.
            logprob = -(crc32(token.encode()) % 1000) / 1000
            others = [_token(f"{token}{'~' * rank}", logprob - rank) for rank in range(self.logprobs)]
            content.append({**_token(token, logprob), "top_logprobs": others})
        return {"logprobs": {"content": content}}


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def stream_events(
    text: str | Iterable[str] | None = None,
    reasoning: str | Iterable[str] | None = None,
    tool_calls: Iterable[Mapping[str, Any]] | None = None,
    *,
    finish_reason: str | None = None,
    finish: bool = True,
    usage: Mapping[str, Any] | None = None,
    usage_on: UsageOn = "every",
    model: str = "stand-in/model",
    done: bool = True,
) -> list[bytes]:
    """Return the events of a streamed reply as bytes, to cut, reorder and send with `raw`.

    The parameters are those of `FakeSiliconFlow.reply`.
    """
    choice = ChoicePieces.of(text, reasoning, tool_calls, finish_reason, finish)
    return ChatAnswer([choice], model, usage=usage, usage_on=usage_on, done=done).events()


def wanted_logprobs(request: Mapping[str, Any]) -> int | None:
    """Return how many alternatives a request asks for with each token; None if it asks for no log probabilities."""
    if request.get("logprobs") is not True:
        return None
    count = request.get("top_logprobs")
    return int(count) if isinstance(count, int | float) else 0
