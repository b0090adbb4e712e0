"""The command, started soon: by a server that has done most of what Python does at its start."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO, Any

__all__ = ["Fork", "Forks"]

# What Python looks at when it starts, which the server has done.
_OF_PYTHON = ("PYTHON", "LANG", "LC_")


def _of_python(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name.startswith(_OF_PYTHON)}


class Forks:
    """Runs the command in forks of one process, which has the environment `env` of Python's own."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._of_python = _of_python(env)
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("fork_server.py"), str(theirs.fileno())],
                env=env,
                pass_fds=[theirs.fileno()],
            )

    def __enter__(self) -> Forks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        self._process.wait()

    def can(self, env: Mapping[str, str]) -> bool:
        """Whether Python would start with `env` as the server did."""
        return _of_python(env) == self._of_python

    def start(
        self,
        args: Sequence[str | bytes],
        env: Mapping[str, str],
        *,
        stdin: Any = subprocess.PIPE,
        stdout: Any = subprocess.PIPE,
        stderr: Any = subprocess.PIPE,
        logs_in: bool = False,
    ) -> Fork:
        """Start with these streams, as Popen takes them; one that logs in has its stdin as its terminal."""
        ours, its = zip(*(_ends(stream, number) for number, stream in enumerate((stdin, stdout, stderr))), strict=True)
        told, asked = socket.socketpair()
        with asked:
            socket.send_fds(self._socket, [b"1"], [*its, asked.fileno()])
        for descriptor in its:
            os.close(descriptor)
        wanted = {"args": [os.fsdecode(arg) for arg in args], "env": dict(env), "folder": os.getcwd()}
        told.sendall(json.dumps({**wanted, "logs_in": logs_in}).encode())
        told.shutdown(socket.SHUT_WR)
        return Fork(told, *ours)

    def run(
        self, args: Sequence[str | bytes], stdin: bytes, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end, with pipes for all three streams. Raises TimeoutError, and kills it, after `timeout`."""
        with self.start(args, env) as process, ThreadPoolExecutor(3) as threads:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            threads.submit(_write, process.stdin, stdin)
            outputs = [threads.submit(stream.read) for stream in (process.stdout, process.stderr)]
            try:
                code = process.wait(timeout)
            except TimeoutError:
                process.kill()
                raise
            out, err = (output.result() for output in outputs)
        return subprocess.CompletedProcess(args, code, out, err)


class Fork:
    """A process that was forked, with what tests need of Popen."""

    def __init__(
        self, told: socket.socket, stdin: IO[bytes] | None, stdout: IO[bytes] | None, stderr: IO[bytes] | None
    ) -> None:
        self.stdin, self.stdout, self.stderr = stdin, stdout, stderr
        self.returncode: int | None = None
        self._told = told
        self._lines = told.makefile()
        self.pid = int(self._lines.readline())

    def __enter__(self) -> Fork:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        self.wait()
        self._lines.close()
        self._told.close()

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            self._told.settimeout(timeout)
            self.returncode = int(self._lines.readline())
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        # It may have ended, and nobody has asked yet.
        with contextlib.suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)


def _ends(stream: Any, number: int) -> tuple[IO[bytes] | None, int]:
    """Return our end of a stream that is a pipe, and its descriptor for the process."""
    if stream == subprocess.PIPE:
        ends = os.pipe()
        its = ends[0 if number == 0 else 1]
        mode = "wb" if number == 0 else "rb"
        return open(ends[1 if number == 0 else 0], mode, buffering=0), its
    if stream == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_RDWR)
    return None, os.dup(stream if isinstance(stream, int) else stream.fileno())


def _write(stream: IO[bytes], data: bytes) -> None:
    # It may have ended, or read no more.
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[stream.write(data) :]
    stream.close()
