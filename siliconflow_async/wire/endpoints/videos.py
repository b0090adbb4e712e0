"""Videos that the service makes: what it answers to a request for one, and to the question how that gets on.

The decoders raise APIStatusError for an error under 200, MalformedStreamError for what is no such answer. Fields of odd
types are left out.
"""

from __future__ import annotations

import msgspec

from ..failures import Mask, malformed, unmasked
from ..lenient import to_text
from ..plain import Headed, Plain, nothing
from .images import Timings, made_of
from .wrapped import unwrapped

__all__ = ["VideoStatus", "VideoSubmitted", "decode_status", "decode_submitted"]

_NO_ID = "no id of a video"
_NO_STATUS = "no status of a video"
# How the names of statuses begin, of which the documentation has Succeed and Failed.
_DONE = ("succe", "complete")
_FAILED = ("fail", "cancel", "expire", "error", "reject")


class VideoSubmitted(Headed, Plain):
    """That a video will be made."""

    id: str = msgspec.field(name="requestId")


class VideoStatus(Headed, Plain):
    """How a video gets on: "InQueue", "InProgress", "Succeed" or "Failed", for which there is a `reason`."""

    status: str
    reason: str | None = None
    urls: list[str] = msgspec.field(default_factory=nothing)
    timings: Timings | None = None
    seed: int | None = None

    @property
    def is_done(self) -> bool:
        """Whether it is there."""
        return self.status.lower().startswith(_DONE)

    @property
    def has_failed(self) -> bool:
        """Whether it never will be."""
        return self.status.lower().startswith(_FAILED)


def decode_submitted(body: bytes, mask: Mask = unmasked) -> VideoSubmitted:
    """Decode the answer to a request for a video."""
    value = unwrapped(body, _NO_ID, mask)
    found = to_text(value.get("requestId")) or to_text(value.get("request_id"))
    if not found:
        raise malformed(body, "no requestId", _NO_ID, mask)
    submitted = VideoSubmitted(id=found)
    submitted.raw = body
    return submitted


def decode_status(body: bytes, mask: Mask = unmasked) -> VideoStatus:
    """Decode how a video gets on."""
    value = unwrapped(body, _NO_STATUS, mask)
    status = to_text(value.get("status"))
    if not status:
        raise malformed(body, "no status", _NO_STATUS, mask)
    results = value.get("results")
    made = made_of(results if isinstance(results, dict) else {}, "videos")
    found = VideoStatus(
        status=status, reason=to_text(value.get("reason")) or None, urls=made.urls, timings=made.timings, seed=made.seed
    )
    if found.is_done and not found.urls:
        raise malformed(body, "no videos", _NO_STATUS, mask)
    found.raw = body
    return found
