"""What waits for one client: a bounded queue of events that merges deltas where the client is slow.

One task puts, one takes. Merging keeps the order of each choice's events, and of all of them where they are numbered:
the number of a frame says that everything up to it was sent.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from sys import getsizeof
from typing import Any, Literal, TypeAlias, cast, get_args

import msgspec

from ..checks import is_count, is_finite
from ..errors import ConfigurationError
from ..loops import running_loop
from ..wire.events import ContentDelta, ErrorEvent, ReasoningDelta, ToolCallDelta
from .protocols.ours import Events
from .protocols.part import DONE, AnyEvent, Dialect, Part

__all__ = ["BUFFER_BYTES", "Frame", "FrameQueue", "Room", "Slow", "TooSlow", "check_count", "check_seconds", "weight"]

Slow: TypeAlias = Literal["wait", "merge", "drop"]
# What is to be awaited before the next event is put.
Room: TypeAlias = Callable[[], Awaitable[None]]

BUFFER_BYTES = 8 * 1024 * 1024

# Merged text of more characters than this goes into a frame of its own: clients bound the size of a message.
_MAX_TEXT = 64 * 1024


class TooSlow(Exception):
    """The client did not keep up, and the policy is to drop it."""


def weight(event: AnyEvent) -> int:
    """Return how many bytes of memory an event takes that others don't share, roughly."""
    if isinstance(event, ContentDelta | ReasoningDelta):
        return getsizeof(event.text)
    if isinstance(event, ToolCallDelta):
        return getsizeof(event.arguments)
    return len(msgspec.json.encode(event))


class Frame:
    """One part to be sent, maybe merged of several.

    `seq` is the number of the event that it is the last part of, the latest of them, or None where more parts follow;
    only a frame that is `resumable` has one that means something to a Broadcast.
    """

    __slots__ = ("_part", "_size", "_texts", "resumable", "seq", "weight")

    def __init__(self, part: Part, seq: int | None, *, resumable: bool) -> None:
        self.seq = seq
        self.weight = part.weight
        self.resumable = resumable
        self._part = part
        self._size = len(part.text)
        self._texts = [part.text]

    @property
    def is_delta(self) -> bool:
        return self._part.kind is not None

    @property
    def is_closing(self) -> bool:
        """Whether it is nothing but the end of a response of server-sent events."""
        return self._part is DONE

    @property
    def index(self) -> int:
        """The choice's index; -1 for what concerns all choices."""
        return self._part.index

    def take_in(self, later: Frame) -> bool:
        """Add the delta of a later frame to this one's; False if they don't go together."""
        mine, its = self._part, later._part
        if mine.kind is None or mine.kind != its.kind or self._size + later._size > _MAX_TEXT:
            return False
        # A longer tail knows more: the first fragment of a call need not have had its name.
        tail = max(mine.tail, its.tail, key=len)
        self._texts += later._texts
        self._part = Part(mine.index, mine.head, "", tail, mine.kind)
        self._size += later._size
        self.weight += later.weight
        self.seq = later.seq
        return True

    @property
    def part(self) -> Part:
        """What is to be sent."""
        part = self._part
        if len(self._texts) > 1:
            part = Part(part.index, part.head, "".join(self._texts), part.tail, part.kind)
        return part


