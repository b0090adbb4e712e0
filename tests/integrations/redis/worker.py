"""One of several processes with one account: it calls a stand-in under limits that it shares through Redis.

    python -m tests.integrations.redis.worker < JOB

The first line that it reads is a `Job` as JSON. It says "ready" when it has a client, begins at the next line that it
reads, and in the end says what it saw: a `Saw` as JSON.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from typing import Any

import msgspec

from siliconflow_async import AsyncSiliconFlow, CallState, ChatCompletion, Limit, RateLimitError, SiliconFlowError
from siliconflow_async.integrations.redis import RedisLimits

__all__ = ["HEADER", "Job", "Saw"]

HEADER = "X-Process"


class Job(msgspec.Struct, kw_only=True):
    """What a process is to do: `calls` of each model in `limits`, at most `at_once` at a time, all told by `name`.

    `cancelled` are further calls, begun with the first and cancelled after so many seconds. Where `learns`, the calls
    are those of a `map`, to which no limit was given. `prompt_tokens` is what a prompt has, where that is to be known.
    """

    name: str
    base_url: str
    redis: str
    limits: dict[str, dict[str, int | float]]
    calls: int
    at_once: int | None = None
    max_tokens: int = 8
    prompt_tokens: int | None = None
    cancelled: int = 0
    cancelled_after: float = 0.0
    learns: bool = False
    account: str = "the account"
    on_loss: str = "share"
    processes: int = 1


class Saw(msgspec.Struct, kw_only=True):
    """What became of the calls: `answered`, `refused` by the service (429), and what failed, by the error's words.

    `tokens` are those of the answers, prompts included; `warnings` those logged; `cpu` are the seconds of its processor
    that the calls took, `first_at` and `last_at` when the first was sent and the last was over, as `time.monotonic()`
    says in all processes of a machine.
    """

    name: str
    answered: int = 0
    tokens: int = 0
    refused: int = 0
    cancelled: int = 0
    failed: dict[str, int] = {}
    warnings: list[str] = []
    states: dict[str, dict[str, Any]] = {}
    cpu: float = 0.0
    first_at: float = 0.0
    last_at: float = 0.0


class _Watch:
    """Counts the refusals, and notes the first attempt that is sent."""

    def __init__(self) -> None:
        self.refused = 0
        self.first_at = 0.0

    def sent(self, state: CallState) -> None:
        self.first_at = self.first_at or time.monotonic()

    def retried(self, state: CallState) -> None:
        self.refused += isinstance(state.error, RateLimitError)

    def ended(self, state: CallState) -> None:
        self.refused += isinstance(state.error, RateLimitError)


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


async def work(job: Job) -> Saw:
    """Do it, once there is a line to read."""
    warnings, watch = _Warnings(), _Watch()
    logging.getLogger("siliconflow_async").addHandler(warnings)
    counted: dict[str, Any] = {} if job.prompt_tokens is None else {"count_tokens": lambda _: job.prompt_tokens}
    given = {model: Limit(**limit, **counted) for model, limit in job.limits.items()}  # type: ignore[arg-type]
    on_loss: Any = job.on_loss
    limits = RedisLimits(job.redis, given, account=job.account, on_loss=on_loss, processes=job.processes)
    saw = Saw(name=job.name)
    failures: Counter[str] = Counter()
    async with AsyncSiliconFlow(
        f"key-of-{job.name}", base_url=job.base_url, limits=limits, observers=[watch], headers={HEADER: job.name}
    ) as client:
        places = asyncio.Semaphore(job.at_once or 10_000)

        def request(model: str) -> dict[str, Any]:
            turn = {"role": "user", "content": f"prompt of {job.name}"}
            return {"model": model, "messages": [turn], "max_tokens": job.max_tokens}

        def note(done: ChatCompletion | None, error: SiliconFlowError | None) -> None:
            if error is not None:
                failures[f"{type(error).__name__}: {error}"] += 1
            elif done is not None:
                saw.answered += 1
                saw.tokens += done.usage.total_tokens if done.usage is not None else 0

        async def ask(model: str) -> None:
            async with places:
                try:
                    note(await client.chat.completions.create(**request(model)), None)
                except SiliconFlowError as error:
                    note(None, error)

        async def leave(model: str) -> None:
            call = asyncio.ensure_future(client.chat.completions.create(**request(model)))
            await asyncio.wait([call], timeout=job.cancelled_after)
            saw.cancelled += call.cancel()
            await asyncio.wait([call])
            if not call.cancelled():
                note(call.result(), None)

        async def learn(model: str) -> None:
            requests = (request(model) for _ in range(job.calls))
            async with client.chat.completions.map(requests, max_concurrency=job.at_once or 64) as results:
                async for result in results:
                    note(result.completion, result.error)

        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        began = time.process_time()
        if job.learns:
            await asyncio.gather(*(learn(model) for model in given))
        else:
            await asyncio.gather(
                *(leave(model) for model in given for _ in range(job.cancelled)),
                *(ask(model) for _ in range(job.calls) for model in given),
            )
        saw.cpu = time.process_time() - began
        saw.last_at = time.monotonic()
        saw.states = {model: msgspec.to_builtins(state) for model, state in client.limits.items()}
    saw.refused, saw.first_at, saw.failed, saw.warnings = watch.refused, watch.first_at, dict(failures), warnings.texts
    return saw


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.readline(), type=Job)
    print(msgspec.json.encode(asyncio.run(work(asked))).decode(), flush=True)
