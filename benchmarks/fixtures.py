"""The inputs: seeded answers in SiliconFlow's shape, and what each of them must fold to.

A chunk has about 430 bytes and carries the usage so far, as most models send it. Each fixture is named for the branch
that it stresses; `make(name, chunks)` always returns the same bytes for the same arguments.
"""

from __future__ import annotations

import base64
import functools
import json
import random
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

MODEL = "stand-in/Large-Instruct-2507"
# What every contestant asks.
MESSAGES: Any = [{"role": "user", "content": "Say something long."}]
DONE = b"data: [DONE]\n\n"
# So many chunks are written at once, if nothing else is said.
PER_BLOCK = 50
# So many vectors of so many numbers are an answer.
EMBEDDED = 32
EMBEDDED_SIZE = 1024
_CREATED = 1767225600
_PROMPT_TOKENS = 1234
_CACHED_TOKENS = 1152
_WORDS = (
    *(" the", " a", " stream", " of", " tokens", " is", " read", " as", " it", " comes", ",", ".", "\n", "\n\n"),
    *(" `await`", ' "quoted"', "\t", " naïve", " 流式", "读取", "。", "，", " 🙂", " def", " return", " 3", "ing"),
)


@dataclass(frozen=True)
class _Answer:
    """What a right client makes of an answer."""

    content: str | None = None
    reasoning: str | None = None
    calls: tuple[tuple[str, str, str], ...] = ()
    finish_reason: str = "stop"

    @property
    def said(self) -> str:
        """Reasoning and content, as a reader that takes both has them in the end."""
        return (self.reasoning or "") + (self.content or "")


@dataclass(frozen=True, kw_only=True)
class Fixture(_Answer):
    """One answer: `blocks` are the writes of the server.

    `simple` says that splitting at blank lines is enough to read it: no comments, no CR.
    """

    name: str
    blocks: tuple[bytes, ...]
    chunks: int
    usage: dict[str, Any]
    simple: bool = True


# The deltas of an answer, the number of those that reason, and what it comes to.
_Script: TypeAlias = tuple[list[dict[str, Any]], int, _Answer]


@functools.lru_cache(maxsize=64)
def make(name: str, chunks: int, per_block: int = PER_BLOCK) -> Fixture:
    """Return the fixture `name` with that many chunks, the first and the last without text; blocks of that many."""
    if chunks < 4:
        raise ValueError("a fixture has at least 4 chunks")
    rng = random.Random(f"{name} {chunks}")
    kind = _KINDS[name]
    said, reasoning, answer = kind.script(rng, chunks - 2)
    identity = f"{rng.getrandbits(128):032x}"
    deltas = [{"role": "assistant"}, *said, {}]
    events: list[bytes] = []
    usage: dict[str, Any] = {}
    for number, delta in enumerate(deltas):
        finish = answer.finish_reason if number == len(deltas) - 1 else None
        usage = usage_of(min(number, chunks - 2), min(number, reasoning))
        blank = "" if answer.calls == () and (number == 0 or finish) else None
        events.append(event(identity, {"content": blank, "reasoning_content": None, **delta}, finish, usage))
    events.append(DONE)
    return Fixture(
        name=name,
        blocks=tuple(kind.cut(rng, events, per_block)),
        chunks=chunks,
        usage=usage,
        simple=kind.simple,
        **vars(answer),
    )


def event(identity: str, delta: dict[str, Any], finish: str | None, usage: dict[str, Any]) -> bytes:
    """Return one event with its chunk, the members in the order of the wire."""
    chunk = {
        "id": identity,
        "object": "chat.completion.chunk",
        "created": _CREATED,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        "system_fingerprint": "",
        "usage": usage,
    }
    return b"data: " + _json(chunk) + b"\n\n"


