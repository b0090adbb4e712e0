"""The results of a batch, line by line, from files that may be of any size and may break off."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from ..calls.download import Download
from ..calls.retry import wait_to_resume
from ..errors import BusyError, EventTooLargeError, InvalidRequestError, SiliconFlowError
from ..stream.bytestream import ByteStream
from ..wire.endpoints.batches import Batch, BatchResult, decode_result
from ..wire.endpoints.jsonlines import LONGEST_LINE, LineBuffer

if TYPE_CHECKING:
    from ..calls.service import Service

__all__ = ["BatchResults", "FileLines"]


class FileLines:
    """The lines of a file of the service, by its id or its URL; one that breaks off is read again from its beginning.

    What was given out is passed over then, as the file does not change.
    """

    def __init__(self, service: Service, where: str) -> None:
        self._service = service
        self._where = where
        self._stream: ByteStream | None = None
        self._buffer = LineBuffer()
        self._lines: Iterator[bytes] = iter(())
        # Bytes that went into lines, and those that a file that is read again has yet to come to.
        self._taken = self._surplus = 0
        self._breaks = 0
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while True:
            for line in self._lines:
                if len(line) > LONGEST_LINE:
                    raise EventTooLargeError(f"a line of the results is longer than {LONGEST_LINE} bytes")
                if line.strip():
                    return line
            if self._ended:
                raise StopAsyncIteration
            data = await self._more()
            if data is None:
                self._ended = True
                self._lines = self._buffer.rest()
            else:
                self._lines = self._buffer.feed(data)

    async def _more(self) -> bytes | None:
        """Return more of the file, None at its end."""
        while True:
            try:
                if self._stream is None:
                    self._stream = await self._open()
                    self._surplus = self._taken
                data = await anext(self._stream, None)
            except SiliconFlowError as error:
                failure = error
            else:
                if data is None:
                    return None
                passed = min(self._surplus, len(data))
                self._surplus -= passed
                if data := data[passed:]:
                    self._taken += len(data)
                    self._breaks = 0
                    return data
                continue
            # An attempt that did not open has been repeated as often as it may be.
            if self._stream is None or not failure.passing:
                raise failure
            self.close()
            try:
                await self._wait(failure)
            finally:
                del failure

    async def _wait(self, failure: SiliconFlowError) -> None:
        """Wait until the file may be asked for again; raise its failure if it may not."""
        setup = self._service.setup
        self._breaks += 1
        if self._breaks >= setup.retry.max_attempts or not await wait_to_resume(
            self._breaks, failure, policy=setup.retry, budget=setup.budget, deadline=None
        ):
            raise failure

    async def _open(self) -> ByteStream:
        if self._where.lower().startswith(("http://", "https://")):
            return await Download(self._service.setup, self._where).stream()
        return await self._service.stream("GET", f"/files/{quote(self._where, safe='')}/content", {})

    def close(self) -> None:
        """Leave the file."""
        if self._stream is not None:
            self._stream.abort()
            self._stream = None


class BatchResults:
    """What became of the requests of a batch: `async for result in results`, once.

    `async with` closes what is open at once where the loop is left early.
    """

    def __init__(self, service: Service, batch: Batch | str, retrieve: Callable[[str], Awaitable[Batch]]) -> None:
        self._service = service
        self._batch = batch
        self._retrieve = retrieve
        self._left: list[str] | None = None
        self._file: FileLines | None = None
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> BatchResult:
        if self._busy:
            raise BusyError("another task is waiting for these results")
        self._busy = True
        try:
            while True:
                if self._file is None:
                    self._file = await self._next_file()
                async for line in self._file:
                    return decode_result(line)
                self._file.close()
                self._file = None
        except asyncio.CancelledError:
            self.abort()
            raise
        finally:
            self._busy = False

    async def _next_file(self) -> FileLines:
        if self._left is None:
            batch = self._batch
            if isinstance(batch, str):
                batch = await self._retrieve(batch)
            if not batch.ended:
                raise InvalidRequestError(
                    f"the batch {batch.id} has no results yet, it is {batch.status}: wait(…) for it", param="batch"
                )
            self._left = [name for name in (batch.output_file_id, batch.error_file_id) if name]
        if not self._left:
            raise StopAsyncIteration
        return FileLines(self._service, self._left.pop(0))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Close what is open; nothing more is given out."""
        self._left = []
        if self._file is not None:
            self._file.close()
            self._file = None
