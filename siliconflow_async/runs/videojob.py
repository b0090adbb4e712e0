"""A video that the service makes: how it gets on, waiting for it, and its file.

The service makes it whether or not anybody waits. All that is needed to come back to it is its `id`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn, Self

import msgspec

from ..calls.download import MOST
from ..calls.remote import RemoteFile
from ..calls.service import Service
from ..errors import APITimeoutError, VideoError
from ..stream.bytestream import ByteProgress
from ..stream.wholefile import FilePath
from ..wire.endpoints.images import Timings
from ..wire.endpoints.videos import VideoStatus, decode_status
from .polling import Pauses, check_poll, poll

__all__ = ["VideoJob"]

# Seconds between two questions, at most: a video takes minutes.
_LONGEST = 10.0


class VideoJob:
    """A video that the service makes, known by its `id`: `client.videos.get(id)` gives it again, in any process.

    `status` is how it was when the service was last asked: None before that, then "InQueue", "InProgress", "Succeed" or
    "Failed", for a `reason`. Once it is there, `videos` are its files, of which there is one; `seed` and `timings` say
    what it was made with, and how long that took. Nothing asks by itself: `wait`, `refresh` and `save` do.
    """

    __slots__ = ("_service", "_status", "id", "trace_id", "videos")

    def __init__(self, service: Service, job_id: str, trace_id: str | None) -> None:
        self.id = job_id
        self.trace_id = trace_id
        self.videos: list[RemoteFile] = []
        self._service = service
        self._status: VideoStatus | None = None

    def __repr__(self) -> str:
        return f"<VideoJob {self.id!r} {self.status or 'not asked for yet'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a VideoJob can't be copied or pickled: client.videos.get(job.id) gives it again")

    @property
    def status(self) -> str | None:
        """How it was when the service was last asked."""
        return None if self._status is None else self._status.status

    @property
    def reason(self) -> str | None:
        """Why it failed, in the service's words."""
        return None if self._status is None else self._status.reason

    @property
    def timings(self) -> Timings | None:
        """How long the model worked."""
        return None if self._status is None else self._status.timings

    @property
    def seed(self) -> int | None:
        """What it was made with."""
        return None if self._status is None else self._status.seed

    @property
    def is_done(self) -> bool:
        """Whether it is there."""
        return self._status is not None and self._status.is_done

    @property
    def has_failed(self) -> bool:
        """Whether it never will be."""
        return self._status is not None and self._status.has_failed

    async def refresh(self, *, timeout: float | None = None) -> Self:
        """Ask how it is, once; return the job.

        Raises NotFoundError for one that the service does not know, or no longer, and what every call raises.
        """
        params = {} if timeout is None else {"timeout": timeout}
        body = msgspec.json.encode({"requestId": self.id})
        self._status = status = await self._service.fetch("POST", "/video/status", decode_status, params, body=body)
        self.trace_id = status.trace_id
        self.videos = [RemoteFile.at(url, self._service.setup) for url in status.urls]
        return self

    async def wait(
        self,
        *,
        timeout: float | None = None,
        on_progress: Callable[[VideoJob], object] | None = None,
        interval: float | None = None,
        patience: float = 600.0,
    ) -> Self:
        """Ask until it is there; return the job. It goes on at the service if this ends early, by whatever.

        Args:
            timeout: Seconds to wait at most; default: as long as it takes.
            on_progress: Called with the job each time that it was asked for.
            interval: Seconds between two questions; default: 1 at first, growing to 10.
            patience: Seconds for which a service that is away, or overloaded, is waited for.

        Raises VideoError with the `reason` where the service could not make it, NotFoundError for one that it does not
        know, APITimeoutError after `timeout`, and the service's last error once `patience` is over.
        """
        check_poll(timeout=timeout, interval=interval, patience=patience)

        def late() -> APITimeoutError:
            words = f"the video was not there after {timeout:g} s ({self.status}); the service goes on with it"
            return APITimeoutError(words, clock="total", seconds=timeout, trace_id=self.trace_id)

        if not (self.is_done or self.has_failed):
            await poll(
                self.refresh,
                lambda job: job.is_done or job.has_failed,
                pauses=Pauses(interval, _LONGEST),
                patience=patience,
                timeout=timeout,
                late=late,
                on_progress=on_progress,
            )
        if self.has_failed:
            raise VideoError(reason=self.reason, id=self.id, trace_id=self.trace_id)
        return self

    async def save(self, path: FilePath, *, on_progress: ByteProgress | None = None, max_bytes: int = MOST) -> int:
        """Write the video to `path` once it is there, for which this waits; return how many bytes it has.

        Args:
            path: Where to; a name in a folder that is there.
            on_progress: Called with how many bytes have come, and of how many (None if nobody has said).
            max_bytes: The most that it may have; default 4 GiB.

        Raises what `wait` raises, and what `save` of a RemoteFile raises; then there is no file.
        """
        await self.wait()
        return await self.videos[0].save(path, on_progress=on_progress, max_bytes=max_bytes)
