"""What the service made, pictures or videos: where it is, and what it took.

`decode_images` raises APIStatusError for an error under 200, MalformedStreamError for what tells of no picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..failures import Mask, malformed, unmasked, value_in
from ..lenient import to_integer
from ..plain import Plain

__all__ = ["Made", "Timings", "decode_images", "made_of"]

_NONE = "no list of images"


class Timings(Plain):
    """How long the model worked, in seconds."""

    inference: float | None = None


class Made(NamedTuple):
    """The URLs of what was made, which live for an hour, how long it took, and with which seed."""

    urls: list[str]
    timings: Timings | None
    seed: int | None


def decode_images(body: bytes, mask: Mask = unmasked) -> Made:
    """Decode the body of an answer."""
    value = value_in(body, _NONE, mask)
    # Both names are in its answers; the openai package knows `data`.
    made = made_of(value, "images", "data") if isinstance(value, dict) else None
    if made is None or not made.urls:
        raise malformed(body, "no images", _NONE, mask)
    return made


def made_of(value: Mapping[str, Any], *names: str) -> Made:
    """Return what can be read of an answer that has a list of files under one of some names."""
    timings = value.get("timings")
    inference = timings.get("inference") if isinstance(timings, dict) else None
    is_time = isinstance(inference, int | float) and not isinstance(inference, bool)
    return Made(
        urls=next(filter(None, (_urls(value.get(name)) for name in names)), []),
        timings=Timings(inference=float(inference)) if is_time and inference is not None else None,
        seed=to_integer(value.get("seed")),
    )


def _urls(entries: Any) -> list[str]:
    if not isinstance(entries, list):
        return []
    urls = [entry.get("url") if isinstance(entry, dict) else entry for entry in entries]
    return [url for url in urls if url and isinstance(url, str)]