def huge_event(size: int) -> tuple[bytes, str]:
    """Return one event of about `size` bytes, and its content."""
    content = "0123456789abcdef" * (size // 16)
    return event("0" * 32, {"content": content, "reasoning_content": None}, None, usage_of(1)), content


def whole_answer() -> tuple[bytes, str]:
    """Return the body of an answer that is not streamed, and its content."""
    content = "".join(random.Random("whole").choices(_WORDS, k=300))
    message = {"role": "assistant", "content": content}
    answer = {
        "id": "0" * 32,
        "object": "chat.completion",
        "created": _CREATED,
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage_of(300),
        "system_fingerprint": "",
    }
    return _json(answer), content


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def usage_of(completion_tokens: int, reasoning_tokens: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": _PROMPT_TOKENS,
        "completion_tokens": completion_tokens,
        "total_tokens": _PROMPT_TOKENS + completion_tokens,
        "completion_tokens_details": {"reasoning_tokens": reasoning_tokens},
        "prompt_tokens_details": {"cached_tokens": _CACHED_TOKENS},
    }


def _text(rng: random.Random, count: int) -> _Script:
    words = rng.choices(_WORDS, k=count)
    return [{"content": word} for word in words], 0, _Answer("".join(words))


def _reasoning(rng: random.Random, count: int) -> _Script:
    words = rng.choices(_WORDS, k=count)
    first = count // 2
    deltas = [{"reasoning_content": word} for word in words[:first]] + [{"content": word} for word in words[first:]]
    return deltas, first, _Answer("".join(words[first:]), "".join(words[:first]))


def _tools(rng: random.Random, count: int) -> _Script:
    """Two calls one after the other; the ids and names come once, the arguments in fragments."""
    deltas: list[dict[str, Any]] = []
    calls = []
    for index, size in enumerate((count - count // 2, count // 2)):
        words = ['{"text": "', *rng.choices([" a", " call", "'s", " arguments", " 参数"], k=size)]
        words = [words[0] + words[1], *words[2:]] if size > 1 else ["".join(words)]
        words[-1] += '"}'
        identity = f"call_{rng.getrandbits(64):016x}"
        for number, word in enumerate(words):
            fragment: dict[str, Any] = {"index": index, "id": None, "type": None, "function": {"arguments": word}}
            if number == 0:
                fragment |= {"id": identity, "type": "function", "function": {"name": "look_up", "arguments": word}}
            deltas.append({"tool_calls": [fragment]})
        calls.append((identity, "look_up", "".join(words)))
    return deltas, 0, _Answer(calls=tuple(calls), finish_reason="tool_calls")


def _in_blocks(rng: random.Random, events: Sequence[bytes], per_block: int) -> Iterator[bytes]:
    for start in range(0, len(events), per_block):
        yield b"".join(events[start : start + per_block])


def _with_comments(rng: random.Random, events: Sequence[bytes], per_block: int) -> Iterator[bytes]:
    """A keep-alive comment before every fourth event or so."""
    return _in_blocks(rng, [b": ping\n\n" + one if rng.random() < 0.25 else one for one in events], per_block)


def _with_crlf(rng: random.Random, events: Sequence[bytes], per_block: int) -> Iterator[bytes]:
    return _in_blocks(rng, [one.replace(b"\n", b"\r\n") for one in events], per_block)


def _in_crumbs(rng: random.Random, events: Sequence[bytes], per_block: int) -> Iterator[bytes]:
    """Pieces of 1 to 256 bytes, cut wherever they end."""
    whole = b"".join(events)
    start = 0
    while start < len(whole):
        end = start + rng.randint(1, 256)
        yield whole[start:end]
        start = end


def _at_once(rng: random.Random, events: Sequence[bytes], per_block: int) -> Iterator[bytes]:
    """Blocks of 256 KiB, cut wherever they end."""
    whole = b"".join(events)
    for start in range(0, len(whole), 256 * 1024):
        yield whole[start : start + 256 * 1024]


@dataclass(frozen=True)
class _Kind:
    script: Callable[[random.Random, int], _Script] = _text
    cut: Callable[[random.Random, Sequence[bytes], int], Iterator[bytes]] = _in_blocks
    simple: bool = True


_KINDS = {
    "text": _Kind(),
    "reasoning": _Kind(_reasoning),
    "tools": _Kind(_tools),
    "comments": _Kind(cut=_with_comments, simple=False),
    "crlf": _Kind(cut=_with_crlf, simple=False),
    "tiny-reads": _Kind(cut=_in_crumbs),
    "huge-reads": _Kind(cut=_at_once),
}
NAMES = tuple(_KINDS)


@functools.cache
def embedded() -> list[list[float]]:
    """The vectors of an answer, of numbers that float32 holds."""
    rng = random.Random(0)
    packed = struct.pack(
        f"<{EMBEDDED * EMBEDDED_SIZE}f", *(rng.gauss(0, 0.03) for _ in range(EMBEDDED * EMBEDDED_SIZE))
    )
    # No more digits than float32 needs, as services write them.
    numbers = [float(f"{number:.9g}") for number in struct.unpack(f"<{EMBEDDED * EMBEDDED_SIZE}f", packed)]
    return [numbers[at : at + EMBEDDED_SIZE] for at in range(0, len(numbers), EMBEDDED_SIZE)]


@functools.cache
def embeddings_answer(form: str) -> bytes:
    """The body of an answer to a list of texts, as "float" or as "base64"."""
    data = [
        {
            "object": "embedding",
            "index": at,
            "embedding": vector
            if form == "float"
            else base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode(),
        }
        for at, vector in enumerate(embedded())
    ]
    usage = {"prompt_tokens": 320, "completion_tokens": 0, "total_tokens": 320}
    return json.dumps({"object": "list", "model": MODEL, "data": data, "usage": usage}, separators=(",", ":")).encode()
