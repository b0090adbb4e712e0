"""A client as a program of its own, for what can only be measured from outside: `python hostile.py URL ASK OPTIONS`.

ASK is how the answer is read: "whole" as `create` does; "stream" chunk by chunk, "held" with every chunk kept, "slow"
at leisure; "completion", "events" and "text" by these; "think" by `completion` with think blocks split; "run" as
`run_tools` does. OPTIONS are the client's, as JSON. After a first, friendly answer it asks once more, and prints as
JSON how that ended, by how many KiB the process grew meanwhile, and how many seconds of the processor the loop went
without a turn at most (`blocked`) and took in all (`cpu`).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from siliconflow_async import AsyncSiliconFlow, RetryPolicy, SiliconFlowError, Timeouts

ASK: dict[str, Any] = {"model": "stand-in/model", "messages": [{"role": "user", "content": "hi"}]}


def memory(name: str) -> int:
    """KiB of this process: `VmHWM` at most so far, `VmRSS` now."""
    # Not getrusage: its peak starts at that of the process that started this one.
    status = Path("/proc/self/status").read_text()
    return int(status.split(name + ":")[1].split()[0])


async def read(client: AsyncSiliconFlow, ask: str) -> None:
    if ask == "whole":
        await client.chat.completions.create(**ASK)
        return
    if ask == "run":
        await client.chat.completions.run_tools(**ASK, tools=[f], max_rounds=1).completion()
        return
    async with client.chat.completions.stream(**ASK, split_think=ask == "think") as stream:
        if ask == "held":
            _ = [chunk async for chunk in stream]
        elif ask in ("completion", "think"):
            await stream.completion()
        elif ask != "slow":
            async for _ in {"events": stream.events, "text": stream.text}.get(ask, stream.__aiter__)():
                pass
        if ask != "slow":
            return
        for _ in range(20):
            await anext(stream)
            # A consumer slower than its server is what is measured.
            await asyncio.sleep(0.05)


def f(a: int = 0) -> str:
    """The tool of a run."""
    return str(a)


class Turns:
    """How long the loop goes without a turn, in seconds of this thread's time: waiting, or another's work, is none."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._began = self._last = time.thread_time()
        self._task = asyncio.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(0)
            self._note()

    def _note(self) -> None:
        now = time.thread_time()
        self.longest = max(self.longest, now - self._last)
        self._last = now

    def end(self) -> dict[str, float]:
        self._note()
        self._task.cancel()
        return {"blocked": self.longest, "cpu": self._last - self._began}


async def main(base_url: str, ask: str, options: dict[str, Any]) -> dict[str, Any]:
    timeouts = Timeouts(**options.pop("timeouts", {}))
    retry = RetryPolicy(max_attempts=1)
    async with AsyncSiliconFlow("k", base_url=base_url, retry=retry, timeouts=timeouts, **options) as client:
        await read(client, "whole" if ask == "whole" else "stream")
        before = memory("VmHWM")
        report: dict[str, Any] = {"error": None, "said": ""}
        turns = Turns()
        try:
            await read(client, ask)
        except SiliconFlowError as error:
            report = {"error": type(error).__name__, "said": str(error)[:200], **facts(error)}
        return {**report, **turns.end(), "grew": memory("VmHWM") - before}


def facts(error: SiliconFlowError) -> dict[str, Any]:
    names = ("clock", "status")
    found = {name: getattr(error, name) for name in names if hasattr(error, name)}
    partial = getattr(error, "partial", None)
    return {**found, "partial": partial.content if partial is not None and partial.choices else None}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
