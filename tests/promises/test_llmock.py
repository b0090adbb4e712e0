"""A referee from outside: llmock, a server of faults that watches its client and gives a verdict.

Here it is only ever a program of its own; it comes with the extra `test`.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async import (
    APITimeoutError,
    AsyncSiliconFlow,
    BadRequestError,
    ContextLengthError,
    MalformedStreamError,
    OverloadedError,
    RateLimitError,
    RetryPolicy,
    SiliconFlowError,
    Timeouts,
    TruncatedStreamError,
)

from ..asking import ASK

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

# Short waits, which still grow: constant ones would be found fault with.
RETRY = RetryPolicy(base=0.05, cap=5.0)
LIMITS = Timeouts(connect=5, first_token=5, idle=0.3)


class Referee:
    """The running server."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_llmock/{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)

    async def start(self, *behaviors: dict[str, Any]) -> None:
        """Forget what was, and play these behaviours."""
        await asyncio.to_thread(self.call, "POST", "reset")
        if behaviors:
            await asyncio.to_thread(self.call, "POST", "scenario", {"behaviors": list(behaviors)})

    async def verdict(self) -> dict[str, Any]:
        found: dict[str, Any] = await asyncio.to_thread(self.call, "GET", "verdict")
        return found


@contextmanager
def running() -> Iterator[Referee]:
    # It inherits a socket that listens already: a request that comes before it is ready waits in the kernel.
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    command = [sys.executable, "-m", "uvicorn", "--factory", "llmock.main:create_app", "--fd", str(listener.fileno())]
    process = subprocess.Popen([*command, "--log-level", "error"], pass_fds=[listener.fileno()])
    try:
        with listener:
            port = listener.getsockname()[1]
        yield Referee(port)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def referee() -> Iterator[Referee]:
    with running() as server:
        yield server


def client_of(referee: Referee) -> AsyncSiliconFlow:
    return AsyncSiliconFlow("k", base_url=referee.url, retry=RETRY, timeouts=LIMITS)


async def read(client: AsyncSiliconFlow) -> str:
    async with client.chat.completions.stream(**ASK) as stream:
        return "".join([text async for text in stream.text()])


async def whole(client: AsyncSiliconFlow) -> str:
    return (await client.chat.completions.create(**ASK)).content or ""


async def as_a_caller_would(client: AsyncSiliconFlow) -> str:
    """Read a stream, and ask again for one that broke: only the caller knows what the first part was used for."""
    try:
        return await read(client)
    except (TruncatedStreamError, MalformedStreamError, APITimeoutError):
        return await read(client)


def fault(kind: str, **more: Any) -> dict[str, Any]:
    return {"type": "stream_fault", "kind": kind, "after_chunks": 3, **more}


def fail(status: int, **more: Any) -> dict[str, Any]:
    return {"type": "fail", "status": status, **more}


MENDED: dict[str, list[dict[str, Any]]] = {
    "nothing": [],
    "disconnect": [fault("disconnect")],
    "truncate": [fault("truncate")],
    "malformed": [fault("malformed")],
    "stall": [fault("stall", stall_seconds=30)],
    "slow first token": [{"type": "slow_first_token", "seconds": 0.5}],
    "rate limit": [fail(429, retry_after=0.4, times=2)],
    "overload": [fail(503, retry_after=0.1, times=3)],
    "internal error": [fail(500, retry_after=0.1, times=2)],
    "a bad day": [fail(429, retry_after=0.2), fail(503, retry_after=0.1), fault("disconnect")],
}

BREAKS: dict[str, tuple[dict[str, Any], type[SiliconFlowError]]] = {
    "disconnect": (fault("disconnect"), TruncatedStreamError),
    "truncate": (fault("truncate"), TruncatedStreamError),
    "malformed": (fault("malformed"), MalformedStreamError),
    "stall": (fault("stall", stall_seconds=30), APITimeoutError),
}

REFUSALS: dict[str, tuple[dict[str, Any], type[SiliconFlowError], int]] = {
    "400": (fail(400, times=None), BadRequestError, 1),
    "context": (
        fail(400, times=None, message="This model's maximum context length is 8 tokens."),
        ContextLengthError,
        1,
    ),
    "outage": (fail(503, retry_after=0.1, times=None), OverloadedError, RETRY.max_attempts),
    "long rate limit": (fail(429, times=None, retry_after=60), RateLimitError, 1),
}


async def no_complaint(referee: Referee, *, attempts: int) -> None:
    verdict = await referee.verdict()
    assert verdict["attempts"] == attempts
    assert [one for one in verdict["findings"] if one["severity"] == "error"] == []


@pytest.mark.parametrize("name", MENDED)
async def test_a_caller_gets_the_whole_text(name: str, referee: Referee) -> None:
    """After any fault the text is that of an undisturbed stream, and the referee has nothing to say."""
    async with client_of(referee) as client:
        await referee.start()
        undisturbed = await read(client)
        await referee.start(*MENDED[name])
        assert await as_a_caller_would(client) == undisturbed
    faults = sum(one.get("times", 1) for one in MENDED[name] if one["type"] != "slow_first_token")
    await no_complaint(referee, attempts=1 + faults)


@pytest.mark.parametrize("name", BREAKS)
async def test_a_broken_stream_is_never_an_answer(name: str, referee: Referee) -> None:
    """The library does not ask again on its own once a part was given out: it raises, with the part."""
    behavior, expected = BREAKS[name]
    async with client_of(referee) as client:
        await referee.start(behavior)
        with pytest.raises(expected) as caught:
            await read(client)
        partial = getattr(caught.value, "partial", None)
        assert partial is not None
        assert partial.content
        assert (await referee.verdict())["attempts"] == 1


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("name", REFUSALS)
async def test_a_refusal_is_raised(name: str, streaming: bool, referee: Referee) -> None:
    """What can't be helped by asking again is not asked again; what may be, a few times."""
    behavior, expected, attempts = REFUSALS[name]
    async with client_of(referee) as client:
        await referee.start(behavior)
        with pytest.raises(expected):
            await (read(client) if streaming else whole(client))
    await no_complaint(referee, attempts=attempts)


async def test_the_referee_does_complain(referee: Referee) -> None:
    """Of a client that takes a truncated stream for an answer: its silence in the other tests means something."""
    async with client_of(referee) as client:
        await referee.start(fault("truncate"))
        with pytest.raises(TruncatedStreamError):
            await read(client)
        findings = (await referee.verdict())["findings"]
    assert [one["code"] for one in findings] == ["truncated_stream_accepted"]
