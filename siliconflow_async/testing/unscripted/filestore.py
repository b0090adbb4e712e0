"""What the stand-in keeps in memory: the latest files, no more of them than `MOST_BYTES`, and batches."""

from __future__ import annotations

import secrets
import time
from typing import Any

import msgspec

from ..serving.refusals import refuse

__all__ = ["MOST_BYTES", "MOST_FILES", "Files", "StoredBatch", "StoredFile"]

MOST_BYTES = 256 * 1024 * 1024
MOST_FILES = 1000


class StoredFile(msgspec.Struct, frozen=True):
    """A file: what it holds, and what is told of it."""

    data: bytes
    filename: str
    purpose: str
    id: str = msgspec.field(default_factory=lambda: f"file-{secrets.token_hex(12)}")
    created_at: int = msgspec.field(default_factory=lambda: int(time.time()))

    def as_object(self) -> dict[str, Any]:
        """Return what is told of it."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": len(self.data),
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
        }


class Files:
    """The files by their ids, the oldest first; for a new one the oldest go."""

    def __init__(self) -> None:
        self._files: dict[str, StoredFile] = {}
        self._size = 0

    def add(self, file: StoredFile) -> StoredFile:
        """Keep a file."""
        self._files[file.id] = file
        self._size += len(file.data)
        while len(self._files) > 1 and (self._size > MOST_BYTES or len(self._files) > MOST_FILES):
            self.remove(next(iter(self._files)))
        return file

    def find(self, file_id: str) -> StoredFile | None:
        """Return a file, None if there is no such file."""
        return self._files.get(file_id)

    def get(self, file_id: str) -> StoredFile:
        """Return a file; raise Refused if there is no such file."""
        file = self.find(file_id)
        if file is None:
            refuse("File not found.", code=20063, status=404)
        return file

    def remove(self, file_id: str) -> None:
        """Forget a file; raise Refused if there is no such file."""
        file = self.get(file_id)
        del self._files[file_id]
        self._size -= len(file.data)

    def all(self) -> list[StoredFile]:
        """Return all files, the newest first."""
        return list(reversed(self._files.values()))


class StoredBatch(msgspec.Struct, eq=False):
    """A batch: `told` is the object that is told of it, `asked` how often it was asked about; `replaced` its model."""

    told: dict[str, Any]
    replaced: str | None
    asked: int = 0
