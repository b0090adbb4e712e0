"""What waits for one client: a bounded queue of events that merges deltas where the client is slow.

One task puts, one takes. Merging keeps the order of each choice's events, and of all of them where they are numbered:
the number of a frame says that everything up to it was sent.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from typing import Literal, TypeAlias, get_args

from ..checks import is_count, is_finite
from ..errors import ConfigurationError
from ..wire.events import ContentDelta, Event, ReasoningDelta, Snapshot, ToolCallDelta

__all__ = ["Frame", "FrameQueue", "Slow", "TooSlow", "check_seconds"]

Slow: TypeAlias = Literal["wait", "merge", "drop"]

_TEXT = (ContentDelta, ReasoningDelta)
_DELTAS = (*_TEXT, ToolCallDelta)
# Merged text of more characters than this goes into a frame of its own: clients bound the size of a message.
_MAX_TEXT = 64 * 1024


class TooSlow(Exception):
    """The client did not keep up, and the policy is to drop it."""


class Frame:
    """One event to be sent, maybe merged of several; `seq` is the number of the last of them."""

    __slots__ = ("_event", "_parts", "_size", "resumable", "seq")

    def __init__(self, event: Event | Snapshot, seq: int, *, resumable: bool) -> None:
        self.seq = seq
        self.resumable = resumable
        self._event = event
        self._parts: list[str] = []
        self._size = 0
        if isinstance(event, _DELTAS):
            self._parts = [_added(event)]
            self._size = len(self._parts[0])

    @property
    def is_delta(self) -> bool:
        return isinstance(self._event, _DELTAS)

    @property
    def index(self) -> int:
        """The choice's index; -1 for what concerns all choices."""
        return -1 if isinstance(self._event, Snapshot) else self._event.index

    def take_in(self, later: Frame) -> bool:
        """Add the delta of a later frame to this one's; False if they don't go together."""
        mine, its = self._event, later._event
        if type(mine) is not type(its) or not self.is_delta or self._size + later._size > _MAX_TEXT:
            return False
        if self.index != later.index:
            return False
        if isinstance(mine, ToolCallDelta) and isinstance(its, ToolCallDelta):
            if mine.call != its.call:
                return False
            # The later one may know the call's name, which the first fragment need not have had.
            self._event = its
        self._parts += later._parts
        self._size += later._size
        self.seq = later.seq
        return True

    def to_json(self, *, numbered: bool = False) -> str:
        """Return the event as one JSON object; if `numbered`, with `seq` where a reader can resume from it."""
        event = self._event
        if len(self._parts) > 1:
            text = "".join(self._parts)
            if isinstance(event, ToolCallDelta):
                event = ToolCallDelta(event.index, event.call, event.id, event.name, text)
            elif isinstance(event, _TEXT):
                event = type(event)(event.index, text)
        json = event.to_json()
        return f'{{"seq":{self.seq},{json[1:]}' if numbered and self.resumable else json


class FrameQueue:
    """At most `limit` frames, and one of an error.

    slow: what to do when it is full: "wait" for room, "merge" deltas and wait only if that makes no room, or "drop" the
        client, which then has `patience` seconds to catch up to the last frame.
    smooth: seconds within which deltas are merged; the first of them goes at once.
    """

    def __init__(self, *, limit: int, slow: Slow, patience: float, smooth: float) -> None:
        if not is_count(limit, 1):
            raise ConfigurationError(f"buffer must be an integer >= 1, not {limit!r}")
        if slow not in get_args(Slow):
            raise ConfigurationError(f"slow must be one of {', '.join(map(repr, get_args(Slow)))}, not {slow!r}")
        self._patience = check_seconds(patience, "patience")
        self._smooth = check_seconds(smooth, "smooth")
        self._limit = limit
        self._slow = slow
        self._frames: deque[Frame] = deque()
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._given_at = -math.inf
        self._full_since: float | None = None
        # Something that doesn't wait to be merged is among the frames.
        self._urgent = False
        self._taker: asyncio.Future[None] | None = None
        self._putter: asyncio.Future[None] | None = None
        self.closed = False

    @property
    def full(self) -> bool:
        return len(self._frames) >= self._limit

    def put(self, event: Event | Snapshot, seq: int | None = None) -> None:
        """Add an event, whether there is room or not. Its `seq` is counted here unless a reader can resume from it."""
        self._count += 1
        frame = Frame(event, self._count if seq is None else seq, resumable=seq is not None)
        self._urgent = self._urgent or not frame.is_delta
        self._frames.append(frame)
        if self.full:
            if self._slow == "merge" or self._smooth:
                self._merge()
            if self.full and self._full_since is None:
                self._full_since = self._loop.time()
        _wake(self._taker)

    async def room(self) -> None:
        """Wait until it is no longer full. Raises TooSlow."""
        while self.full:
            seconds = None
            if self._slow == "drop" and self._full_since is not None:
                seconds = self._full_since + self._patience - self._loop.time()
                if seconds <= 0:
                    raise TooSlow
            self._putter = self._loop.create_future()
            await _woken(self._putter, seconds)

    def close(self) -> None:
        """Nothing more will be put."""
        self.closed = True
        _wake(self._taker)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until there is a frame to take, or none will come; False if neither was so for `seconds`."""
        deadline = None if seconds is None else self._loop.time() + seconds
        while not self.closed:
            now = self._loop.time()
            until = deadline
            if self._frames:
                due = self._given_at + self._smooth
                if self._urgent or due <= now:
                    break
                until = due if deadline is None else min(due, deadline)
            if deadline is not None and deadline <= now:
                return False
            self._taker = self._loop.create_future()
            await _woken(self._taker, None if until is None else until - now)
        if self._smooth:
            self._merge()
        return True

    def take(self) -> Frame | None:
        """Return the next frame, if there is one."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._given_at = self._loop.time()
        if not self._frames:
            self._urgent = False
            self._full_since = None
        _wake(self._putter)
        return frame

    def _merge(self) -> None:
        self._frames = deque(_merged(self._frames))


def _merged(frames: Iterable[Frame]) -> list[Frame]:
    kept: list[Frame] = []
    last_of: dict[int, Frame] = {}
    for frame in frames:
        # Other choices' events may be passed by, but not by one whose number tells where to resume.
        last = kept[-1] if kept and frame.resumable else last_of.get(frame.index)
        if last is None or not last.take_in(frame):
            kept.append(frame)
            last_of[frame.index] = frame
    return kept


def _added(event: ContentDelta | ReasoningDelta | ToolCallDelta) -> str:
    return event.arguments if isinstance(event, ToolCallDelta) else event.text


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _woken(waiter: asyncio.Future[None], seconds: float | None) -> None:
    timer = None if seconds is None else waiter.get_loop().call_later(seconds, _wake, waiter)
    try:
        await waiter
    finally:
        if timer is not None:
            timer.cancel()


def check_seconds(value: float, name: str) -> float:
    """Return a number of seconds; raise ConfigurationError for what is none."""
    if not is_finite(value) or value < 0:
        raise ConfigurationError(f"{name} must be a number of seconds >= 0, not {value!r}")
    return value
