"""The limits of the five clocks."""

from __future__ import annotations

from typing import Literal

import msgspec

from .checks import is_finite
from .errors import Clock, ConfigurationError

__all__ = ["Timeouts", "as_timeouts"]

_TOTAL_OF_WHOLE_ANSWER = 600.0


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in seconds; None switches a clock off.

    `pool`: waiting until one of the client's `max_connections` is free, for each attempt. It does not run where the
    session is borrowed, whose connector tells nobody; there that wait counts only in `total`.
    `connect`: name look-up, TCP and TLS, for each attempt.
    `first_token`: from the last byte sent to the first content, reasoning, tool call or finish; for each attempt;
    streams only. Where files are sent, up to the whole answer.
    `idle`: between such events. It measures the server: it runs only while the caller waits with nothing buffered, and
    keep-alive comments and empty deltas do not stop it. While a large request is being sent, it watches that bytes go.
    `total`: all attempts, waits and the stream. "default" means none for streams and where files are sent, else 600 s.
    """

    pool: float | None = 60.0
    connect: float | None = 10.0
    first_token: float | None = 300.0
    idle: float | None = 300.0
    total: float | Literal["default"] | None = "default"

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None or (name == "total" and value == "default"):
                continue
            if not is_finite(value) or value <= 0:
                raise ConfigurationError(
                    f"timeout {name!r} must be a positive number of seconds or None, not {value!r}"
                )

    def total_for(self, *, streaming: bool) -> float | None:
        """Return the limit of `total` for a stream or a whole answer."""
        if self.total == "default":
            return None if streaming else _TOTAL_OF_WHOLE_ANSWER
        return self.total

    def limit(self, clock: Clock, *, streaming: bool) -> float | None:
        """Return the limit of one clock for a stream or a whole answer."""
        if clock == "total":
            return self.total_for(streaming=streaming)
        limit: float | None = getattr(self, clock)
        return limit


def as_timeouts(value: float | Timeouts | None, base: Timeouts) -> Timeouts:
    """Read a `timeout=` argument: a Timeouts as it is, seconds (or None for no limit) as `total` over `base`."""
    if isinstance(value, Timeouts):
        return value
    return msgspec.structs.replace(base, total=value)
