"""A file that the service names by a URL: read, saved or streamed, without the key.

    await Download(setup, url).save("picture.png")

One that breaks off is asked for again, from where it broke off if its server can do that (RFC 9110, 14.2), as often as
the client's retry policy says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import APITimeoutError, EventTooLargeError, TruncatedStreamError
from ..headers import replace_headers
from ..stream.bytestream import ByteProgress, ByteStream, byte_protocol
from ..stream.wholefile import FilePath, WholeFile, written_whole
from ..transport.elsewhere import Elsewhere
from .call import Call
from .retry import wait_to_resume
from .setup import Setup

__all__ = ["MOST", "Download"]

MOST = 4 * 1024**3

# What observers are told in the place of the URL, which may be all that is needed to get the file.
_ENDPOINT = "/download"
_ACCEPT = {"Accept": "*/*", "Accept-Encoding": "identity"}


class Download:
    """What is at a `url` that the service gave; of `params` counts `timeout`.

    Raises InvalidRequestError for what is no http or https URL.
    """

    __slots__ = ("_params", "_setup")

    def __init__(self, setup: Setup, url: str, params: Mapping[str, Any] | None = None) -> None:
        self._setup = setup._replace(
            transport=Elsewhere(url, setup.transport), headers=replace_headers(setup.headers, _ACCEPT)
        )
        self._params = {name: value for name, value in (params or {}).items() if name == "timeout"}

    async def stream(self) -> ByteStream:
        """Return the file as a stream of bytes, once the first are there; errors are those of any stream."""
        request = self._setup.request("GET", _ENDPOINT, self._params, streaming=True)
        return await Call(self._setup, request).open(byte_protocol, ByteStream)

    async def read(self) -> bytes:
        """Return the file; raise EventTooLargeError for one beyond the client's `max_body_size`."""
        most = self._setup.max_body_size
        data = bytearray()
        async with await self.stream() as stream:
            async for piece in stream:
                if len(data) + len(piece) > most:
                    raise EventTooLargeError(f"the file is larger than {most} bytes")
                data += piece
        return bytes(data)

    async def save(self, path: FilePath, *, on_progress: ByteProgress | None = None, max_bytes: int = MOST) -> int:
        """Write the file to `path`, and return how many bytes it has; off the loop, a part at a time.

        It is there, in the place of one that was, once it is whole. `on_progress` is called as bytes come.

        Raises InvalidRequestError where the file can't be made, OSError where it can't be written, EventTooLargeError
        beyond `max_bytes`, and what any stream raises; then there is no file.
        """
        async with written_whole(path) as file:
            await self._fill(file, on_progress, max_bytes)
            return file.size

    async def _fill(self, file: WholeFile, on_progress: ByteProgress | None, most: int) -> None:
        setup = self._setup
        request = setup.request("GET", _ENDPOINT, self._params, streaming=True)
        headers = request.headers
        attempts = breaks = 0
        while True:
            call = Call(setup, request)
            call.attempts = attempts
            async with await call.open(byte_protocol, ByteStream) as stream:
                try:
                    if file.size and not _goes_on(stream, file.size):
                        await file.restart()
                    await stream.copy_to(file, on_progress, most)
                    return
                except (TruncatedStreamError, APITimeoutError) as error:
                    failure = error
            attempts = call.attempts
            breaks += 1
            try:
                if breaks >= setup.retry.max_attempts or not await wait_to_resume(
                    breaks, failure, policy=setup.retry, budget=setup.budget, deadline=request.deadline
                ):
                    raise failure
            finally:
                del failure
            request.headers = {**headers, **_rest(stream, file.size)}


def _rest(stream: ByteStream, size: int) -> dict[str, str]:
    """Return the headers that ask for the bytes after the first `size`; none where they may be another file's."""
    tag = stream.headers.get("etag", "")
    # A weak one tells of the same content, not of the same bytes.
    return {"Range": f"bytes={size}-", "If-Range": tag} if size and stream.size and tag.startswith('"') else {}


def _goes_on(stream: ByteStream, size: int) -> bool:
    """Whether what comes are the bytes after the first `size`."""
    return stream.headers.get("content-range", "").lower().startswith(f"bytes {size}-")
