"""One chat answer, and its two forms on the wire: a list of events, or one body.

The shapes are those of recorded answers: cumulative usage on every chunk, null for the one of
content and reasoning that a delta doesn't carry, keys that a whole answer doesn't use left out.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal, TypeAlias
from zlib import crc32

import msgspec

UsageOn: TypeAlias = Literal["every", "last", "never"]

_encode = msgspec.json.Encoder().encode
_TOKEN = re.compile(r"\s?[A-Za-z]{1,7}|\s?[0-9]{1,3}|[\u2e80-\u9fff\uac00-\ud7af]{1,2}|\s+|.", re.DOTALL)
DONE = b"data: [DONE]\n\n"


def deltas(text: str) -> list[str]:
    """Split a text into small pieces, as a tokenizer would; joined they give the text again."""
    return _TOKEN.findall(text)


def sse(data: object) -> bytes:
    """Return one event of a stream: `data: …` and an empty line.

    data: bytes and str are sent as they are, anything else as JSON.
    """
    if isinstance(data, str):
        data = data.encode()
    return b"data: %b\n\n" % (data if isinstance(data, bytes) else _encode(data))


def new_id() -> str:
    """Return 32 hex digits that grow with time, as in recorded answers."""
    return f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call. `arguments` is its JSON text in the pieces that a stream sends."""

    name: str
    arguments: Sequence[str]
    id: str

    @classmethod
    def of(cls, call: Mapping[str, Any]) -> Call:
        """Read `{"name": …, "arguments": text or object, "id": optional}`."""
        unknown = call.keys() - {"name", "arguments", "id"}
        if unknown or not isinstance(call.get("name"), str):
            raise ValueError(f"a tool call has name, arguments and id, not {dict(call)!r}")
        arguments = call.get("arguments", "{}")
        if not isinstance(arguments, str):
            arguments = _encode(arguments).decode()
        return cls(call["name"], deltas(arguments), call.get("id") or secrets.token_hex(16))


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of an answer; each piece of text is one delta and counts as one token."""

    content: Sequence[str] = ()
    reasoning: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish_reason: str | None = "stop"

    @property
    def tokens(self) -> int:
        pieces = sum(1 + len(call.arguments) for call in self.calls)
        return len(self.reasoning) + len(self.content) + pieces


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    usage: the final usage; None: counted. usage_on: which chunks of a stream carry one.
    done: whether the stream ends with `data: [DONE]`.
    logprobs: how many alternatives each token of the content is sent with; None: no log probabilities.
    """

    choices: Sequence[Choice]
    model: str
    prompt_tokens: int = 1
    usage: Mapping[str, Any] | None = None
    usage_on: UsageOn = "every"
    done: bool = True
    logprobs: int | None = None
    id: str = field(default_factory=new_id)
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def tokens(self) -> int:
        return sum(choice.tokens for choice in self.choices)

    def body(self) -> bytes:
        """Return the answer as one `chat.completion`."""
        whole: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                {
                    "index": index,
                    "message": _message(choice),
                    "finish_reason": choice.finish_reason,
                    **self._logprobs(choice.content),
                }
                for index, choice in enumerate(self.choices)
            ],
        }
        if self.usage_on != "never":
            reasoning = sum(len(choice.reasoning) for choice in self.choices)
            whole["usage"] = self.usage or _usage(self.prompt_tokens, self.tokens, reasoning)
        whole["system_fingerprint"] = ""
        return _encode(whole)

    def events(self) -> list[bytes]:
        """Return the answer as the events of a stream, `n` choices interleaved."""
        # The frame around a delta is the same in every chunk: it is encoded once.
        head = b'data: {"id":%b,"object":"chat.completion.chunk","created":%d,"model":%b,' % (
            _encode(self.id),
            self.created,
            _encode(self.model),
        )
        chunk = b'"choices":[{"index":%d,"delta":%b,"finish_reason":%b%b}]'
        after = b',"system_fingerprint":""'
        events: list[bytes] = []
        total = reasoning = 0
        rows = zip_longest(*(_deltas(choice) for choice in self.choices))
        last = self.usage if self.usage_on == "every" else None
        open_choices = sum(choice.finish_reason is not None for choice in self.choices)
        for row in rows:
            for index, piece in enumerate(row):
                if piece is None:
                    continue
                delta, tokens, thought, finish, text = piece
                logprobs = b""
                if text is not None and self.logprobs is not None:
                    logprobs = b',"logprobs":' + _encode(self._logprobs([text])["logprobs"])
                total += tokens
                reasoning += thought
                open_choices -= finish != b"null"
                usage = b""
                if self.usage_on == "every":
                    if last is not None and open_choices == 0 and finish != b"null":
                        usage = b',"usage":' + _encode(last)
                    else:
                        usage = b',"usage":' + _usage_bytes(self.prompt_tokens, total, reasoning)
                events.append(head + chunk % (index, delta, finish, logprobs) + after + usage + b"}\n\n")
        if self.usage_on == "last":
            final = self.usage or _usage(self.prompt_tokens, total, reasoning)
            events.append(head + b'"choices":[]' + after + b',"usage":' + _encode(final) + b"}\n\n")
        if self.done:
            events.append(DONE)
        return events

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
    choice = make_choice(text, reasoning, tool_calls, finish_reason, finish)
    return Answer([choice], model, usage=usage, usage_on=usage_on, done=done).events()


