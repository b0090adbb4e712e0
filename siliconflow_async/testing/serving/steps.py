"""What a scripted answer is made of: its headers, bytes, and what happens between them.

Plain `bytes` in a script are sent as they are. The other steps are the small structs below.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, TypeAlias

import msgspec

from .waiting import Waitable

__all__ = ["Fin", "Framing", "Headers", "Pause", "Rst", "Scripted", "Stall", "Step", "Trickle", "Until", "Wait"]

Headers: TypeAlias = Mapping[str, str | None]
"""Header names and values; None leaves out one that the stand-in would send."""

Framing: TypeAlias = Literal["chunked", "length", "close", "verbatim"]


class Pause(msgspec.Struct, frozen=True):
    """Send nothing for a number of seconds, then go on."""

    seconds: float


class Until(msgspec.Struct, frozen=True):
    """Send nothing until the test says so.

    `event` is anything with an async `wait()`: an `asyncio.Event` where the server runs in the test's loop, a `Gate`
    where it runs in a thread.
    """

    event: Waitable


class Stall(msgspec.Struct, frozen=True):
    """Never send again; the request ends when the client leaves or the server closes."""


class Fin(msgspec.Struct, frozen=True):
    """Close the connection in good order (FIN), whatever is still missing from the answer."""


class Rst(msgspec.Struct, frozen=True):
    """Reset the connection (RST), after all bytes of the steps before it have reached the kernel.

    Over TLS, up to 64 KiB that the client was too slow to take may be dropped.
    """


class Trickle(msgspec.Struct, frozen=True):
    """Send bytes in pieces of `size`, and wait so many seconds after each.

    0 seconds only let the loop turn, which keeps the pieces apart.
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


class Scripted(msgspec.Struct, eq=False, kw_only=True):
    """An answer in the queue.

    `times` is for how many more requests it stands; None: for all that come. `headers` are sent in place of or beside
    the usual ones, under lower-case names. `before` are steps before the first byte of the answer. `used` is how many
    requests it has answered; their `RecordedRequest.scripted` is this object.
    """

    times: int | None = 1
    headers: Headers = {}
    before: Iterable[Wait] = ()
    used: int = 0

    def __post_init__(self) -> None:
        if self.times is not None and self.times < 1:
            raise ValueError(f"times must be at least 1 or None, not {self.times}")
        self.headers = {name.lower(): value for name, value in self.headers.items()}
        self.before = tuple(self.before)
