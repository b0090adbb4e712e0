"""The command as its users run it: a process of its own, against a stand-in on a real socket."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow

from ..terminal import LOGIN
from .forks import Forks

if TYPE_CHECKING:
    from collections.abc import Iterator

COMMAND = (sys.executable, "-m", "siliconflow_async")
# Far beyond what a busy machine needs: only a command that hangs gets there.
_TIMEOUT = 60.0
_LEFT_OUT = ("SILICONFLOW_", "PYTHON", "NO_COLOR", "TERM", "LANG", "LC_")


class Command:
    """Runs the command in an environment where only the base URL and the key of the stand-in are set."""

    def __init__(self, base_url: str, forks: Forks | None = None) -> None:
        self._forks = forks
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(_LEFT_OUT)}
        self.env |= {
            "SILICONFLOW_BASE_URL": base_url,
            "SILICONFLOW_API_KEY": "test-key",
            "PYTHONWARNINGS": "error",
            "LANG": "C.UTF-8",
            "TERM": "xterm",
        }

    def run(
        self, *args: str | bytes, stdin: bytes = b"", shell: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, with pipes for all three streams; `shell` is a script that runs "$@"."""
        env = self.env | env
        done: subprocess.CompletedProcess[bytes]
        if shell is None and self._forks is not None and self._forks.can(env):
            done = self._forks.run(args, stdin, env, _TIMEOUT)
        else:
            command = [*COMMAND, *args] if shell is None else ["sh", "-c", shell, "sh", *COMMAND, *args]
            done = subprocess.run(command, input=stdin, capture_output=True, env=env, timeout=_TIMEOUT, check=False)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        assert "ResourceWarning" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    @contextmanager
    def start(
        self, *args: str, env: dict[str, str] | None = None, by: tuple[str, ...] = (), **options: Any
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Start, with unbuffered pipes; a command that never ends is killed, so that every read returns.

        `by` is a program that runs the command that its arguments are.
        """
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        env = self.env | (env or {})
        process: Any
        if by in ((), LOGIN) and self._forks is not None and self._forks.can(env):
            process = self._forks.start(args, env, **pipes, logs_in=by == LOGIN)
        else:
            process = subprocess.Popen([*by, *COMMAND, *args], env=env, bufsize=0, **pipes)
        guard = threading.Timer(_TIMEOUT, process.kill)
        guard.start()
        try:
            with process:
                try:
                    yield process
                finally:
                    process.kill()
        finally:
            guard.cancel()
            guard.join()


@pytest.fixture
def server() -> Iterator[FakeSiliconFlow]:
    with FakeSiliconFlow(api_key="test-key").threaded() as server:
        yield server


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks | None]:
    """Programs that wait for nothing but the library's own start; where nobody can fork, they are started as ever."""
    if not sys.platform.startswith("linux"):
        yield None
        return
    with Forks(Command("").env) as forks:
        yield forks


@pytest.fixture
def command(server: FakeSiliconFlow, forks: Forks | None) -> Command:
    return Command(server.base_url, forks)
