"""A port, and the processes that serve it: one after another, or one while its successor starts."""

from __future__ import annotations

import asyncio
import socket
import sys
from types import TracebackType
from typing import Self

from .. import ROOT
from ..measure import WrongAnswer

__all__ = ["Port"]


class Port:
    """Enter it to have a service there; `loss` is the share of packets to it that are dropped."""

    def __init__(self, loss: float = 0.0) -> None:
        self._loss = loss
        # Bound and not listening: nobody else gets the port, and where no service is, connections are refused.
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._kept.bind(("127.0.0.1", 0))
        self._port: int = self._kept.getsockname()[1]
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.kill()
        self._kept.close()

    def url(self, segment: str) -> str:
        return f"http://127.0.0.1:{self._port}/{segment}"

    async def start(self) -> None:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"{__package__}.service", str(self._port), str(self._loss)),
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
        )
        assert process.stdout is not None
        if await process.stdout.readline() != b"ready\n":
            raise WrongAnswer("the service did not start")
        self._process = process

    async def kill(self) -> None:
        """End it at once, with all that it was asked."""
        if self._process is not None:
            self._process.kill()
            await self._process.wait()

    async def replace(self) -> None:
        """Start a successor; then the old one takes no more, answers what it was asked, and leaves."""
        old = self._process
        await self.start()
        assert old is not None
        old.terminate()
        await old.wait()

    async def asked(self, segment: str) -> int:
        """Return how many requests the process of now has seen for this segment."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(b"GET /asked/%b HTTP/1.1\r\n\r\n" % segment.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.rpartition(b":")[2]))
        writer.transport.abort()
        return int(body)
