"""`client.videos`: films from words or from a picture, which the service takes minutes to make.

The `Args:` of its methods are what editors show of a call; they repeat the words of `VideoParams`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Required, Unpack

from ..elsewhere import VIDEOS, Explained
from ..errors import InvalidRequestError
from ..headers import conceal
from ..request.content import MediaPart, MediaSource, prepared_urls
from ..request.fields import CallOptions, Fields, one_of
from ..runs.videojob import VideoJob
from ..wire.endpoints.videos import decode_submitted

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["VideoParams", "Videos"]


class VideoParams(CallOptions, total=False):
    """Keywords of `client.videos.create`. Models differ in what they take; only what is given is sent."""

    model: Required[str]
    """The model's name, "org/name"."""
    prompt: Required[str]
    """What to film."""
    image_size: str | None
    """"1280x720", "720x1280" or "960x960"."""
    size: str | None
    """`image_size`, as the openai package names it."""
    negative_prompt: str | None
    """What not to film."""
    seed: int | None
    """The same seed asks for the same video."""
    image: MediaPart | MediaSource | None
    """A picture to begin with: a path, a URL, bytes, a binary file, or `siliconflow_async.image(…)`."""


_CREATE = Fields(VideoParams, "model", "prompt", local=("size",))


class Videos(Explained):
    """The videos that a client has made."""

    __slots__ = ("_service",)
    elsewhere = VIDEOS

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[VideoParams]) -> VideoJob:
        """Have a video made, and return the job: `await job.save("film.mp4")` waits for it.

        Keep its `id`: `get` gives the job again, in whatever process. The request is sent again only where the service
        has surely not begun, since it would make two videos.

        Args:
            model: The model's name, "org/name".
            prompt: What to film.
            image_size: "1280x720", "720x1280" or "960x960".
            size: `image_size`, as the openai package names it.
            negative_prompt: What not to film.
            seed: The same seed asks for the same video.
            image: A picture to begin with: a path, a URL, bytes, a binary file, or `siliconflow_async.image(…)`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises, ContentFlaggedError (451) where prompt or picture were flagged.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        size = one_of(params, "image_size", "size")
        body = _CREATE.body(await prepared_urls(params, "image", "image"), image_size=size)
        submitted = await self._service.fetch(
            "POST", "/video/submit", decode_submitted, params, body=body, repeatable=False, weighs=params
        )
        return VideoJob(self._service, submitted.id, submitted.trace_id)

    async def get(self, job_id: str, *, timeout: float | None = None) -> VideoJob:
        """Ask for a video that was begun before, by its job's `id`, and return the job.

        Args:
            job_id: The job's `id`.
            timeout: Seconds for the whole call.

        Raises NotFoundError for one that the service does not know, or no longer, and what every call raises.
        """
        if not isinstance(job_id, str) or not job_id:
            raise InvalidRequestError(f"job_id must be the id of a job, as text, not {job_id!r}", param="job_id")
        return await VideoJob(self._service, job_id, None).refresh(timeout=timeout)