def wanted_logprobs(request: Mapping[str, Any]) -> int | None:
    """Return how many alternatives a request asks for with each token; None if it asks for no log probabilities."""
    if request.get("logprobs") is not True:
        return None
    count = request.get("top_logprobs")
    return int(count) if isinstance(count, int | float) else 0


def make_choice(
    text: str | Iterable[str] | None,
    reasoning: str | Iterable[str] | None,
    tool_calls: Iterable[Mapping[str, Any]] | None,
    finish_reason: str | None,
    finish: bool,
) -> Choice:
    """Return the choice that a script describes."""
    calls = tuple(Call.of(call) for call in tool_calls or ())
    reason = (finish_reason or ("tool_calls" if calls else "stop")) if finish else None
    return Choice(_pieces(text), _pieces(reasoning), calls, reason)


def _pieces(text: str | Iterable[str] | None) -> tuple[str, ...]:
    if text is None:
        return ()
    return tuple(deltas(text) if isinstance(text, str) else text)


def _token(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _message(choice: Choice) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "".join(choice.content)}
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": "".join(call.arguments)},
            }
            for call in choice.calls
        ]
    return message


def _deltas(choice: Choice) -> Iterator[tuple[bytes, int, int, bytes, str | None]]:
    """Yield each delta as JSON, its tokens, how many of them are reasoning, its finish_reason and its content."""
    # Recorded thinking models repeat the role on every chunk, the others send it once.
    role = b',"role":"assistant"' if choice.reasoning else b""
    if choice.reasoning:
        yield b'{"content":null,"reasoning_content":"","role":"assistant"}', 0, 0, b"null", None
    else:
        yield b'{"content":"","reasoning_content":null,"role":"assistant"}', 0, 0, b"null", None
    for text in choice.reasoning:
        yield b'{"content":null,"reasoning_content":%b%b}' % (_encode(text), role), 1, 1, b"null", None
    for text in choice.content:
        yield b'{"content":%b,"reasoning_content":null%b}' % (_encode(text), role), 1, 0, b"null", text
    for index, call in enumerate(choice.calls):
        empty = b'{"content":null,"reasoning_content":null,"role":"assistant","tool_calls":[%b]}'
        opener = b'{"index":%d,"id":%b,"type":"function","function":{"name":%b,"arguments":""}}' % (
            index,
            _encode(call.id),
            _encode(call.name),
        )
        yield empty % opener, 1, 0, b"null", None
        for text in call.arguments:
            fragment = b'{"index":%d,"id":null,"type":null,"function":{"arguments":%b}}' % (
                index,
                _encode(text),
            )
            yield empty % fragment, 1, 0, b"null", None
    if choice.finish_reason is not None:
        last = b'{"content":"","reasoning_content":null%b}' % role
        yield last, 0, 0, _encode(choice.finish_reason), None


def _usage(prompt: int, completion: int, reasoning: int) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }
    if reasoning:
        usage["completion_tokens_details"] = {"reasoning_tokens": reasoning}
    return usage


def _usage_bytes(prompt: int, completion: int, reasoning: int) -> bytes:
    details = b',"completion_tokens_details":{"reasoning_tokens":%d}' % reasoning
    return b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}' % (
        prompt,
        completion,
        prompt + completion,
        details if reasoning else b"",
    )
