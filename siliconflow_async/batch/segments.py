"""The segments of a row store: files of result lines in one folder, each written by one process.

`part-RUN-WRITER.jsonl` has the lines of requests that were answered, `part-RUN-WRITER.errors.jsonl` those that failed.
A folder of this machine, or one that all machines see, is written line by line. Anywhere else, by fsspec, nothing can
be added to what is there: a segment is a new object for all lines of about a second.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigurationError
from .files import LineFile, OwnFile, Syncing

__all__ = ["ERRORS", "LINES", "LocalSegments", "RemoteSegments", "Segments", "open_segments"]

LINES = ".jsonl"
ERRORS = ".errors.jsonl"
_PIECE = 4 * 1024 * 1024
# Lines that wait to be written together.
_SECONDS = 1.0


class Segments(Protocol):
    """A folder of segments, of which this process writes those of one `writer`."""

    # Seconds from which on lines are written together; None where each is written at once.
    delay: float | None

    def sizes(self) -> dict[str, int]:
        """Return the names of all segments, with their sizes."""
        ...

    def lines(self, name: str, start: int) -> Iterator[bytes]:
        """Yield the whole lines of a segment from a byte on, with their ends; a torn last one is left out."""
        ...

    def line(self, name: str, start: int) -> bytes:
        """Return the line that begins at a byte, without its end."""
        ...

    def add(self, line: bytes, *, failed: bool) -> tuple[str, int]:
        """Write a line; return in which segment it will be, and from which byte on. Raises OSError."""
        ...

    def cut(self) -> Callable[[], None]:
        """Return what writes the lines that wait to be written, which may be called in another thread: OSError."""
        ...

    def close(self) -> None:
        """End writing; a second time does nothing."""
        ...


class LocalSegments:
    """Segments in a folder of the file system, to which whole lines are added."""

    delay: float | None = None

    def __init__(self, folder: Path, run: str) -> None:
        self._folder = folder
        self._stem = _stem(run)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"can't write {folder}: {error.strerror}") from error
        self._closing = ExitStack()
        self._files: dict[bool, LineFile] = {}
        # The same, in a list that Syncing looks through as it grows.
        self._own: list[OwnFile] = []
        self._sizes = {False: 0, True: 0}
        self._syncing: Syncing | None = None

    def sizes(self) -> dict[str, int]:
        with os.scandir(self._folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if _is_segment(entry.name)}

    def lines(self, name: str, start: int) -> Iterator[bytes]:
        with (self._folder / name).open("rb", buffering=_PIECE) as file:
            file.seek(start)
            for line in file:
                if line.endswith(b"\n"):
                    yield line

    def line(self, name: str, start: int) -> bytes:
        with (self._folder / name).open("rb") as file:
            file.seek(start)
            return file.readline().removesuffix(b"\n")

    def add(self, line: bytes, *, failed: bool) -> tuple[str, int]:
        file = self._files.get(failed)
        if file is None:
            file = self._begin(failed)
        assert self._syncing is not None
        self._syncing.check()
        file.add(line)
        start = self._sizes[failed]
        self._sizes[failed] = start + len(line) + 1
        return file.path.name, start

    def _begin(self, failed: bool) -> LineFile:
        file = self._files[failed] = LineFile(
            self._folder / f"{self._stem}{ERRORS if failed else LINES}", self._closing
        )
        self._own.append(file)
        if self._syncing is None:
            self._syncing = Syncing(self._own, self._closing)
        return file

    def cut(self) -> Callable[[], None]:
        return _nothing

    def close(self) -> None:
        self._closing.close()


class RemoteSegments:
    """Segments in whatever fsspec reaches."""

    delay: float | None = _SECONDS

    def __init__(self, url: str, run: str) -> None:
        try:
            # Here and not above: a folder of this machine needs no extra.
            from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # it brings no types
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f'{url} needs an extra: pip install "siliconflow-async[ray]", or fsspec'
            ) from error
        try:
            fs, self._root = url_to_fs(url.rstrip("/"))
            fs.makedirs(self._root, exist_ok=True)
        except (ImportError, ValueError, OSError) as error:
            raise ConfigurationError(f"can't write {url}: {error}") from error
        self._fs: Any = fs
        self._stem = _stem(run)
        self._written = 0
        self._pending: dict[bool, bytearray] = {False: bytearray(), True: bytearray()}
        # The segment that was read last: rows that were asked together stand together.
        self._held: tuple[str, bytes] = ("", b"")

    def sizes(self) -> dict[str, int]:
        # Others write there, of which nothing that is remembered knows.
        self._fs.invalidate_cache(self._root)
        found = {info["name"].rpartition("/")[2]: info["size"] for info in self._fs.ls(self._root, detail=True)}
        return {name: size for name, size in found.items() if _is_segment(name)}

    def lines(self, name: str, start: int) -> Iterator[bytes]:
        *whole, _torn = self._read(name)[start:].split(b"\n")
        for line in whole:
            yield line + b"\n"

    def line(self, name: str, start: int) -> bytes:
        data = self._read(name)
        end = data.find(b"\n", start)
        return data[start:] if end < 0 else data[start:end]

    def add(self, line: bytes, *, failed: bool) -> tuple[str, int]:
        pending = self._pending[failed]
        start = len(pending)
        pending += line
        pending += b"\n"
        return self._name(failed), start

    def cut(self) -> Callable[[], None]:
        lines = {self._name(failed): bytes(data) for failed, data in self._pending.items() if data}
        for data in self._pending.values():
            data.clear()
        self._written += 1
        return partial(self._write, lines)

    def _write(self, lines: dict[str, bytes]) -> None:
        for name, data in lines.items():
            try:
                self._fs.pipe_file(f"{self._root}/{name}", data)
            except OSError as error:
                raise OSError(error.errno, error.strerror or str(error), f"{self._root}/{name}") from error

    def close(self) -> None:
        self.cut()()

    def _name(self, failed: bool) -> str:
        return f"{self._stem}-{self._written:06}{ERRORS if failed else LINES}"

    def _read(self, name: str) -> bytes:
        if self._held[0] != name:
            self._held = (name, self._fs.cat_file(f"{self._root}/{name}"))
        return self._held[1]


def open_segments(where: str | os.PathLike[str], run: str) -> Segments:
    """Return the segments of a folder, or of what fsspec knows by a URL. Raises ConfigurationError."""
    name = os.fspath(where)
    if name.startswith(("file://", "local://")):
        name = name.partition("://")[2]
    return RemoteSegments(name, run) if "://" in name else LocalSegments(Path(name), run)


def _is_segment(name: str) -> bool:
    return name.startswith("part-") and name.endswith(LINES)


def _stem(run: str) -> str:
    return f"part-{run}-{secrets.token_hex(8)}"


def _nothing() -> None:
    """What there is to write where each line is written at once."""
