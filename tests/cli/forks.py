"""Ways to run the command to its end: by Python's own start, or soon, by a server that has done most of it."""

from __future__ import annotations

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

__all__ = ["Forks"]

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

    def run(
        self, args: Sequence[str | bytes], stdin: bytes, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[bytes]:
        """Run to the end, with pipes for all three streams. Raises TimeoutError, and kills it, after `timeout`."""
        told, asked = socket.socketpair()
        pipes = [os.pipe() for _ in range(3)]
        (its_in, our_in), (our_out, its_out), (our_err, its_err) = pipes
        with told, asked:
            socket.send_fds(self._socket, [b"1"], [its_in, its_out, its_err, asked.fileno()])
            for descriptor in (its_in, its_out, its_err):
                os.close(descriptor)
            asked.close()
            wanted = {"args": [os.fsdecode(arg) for arg in args], "env": dict(env), "folder": os.getcwd()}
            told.sendall(json.dumps(wanted).encode())
            told.shutdown(socket.SHUT_WR)
            told.settimeout(timeout)
            with ThreadPoolExecutor(3) as threads, told.makefile() as lines:
                threads.submit(_write, our_in, stdin)
                outputs = [threads.submit(_read, descriptor) for descriptor in (our_out, our_err)]
                process = int(lines.readline())
                try:
                    code = int(lines.readline())
                except TimeoutError:
                    os.kill(process, signal.SIGKILL)
                    raise
                out, err = (output.result() for output in outputs)
        return subprocess.CompletedProcess(args, code, out, err)


def _write(descriptor: int, data: bytes) -> None:
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
    except BrokenPipeError:  # it has ended, or reads no more
        pass


def _read(descriptor: int) -> bytes:
    with open(descriptor, "rb") as file:
        return file.read()
