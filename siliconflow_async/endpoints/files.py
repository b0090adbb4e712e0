"""`client.files`: files that the service keeps, such as the requests of a batch.

Only `create` is in SiliconFlow's documentation. The paths of the others are those of the openai package.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Required, Unpack

from ..calls.wholebytes import FileContent, decode_content
from ..elsewhere import FILES, Explained
from ..errors import BusyError
from ..headers import conceal
from ..request.fields import CallOptions, Fields, PlainCallOptions, in_path, query_fields
from ..request.uploads import FileParam, OnUpload
from ..stream.bytestream import ByteStream
from ..wire.endpoints.files import (
    FileDeleted,
    FileList,
    FileObject,
    decode_deleted,
    decode_file,
    decode_files,
)
from .listing import Listing, Pages
from .uploading import upload

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["FileCreateParams", "FileListParams", "Files", "OpenedContent"]


class FileCreateParams(CallOptions, total=False):
    """Keywords of `client.files.create`."""

    file: Required[FileParam]
    """A path, bytes, an open binary file, or a tuple of a name and one of these; read while it is sent."""
    purpose: Required[str]
    """What it is for: "batch"."""
    on_progress: OnUpload | None
    """Told how many bytes have been sent, and of how many."""


class FileListParams(PlainCallOptions, total=False):
    """Keywords of `client.files.list`."""

    after: str | None
    """Undocumented. The id of a file: those after it."""
    limit: int | None
    """Undocumented. How many at most."""
    order: str | None
    """Undocumented. "asc" or "desc", by the time of making."""
    purpose: str | None
    """Undocumented. Those of one purpose, such as "batch"."""


_CREATE = Fields(FileCreateParams, "file", "purpose")
_LIST = Fields(FileListParams)
_PLAIN = Fields(PlainCallOptions)


class Files(Explained):
    """The files of an account."""

    __slots__ = ("_service",)
    elsewhere = FILES

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, **params: Unpack[FileCreateParams]) -> FileObject:
        """Upload a file; its `id` is what a batch is made of.

        It is read while it is sent, and never whole in memory. By default no total clock ends it: while bytes go, the
        idle clock watches, and after the last of them the first token's.

        Args:
            file: A path, bytes, an open binary file, or a tuple of a name and one of these; read while it is sent.
            purpose: What it is for: "batch".
            on_progress: Told how many bytes have been sent, and of how many.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.
            extra_body: Merged into the body last: for what has no keyword here.

        Raises what a whole chat answer raises, InvalidRequestError also for a file that can't be read.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _CREATE.check(params)
        return await upload(self._service, "/files", decode_file, params, {"purpose": params["purpose"]})

    def list(self, **params: Unpack[FileListParams]) -> Listing[FileList, FileObject]:
        """Ask for the account's files; await it for a page, or `async for` them all. Undocumented.

        Args:
            after: Undocumented. The id of a file: those after it.
            limit: Undocumented. How many at most.
            order: Undocumented. "asc" or "desc", by the time of making.
            purpose: Undocumented. Those of one purpose, such as "batch".
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _LIST.check(params)
        query = query_fields(params, "after", "limit", "order", "purpose")
        return Listing(self._list(params, query), Pages(lambda last: self._list(params, {**query, "after": last})))

    async def _list(self, params: Mapping[str, Any], query: Mapping[str, str]) -> FileList:
        return await self._service.fetch("GET", "/files", decode_files, params, query=query)

    async def retrieve(self, file_id: str, **params: Unpack[PlainCallOptions]) -> FileObject:
        """Ask what a file is. Undocumented.

        Args:
            file_id: The file's `id`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises, NotFoundError for a file that is not there.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        return await self._service.fetch("GET", f"/files/{in_path(file_id, 'file_id')}", decode_file, params)

    async def delete(self, file_id: str, **params: Unpack[PlainCallOptions]) -> FileDeleted:
        """Delete a file. Undocumented.

        Args:
            file_id: The file's `id`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises, NotFoundError for a file that is not there.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        deleted = await self._service.fetch("DELETE", f"/files/{in_path(file_id, 'file_id')}", decode_deleted, params)
        deleted.id = deleted.id or file_id
        return deleted

    def content(self, file_id: str, **params: Unpack[PlainCallOptions]) -> OpenedContent:
        """Get what a file holds: await it for all of it, or `async with` for a ByteStream. Undocumented.

        Whole, it may be as large as the client's `max_body_size`; a stream has no limit, and no total clock by default.

        Args:
            file_id: The file's `id`.
            timeout: Seconds for the whole call, or the limits of all five clocks.
            extra_headers: Headers to send beside the client's; None leaves one out.
            extra_query: Parameters for the URL's query.

        Raises what a whole chat answer raises, NotFoundError for a file that is not there.
        """
        conceal(params)  # type: ignore[arg-type]  # a TypedDict is a dict
        _PLAIN.check(params)
        return OpenedContent(self._service, f"/files/{in_path(file_id, 'file_id')}/content", params)


class OpenedContent:
    """What `files.content(…)` returns: await it for a FileContent, or `async with` for a ByteStream."""

    __slots__ = ("_params", "_path", "_service", "_stream")

    def __init__(self, service: Service, path: str, params: Mapping[str, Any]) -> None:
        self._service = service
        self._path = path
        self._params = params
        self._stream: ByteStream | None = None

    def __await__(self) -> Generator[Any, Any, FileContent]:
        return self._service.fetch("GET", self._path, decode_content, self._params).__await__()

    async def open(self) -> ByteStream:
        """Return the content as a stream of bytes, once the first are there."""
        return await self._service.stream("GET", self._path, self._params)

    async def __aenter__(self) -> ByteStream:
        if self._stream is not None:
            raise BusyError("this content was opened before; call content(…) again")
        self._stream = await self.open()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._stream is not None
        self._stream.abort()
