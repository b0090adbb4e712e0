"""How an answer is framed on the wire, and its headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

Headers: TypeAlias = Mapping[str, str | None]
"""Header names and values; None leaves out one that the stand-in would send."""

Framing: TypeAlias = Literal["chunked", "length", "close", "verbatim"]


def lower(headers: Headers | None) -> dict[str, str | None]:
    """Return the headers with lower-case names, so that given ones replace the usual ones."""
    return {name.lower(): value for name, value in (headers or {}).items()}
