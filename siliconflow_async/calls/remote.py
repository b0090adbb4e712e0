"""Answers that name files which the service made by their URLs: `save`, `read` and `stream` get such a file."""

from __future__ import annotations

from typing import Any, Self

import msgspec

from ..errors import ConfigurationError
from ..stream.bytestream import ByteProgress, ByteStream
from ..stream.wholefile import FilePath
from ..wire.endpoints.images import Timings
from ..wire.plain import Headed, Plain, nothing
from .download import MOST, Download
from .setup import Setup

__all__ = ["ImagesResponse", "RemoteFile"]


class _Held:
    """What a struct holds beside its fields to be able to ask: in its copies, but not in pickles."""

    __slots__ = ("_setup",)
    _setup: Setup

    def __copy__(self) -> Self:
        twin: Self = super().__copy__()  # type: ignore[misc]  # the struct's
        if hasattr(self, "_setup"):
            twin._setup = self._setup
        return twin


class RemoteFile(_Held, Plain):
    """A file that the service made, at a `url` that lives for an hour.

    It is got over the client's connections, and never with its key. One that comes out of a pickle has its URL alone.
    """

    url: str

    @classmethod
    def at(cls, url: str, setup: Setup) -> Self:
        """Return the file at a URL, which the client of that set-up gets."""
        file = cls(url=url)
        file._setup = setup
        return file

    async def save(self, path: FilePath, *, on_progress: ByteProgress | None = None, max_bytes: int = MOST) -> int:
        """Write the file to `path`, and return how many bytes it has; off the loop, a part at a time.

        It is there, in the place of one that was, once it is whole; one that breaks off is asked for again, the rest
        alone if its server can do that.

        Args:
            path: Where to; a name in a folder that is there.
            on_progress: Called with how many bytes have come, and of how many (None if nobody has said).
            max_bytes: The most that it may have; default 4 GiB.

        Raises InvalidRequestError where the file can't be made, OSError where it can't be written, EventTooLargeError
        beyond `max_bytes`, NotFoundError and the like where it has gone, APIConnectionError, APITimeoutError,
        TruncatedStreamError and ClosedError; then there is no file.
        """
        return await self._download().save(path, on_progress=on_progress, max_bytes=max_bytes)

    async def read(self) -> bytes:
        """Return the file; raise EventTooLargeError for one beyond the client's `max_body_size`, else as `save`."""
        return await self._download().read()

    async def stream(self) -> ByteStream:
        """Return the file as a stream of bytes, once the first are there: `async with await file.stream() as stream`.

        Entering and reading raise what `save` raises, but for the file that is written.
        """
        return await self._download().stream()

    def _download(self) -> Download:
        setup: Any = getattr(self, "_setup", None)
        if setup is None:
            raise ConfigurationError(
                "this one was not made by a client, or came out of a pickle: it has no client to ask"
            )
        return Download(setup, self.url)


class ImagesResponse(Headed, Plain):
    """The pictures that the service made, in `images`, or `data` as the openai package names it.

    `seed` is what they were made with, `timings.inference` the seconds that it took. `raw` is the body as it came,
    `headers` the answer's headers with lower-case names, `trace_id` what SiliconFlow's support asks for.
    """

    images: list[RemoteFile] = msgspec.field(default_factory=nothing)
    timings: Timings | None = None
    seed: int | None = None

    @property
    def data(self) -> list[RemoteFile]:
        """`images`, as the openai package names it."""
        return self.images
