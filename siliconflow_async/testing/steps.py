"""What a scripted answer is made of: bytes, and what happens between them.

Plain `bytes` in a script are sent as they are. The other steps are the small classes below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .waiting import Waitable


@dataclass(frozen=True, slots=True)
class Pause:
    """Send nothing for a while, then go on.

    seconds: how long.
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Until:
    """Send nothing until the test says so.

    event: anything with an async `wait()`: an `asyncio.Event` where the server runs in the test's
        loop, a `Gate` where it runs in a thread.
    """

    event: Waitable


@dataclass(frozen=True, slots=True)
class Stall:
    """Never send again; the request ends when the client leaves or the server closes."""


@dataclass(frozen=True, slots=True)
class Fin:
    """Close the connection in good order (FIN), whatever is still missing from the answer."""


@dataclass(frozen=True, slots=True)
class Rst:
    """Reset the connection (RST), after all bytes of the steps before it have reached the kernel.

    Over TLS, up to 64 KiB that the client was too slow to take may be dropped.
    """


@dataclass(frozen=True, slots=True)
class Trickle:
    """Send bytes in small pieces.

    data: the bytes.
    size: bytes per piece.
    seconds: the wait after each piece; 0 only lets the loop turn, which keeps the pieces apart.
    """

    data: bytes
    size: int = 1
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Trickle: size must be at least 1, not {self.size}")


Wait: TypeAlias = Pause | Until | Stall | Fin | Rst
"""A step that sends nothing: it may stand before the headers too."""

Step: TypeAlias = bytes | Trickle | Wait
"""A step of `FakeSiliconFlow.raw`."""


@dataclass(eq=False, kw_only=True)
class Scripted:
    """An answer in the queue.

    times: for how many more requests it stands; None: for all that come.
    before: steps before the first byte of the answer.
    used: how many it has answered; their `RecordedRequest.scripted` is this object.
    """

    times: int | None = 1
    before: tuple[Wait, ...] = ()
    used: int = 0

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1 or None, not {self.times}")
