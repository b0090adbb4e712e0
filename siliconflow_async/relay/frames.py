"""What waits for one client: a bounded queue of events that merges deltas where the client is slow.

One task puts, one takes. Merging keeps the order of each choice's events, and of all of them where they are numbered:
the number of a frame says that everything up to it was sent.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from sys import getsizeof
from typing import Literal, TypeAlias, get_args

import msgspec

from ..checks import is_count, is_finite
from ..errors import ConfigurationError
from ..loops import running_loop
from ..wire.events import ContentDelta, Event, ReasoningDelta, Snapshot, ToolCallDelta

__all__ = ["BUFFER_BYTES", "Frame", "FrameQueue", "Room", "Slow", "TooSlow", "check_count", "check_seconds", "weight"]

Slow: TypeAlias = Literal["wait", "merge", "drop"]
# What is to be awaited before the next event is put.
Room: TypeAlias = Callable[[], Awaitable[None]]

BUFFER_BYTES = 8 * 1024 * 1024

# Merged text of more characters than this goes into a frame of its own: clients bound the size of a message.
_MAX_TEXT = 64 * 1024


class TooSlow(Exception):
    """The client did not keep up, and the policy is to drop it."""


class _Fragment(msgspec.Struct, tag_field="type", tag="tool_call_delta", gc=False, omit_defaults=True):
    """A ToolCallDelta as a client gets it: a server may tell a name with each fragment, and of any length."""

    index: int
    call: int
    text: str = msgspec.field(name="arguments")
    id: str = ""
    name: str = ""


_TEXT = (ContentDelta, ReasoningDelta)
_DELTAS = (*_TEXT, _Fragment)


def weight(event: Event | Snapshot) -> int:
    """Return how many bytes of memory an event takes that others don't share, roughly."""
    if isinstance(event, _TEXT):
        return getsizeof(event.text)
    if isinstance(event, ToolCallDelta):
        return getsizeof(event.arguments)
    return len(msgspec.json.encode(event))


class Frame:
    """One event to be sent, maybe merged of several; `seq` is the number of the last of them."""

    __slots__ = ("_event", "_parts", "_size", "is_delta", "resumable", "seq", "weight")

    def __init__(self, event: Event | _Fragment | Snapshot, seq: int, weight: int, *, resumable: bool) -> None:
        self.seq = seq
        self.weight = weight
        self.resumable = resumable
        self.is_delta = isinstance(event, _DELTAS)
        self._event = event
        self._parts: list[str] = []
        self._size = 0
        if isinstance(event, _DELTAS):
            self._parts = [event.text]
            self._size = len(event.text)

    @property
    def index(self) -> int:
        """The choice's index; -1 for what concerns all choices."""
        return getattr(self._event, "index", -1)

    def take_in(self, later: Frame) -> bool:
        """Add the delta of a later frame to this one's; False if they don't go together."""
        if not self.is_delta or self._kind() != later._kind() or self._size + later._size > _MAX_TEXT:
            return False
        mine, its = self._event, later._event
        if isinstance(mine, _Fragment) and isinstance(its, _Fragment):
            # The later one may know the call's name, which the first fragment need not have had.
            mine.id, mine.name = its.id or mine.id, its.name or mine.name
        self._parts += later._parts
        self._size += later._size
        self.weight += later.weight
        self.seq = later.seq
        return True

    def _kind(self) -> tuple[object, ...]:
        """What deltas that go together have in common."""
        return type(self._event), self.index, getattr(self._event, "call", None)

    def to_json(self, *, numbered: bool = False) -> str:
        """Return the event as one JSON object; if `numbered`, with `seq` where a reader can resume from it."""
        event = self._event
        if len(self._parts) > 1:
            event = msgspec.structs.replace(event, text="".join(self._parts))
        json = msgspec.json.encode(event).decode()
        return f'{{"seq":{self.seq},{json[1:]}' if numbered and self.resumable else json


class FrameQueue:
    """At most `buffer` frames, of `buffer_bytes` or so, the one that reaches these included, and one of an error.

    slow: what to do when it is full: "wait" for room, "merge" deltas and wait only if that makes no room, or "drop" the
        client, which then has `patience` seconds to catch up to the last frame.
    smooth: seconds within which deltas are merged; the first of them goes at once.
    """

    def __init__(self, buffer: int, buffer_bytes: int, *, slow: Slow, patience: float, smooth: float) -> None:
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
        # Of each call of each choice, the id and name that were put last.
        self._told: dict[tuple[int, int], tuple[str, str]] = {}
        self._given_at = -math.inf
        self._full_since: float | None = None
        # Something that doesn't wait to be merged is among the frames.
        self._urgent = False
        self._taker: asyncio.Future[None] | None = None
        self._putter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = math.inf
        self.closed = False

    def put(self, event: Event | Snapshot, seq: int | None = None) -> Room | None:
        """Add an event, whether there is room or not. Its `seq` is counted here unless a reader can resume from it."""
        self._count += 1
        added = weight(event)
        self._weight += added
        shown = self._fragment(event) if isinstance(event, ToolCallDelta) else event
        frame = Frame(shown, self._count if seq is None else seq, added, resumable=seq is not None)
        self._urgent = self._urgent or not frame.is_delta
        self._frames.append(frame)
        room = None
        if self._is_full():
            if self._slow == "merge" or self._smooth:
                self._merge()
            if self._is_full():
                self._full_since = self._full_since or self._loop.time()
                room = self._room
        _wake(self._taker)
        return room

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

    def close(self) -> None:
        """Nothing more will be put."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        _wake(self._taker)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until there is a frame to take, or none will come; False if neither was so for `seconds`."""
        deadline = math.inf if seconds is None else self._loop.time() + seconds
        while not self.closed:
            now = self._loop.time()
            due = math.inf
            if self._frames:
                due = now if self._urgent else self._given_at + self._smooth
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

    def _fragment(self, event: ToolCallDelta) -> _Fragment:
        """Return what a client needs of it: id and name only where they are news."""
        call = (event.index, event.call)
        told = (event.id, event.name)
        if self._told.get(call) == told:
            return _Fragment(event.index, event.call, event.arguments)
        self._told[call] = told
        return _Fragment(event.index, event.call, event.arguments, event.id, event.name)

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
