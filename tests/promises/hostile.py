"""A client as a program of its own, for what can only be measured from outside: `python hostile.py URL ASK OPTIONS`.

ASK is "stream", "whole" or "slow" (a stream read at leisure), OPTIONS are the client's, as JSON. After a first,
friendly answer it asks once more, and prints how that ended and by how many KiB the process grew meanwhile, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
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
    async with client.chat.completions.stream(**ASK) as stream:
        if ask == "stream":
            async for _ in stream:
                pass
            return
        for _ in range(20):
            await anext(stream)
            # A consumer slower than its server is what is measured.
            await asyncio.sleep(0.05)


async def main(base_url: str, ask: str, options: dict[str, Any]) -> dict[str, Any]:
    timeouts = Timeouts(**options.pop("timeouts", {}))
    retry = RetryPolicy(max_attempts=1)
    async with AsyncSiliconFlow("k", base_url=base_url, retry=retry, timeouts=timeouts, **options) as client:
        await read(client, "whole" if ask == "whole" else "stream")
        before = memory("VmHWM")
        report: dict[str, Any] = {"error": None, "said": ""}
        try:
            await read(client, ask)
        except SiliconFlowError as error:
            report = {"error": type(error).__name__, "said": str(error)[:200], **facts(error)}
        return {**report, "grew": memory("VmHWM") - before}


def facts(error: SiliconFlowError) -> dict[str, Any]:
    names = ("clock", "status")
    found = {name: getattr(error, name) for name in names if hasattr(error, name)}
    partial = getattr(error, "partial", None)
    return {**found, "partial": partial.content if partial is not None and partial.choices else None}


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3])))))
