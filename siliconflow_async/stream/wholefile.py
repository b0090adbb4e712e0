"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import IO, TypeAlias

from anyio import to_thread

from ..errors import InvalidRequestError

__all__ = ["FilePath", "WholeFile", "written_whole"]

FilePath: TypeAlias = "str | os.PathLike[str]"

# Written at a time: a switch of threads for each piece that comes would cost more than the writing.
_AT_ONCE = 1024 * 1024
_NAME = 40


class WholeFile:
    """A file that is being written, off the loop; `size` is how much it was given so far."""

    __slots__ = ("_file", "_held", "_ready", "size")

    def __init__(self, file: IO[bytes]) -> None:
        self.size = 0
        self._file = file
        self._ready: list[bytes] = []
        self._held = 0

    async def write(self, data: bytes) -> None:
        """Add to the file; raise OSError where it can't be written."""
        self._ready.append(data)
        self._held += len(data)
        self.size += len(data)
        if self._held >= _AT_ONCE:
            await self.flush()

    async def flush(self) -> None:
        """Write what was held back."""
        ready, self._ready, self._held = self._ready, [], 0
        await to_thread.run_sync(self._file.writelines, ready)

    async def restart(self) -> None:
        """Forget what was written, and begin anew; raise OSError where that can't be, as with a pipe."""
        self._ready, self._held, self.size = [], 0, 0
        await to_thread.run_sync(_empty, self._file)


@asynccontextmanager
async def written_whole(path: FilePath) -> AsyncIterator[WholeFile]:
    """Have a file that is at `path`, in the place of one that was, once the block has ended well, and else is nowhere.

    It is written under another name beside it, which only the end of the process can leave behind: `.NAME.….part`.
    What is no regular file, such as a pipe, is written as it is. Raises InvalidRequestError where it can't be made,
    OSError where it can't be written.
    """
    try:
        target, aside, file = await to_thread.run_sync(_opened, path)
    except (OSError, ValueError, TypeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InvalidRequestError(f"path: can't write {path!r}: {why}", param="path") from error
    try:
        whole = WholeFile(file)
        yield whole
        await whole.flush()
        await to_thread.run_sync(_finish, file, aside, target)
        aside = None
    finally:
        # Quick, and nothing that a second cancellation could keep from being done.
        with suppress(OSError):
            file.close()
        if aside is not None:
            with suppress(FileNotFoundError):
                os.unlink(aside)


def _opened(path: FilePath) -> tuple[str, str | None, IO[bytes]]:
    """Return where a link leads to, the name beside it that is open, None for the file itself, and the open file."""
    target = os.path.realpath(os.fspath(path))
    if os.path.isdir(target):
        raise IsADirectoryError(None, "it is a directory")
    if os.path.exists(target) and not os.path.isfile(target):
        return target, None, open(target, "wb")  # the caller closes it
    folder, name = os.path.split(target)
    aside = os.path.join(folder, f".{name[:_NAME]}.{secrets.token_hex(4)}.part")
    return target, aside, open(aside, "xb")


def _finish(file: IO[bytes], aside: str | None, target: str) -> None:
    file.close()
    if aside is not None:
        os.replace(aside, target)


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()