class FrameQueue:
    """At most `buffer` frames, of `buffer_bytes` or so, the event that reaches these included, and those of the end.

    dialect: what is made of the events.
    slow: what to do when it is full: "wait" for room, "merge" deltas and wait only if that makes no room, or "drop" the
        client, which then has `patience` seconds to catch up to the last frame.
    smooth: seconds within which deltas are merged; the first of them goes at once.
    """

    def __init__(
        self, dialect: Dialect, buffer: int, buffer_bytes: int, *, slow: Slow, patience: float, smooth: float
    ) -> None:
        self._dialect = dialect
        # Of events, or of what `events` gives out in their place.
        self._mapping: Any = dialect.mapping()
        self._most = check_count(buffer, "buffer")
        self._most_bytes = check_count(buffer_bytes, "buffer_bytes")
        if slow not in get_args(Slow):
            raise ConfigurationError(f"slow must be one of {', '.join(map(repr, get_args(Slow)))}, not {slow!r}")
        self._patience = check_seconds(patience, "patience")
        self._smooth = check_seconds(smooth, "smooth")
        self._slow = slow
        self._frames: deque[Frame] = deque()
        self._loop = running_loop()
        self._count = 0
        self._weight = 0
        self._given_at = -math.inf
        self._full_since: float | None = None
        # Something that doesn't wait to be merged is among the frames.
        self._urgent = False
        self._taker: asyncio.Future[None] | None = None
        self._putter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self.closed = False

    def events(self, upstream: Any) -> AsyncIterator[Any]:
        """Return what is to be put of an upstream: its events, or their parts where it makes these for all readers."""
        # Readers share as much of this library's own protocol as is the same for all of them.
        if (self._dialect.is_shared or isinstance(self._dialect, Events)) and hasattr(upstream, "parts"):
            self._mapping = upstream.parts(self._dialect)
            return cast(AsyncIterator[Any], self._mapping)
        return cast(AsyncIterator[Any], upstream.events())

    def put(self, event: Any, seq: int | None = None) -> Room | None:
        """Add an event, whether there is room or not. Its `seq` is counted here unless a reader can resume from it."""
        self._count += 1
        self._add(self._mapping.feed(event), seq)
        room = None
        if self._is_full():
            if self._slow == "merge" or self._smooth:
                self._merge()
            if self._is_full():
                self._full_since = self._full_since or self._loop.time()
                room = self._room
        _wake(self._taker)
        return room

    def _add(self, parts: list[Part], seq: int | None) -> None:
        number = self._count if seq is None else seq
        for part in parts:
            frame = Frame(part, number if part is parts[-1] else None, resumable=seq is not None)
            self._weight += frame.weight
            self._urgent = self._urgent or not frame.is_delta
            self._frames.append(frame)

    def _is_full(self) -> bool:
        return len(self._frames) >= self._most or self._weight >= self._most_bytes

    async def _room(self) -> None:
        """Wait until it is no longer full. Raises TooSlow."""
        while self._is_full():
            until = math.inf
            if self._slow == "drop" and self._full_since is not None:
                until = self._full_since + self._patience
                if until <= self._loop.time():
                    raise TooSlow
            self._putter = self._loop.create_future()
            await self._woken(self._putter, until)

    def close(self, error: ErrorEvent | None) -> None:
        """Nothing more will be put: the answer is whole, or why it is not."""
        self._count += 1
        self._add(self._mapping.end(error), None)
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        _wake(self._taker)

    def recall(self) -> asyncio.Task[Any] | None:
        """Nothing is lent here: the task that puts reads."""
        return None

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until there is a frame to take, or none will come; False if neither was so for `seconds`."""
        deadline = math.inf if seconds is None else self._loop.time() + seconds
        while not self.closed:
            if self._frames and (self._urgent or not self._smooth):
                break
            now = self._loop.time()
            due = self._given_at + self._smooth if self._frames else math.inf
            if due <= now:
                break
            if deadline <= now:
                return False
            self._taker = self._loop.create_future()
            await self._woken(self._taker, min(due, deadline))
        if self._smooth:
            self._merge()
        return True

    def take(self) -> Frame | None:
        """Return the next frame, if there is one."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self._weight -= frame.weight
        if self._smooth:
            self._given_at = self._loop.time()
        if not self._frames:
            self._urgent = False
            self._full_since = None
        _wake(self._putter)
        return frame

    async def _woken(self, waiter: asyncio.Future[None], until: float) -> None:
        """Wait until someone wakes the waiter, or until then; it may be woken early, and has to look again."""
        # A timer that rings before is left as it is: each frame would arm and cancel one.
        if until < self._rings_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(until, self._ring)
            self._rings_at = until
        await waiter

    def _ring(self) -> None:
        self._rings_at = math.inf
        _wake(self._taker)
        _wake(self._putter)

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


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def check_count(value: int, name: str) -> int:
    """Return a number of things, at least one; raise ConfigurationError for anything else."""
    if not is_count(value, 1):
        raise ConfigurationError(f"{name} must be an integer >= 1, not {value!r}")
    return value


def check_seconds(value: float, name: str) -> float:
    """Return a number of seconds; raise ConfigurationError for anything else."""
    if not is_finite(value) or value < 0:
        raise ConfigurationError(f"{name} must be a number of seconds >= 0, not {value!r}")
    return value
