"""What handing a token on costs beyond reading it: `relay`, `sse_response` and the readers of a Broadcast.

Tokens are paced, and what takes the frames does nothing but count them, so that only this library's own work is left.
Each way has a process of its own. A frame of a Broadcast is counted once for each of its readers, all of which share
the work of reading upstream.

Times are noisy where others use the machine. So each way is counted as well, in a run apart: its bytecodes are all that
Python ran for a frame, the loop's own included, and its steps how often the loop went on with a task. How late a frame
is, from when the server wrote its token, is told by another run.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from siliconflow_async import AsyncSiliconFlow
from siliconflow_async.relay import Broadcast, relay, sse_response

from . import OURS
from .alone import all_open
from .children import alone
from .fixtures import MESSAGES, MODEL
from .guard import Tracing
from .measure import Sample, Setting, WrongAnswer, compare, percentile
from .server import STAMP_DIGITS

_CPU = "CPU per frame, µs"
_BEYOND = "beyond events(), µs"
_RATE = 50
_MARGIN = 0.3
_STAMP = re.compile(rf"\d{{{STAMP_DIGITS}}}")


class _Taker:
    """Counts the frames of all readers, and notes how late each is, if `timed`."""

    def __init__(self, *, timed: bool) -> None:
        self.frames = 0
        self.delays: list[int] = []
        self._timed = timed

    def take(self, text: str) -> None:
        self.frames += 1
        if self._timed:
            now = time.monotonic_ns()
            self.delays += [now - int(stamp) for stamp in _STAMP.findall(text)]

    async def events(self, source: Any) -> None:
        async with source as stream:
            async for event in stream.events():
                self.take(getattr(event, "text", ""))

    async def relay(self, source: Any) -> None:
        async def send(text: str) -> None:
            self.take(text)

        await relay(source, send, left=None)

    async def sse(self, source: Any) -> None:
        async for piece in sse_response(source):
            for frame in piece.decode().split("\n\n")[:-1]:
                self.take(frame)


_WAYS: dict[str, Callable[[_Taker, Any], Awaitable[None]]] = {
    f"{OURS} events()": _Taker.events,
    f"{OURS} relay": _Taker.relay,
    f"{OURS} sse_response": _Taker.sse,
}


async def frames(setting: Setting) -> None:
    """What `relay` and `sse_response` add to `events()`, for a stream and for each reader of a Broadcast."""
    seconds = setting.size(2.0, 0.1)
    url = setting.server.url("paced", int((seconds + 2 * _MARGIN) * _RATE), _RATE)
    for shared, counts in (False, (200,)), (True, (200, 1_000)):
        for count in setting.size(counts, (5,)):
            what = f"{count} {'readers of a Broadcast' if shared else 'streams'}, {_RATE} tokens/s"

            def runs(part: str, count: int = count, shared: bool = shared) -> Any:
                numbers = (url, count, shared, seconds)
                return {
                    name: partial(alone, part, setting.loop, name, *numbers, when_ready=setting.server.go)
                    for name in _WAYS
                }

            found = await compare(runs("frames.flow"), rounds=setting.count(5), note=setting.note, warm_up=False)
            events, *others = found.values()
            for samples in others:
                for sample, beside in zip(samples, events, strict=True):
                    sample[_BEYOND] = sample[_CPU] - beside[_CPU]
            setting.add(what, found)
            await setting.measure(what, runs("frames.lateness"))
            if count == counts[0]:
                await setting.measure(what, runs("frames.counts", setting.size(10, 2)))


async def flow(name: str, url: str, count: int, shared: bool, seconds: float) -> Sample:
    """Measure the CPU of a stretch of steady flow."""
    taker = _Taker(timed=False)
    cpu = 0.0

    async def stretch() -> None:
        nonlocal cpu
        cpu = time.process_time()
        await asyncio.sleep(seconds)
        cpu = time.process_time() - cpu

    frames = await _handed_on(taker, name, url, count, shared, stretch)
    return {_CPU: cpu * 1e6 / frames}


async def lateness(name: str, url: str, count: int, shared: bool, seconds: float) -> Sample:
    """Measure how late frames are in such a stretch."""
    taker = _Taker(timed=True)
    delays: list[int] = []

    async def stretch() -> None:
        began = len(taker.delays)
        await asyncio.sleep(seconds)
        delays.extend(taker.delays[began:])

    await _handed_on(taker, name, url, count, shared, stretch)
    return {"late, median, ms": percentile(delays, 0.5) / 1e6, "late, p99, ms": percentile(delays, 0.99) / 1e6}


async def counts(name: str, url: str, count: int, shared: bool, seconds: float) -> Sample:
    """Count what Python does in such a stretch."""
    tracing = Tracing()

    async def stretch() -> None:
        with tracing:
            await asyncio.sleep(seconds)

    frames = await _handed_on(_Taker(timed=False), name, url, count, shared, stretch)
    return {"bytecodes per frame": tracing.bytecodes / frames, "steps of tasks per frame": tracing.steps / frames}


async def _handed_on(
    taker: _Taker, name: str, url: str, count: int, shared: bool, stretch: Callable[[], Awaitable[None]]
) -> int:
    """Hand on so many streams, or one to so many readers; return how many frames were taken during the stretch."""
    async with AsyncSiliconFlow("key", base_url=url, max_connections=10_000) as client:
        ask = partial(client.chat.completions.stream, model=MODEL, messages=MESSAGES)
        sources: list[Any]
        if shared:
            broadcast = Broadcast(ask())
            sources = [broadcast.reader() for _ in range(count)]
        else:
            sources = [ask() for _ in range(count)]
        tasks = [asyncio.ensure_future(_WAYS[name](taker, source)) for source in sources]
        # Of each the first token, and the event before it.
        await all_open(lambda: taker.frames >= 2 * count, tasks)
        await asyncio.sleep(_MARGIN)
        began = taker.frames
        await stretch()
        taken = taker.frames - began
        await asyncio.gather(*tasks)
    if taken < count:
        raise WrongAnswer(f"{name} handed on {taken} frames to {count} readers")
    return taken
