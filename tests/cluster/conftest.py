"""A cluster of three nodes, and programs that use it: Ray itself stays out of the process of the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from siliconflow_async.testing import FakeSiliconFlow

from ..programs import environment

if TYPE_CHECKING:
    from collections.abc import Iterator

# Far beyond what a busy machine needs: only what hangs gets there.
TIMEOUT = 240.0
HERE = Path(__file__).parent


class RayCluster:
    """Three nodes, of which two work, and what is started on them."""

    def __init__(self, home: Path) -> None:
        self.env = {name: value for name, value in environment().items() if not name.startswith("SILICONFLOW_")}
        # Ray looks for tokens at home, and needs none on loopback.
        self.env |= {"RAY_AUTH_MODE": "disabled", "HOME": str(home), "RAY_USAGE_STATS_ENABLED": "0"}
        self.env.pop("PYTHONWARNINGS", None)
        self._log = home / "nodes.log"
        self._start()
        try:
            self.address = self._line()
        except AssertionError:
            # On a busy machine: Ray gives a node half a minute to start.
            self.close()
            self._start()
            self.address = self._line()

    def _start(self) -> None:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(HERE / "nodes.py")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.env,
                text=True,
            )

    def add_node(self) -> None:
        """Put a node in the place of one that was killed."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._line()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(TIMEOUT)
        self._process.stdout.close()

    @contextmanager
    def driver(self, *cases: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
        """Start a program that asks for rows."""
        with self._started([sys.executable, str(HERE / "driver.py")]) as process:
            assert process.stdin is not None
            process.stdin.write(json.dumps({"address": self.address, "cases": cases}))
            process.stdin.close()
            process.stdin = None
            yield process

    @contextmanager
    def command(self, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        """Start `siliconflow-async batch` on the cluster."""
        args = ("-m", "siliconflow_async", "batch", *args, "--ray", self.address)
        with self._started([sys.executable, *args], **env) as process:
            yield process

    @contextmanager
    def _started(self, command: list[str], **env: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env | env,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        assert line, f"the cluster ended: {self._log.read_text(errors='replace')[-2000:]}"
        return line


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for a program; return its exit code and what it wrote."""
    out, err = process.communicate(timeout=TIMEOUT)
    return process.returncode, out, err


def case(rows: list[dict[str, Any]], *, blocks: int = 1, times: int = 1, **ask: Any) -> dict[str, Any]:
    """What a driver is to do."""
    return {"rows": rows, "blocks": blocks, "times": times, "ask": ask}


def writers(folder: Path) -> list[int]:
    """The processes that write segments in a folder."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                opened = [os.readlink(file) for file in (process / "fd").iterdir()]
            except OSError:
                continue
            if any(name.startswith(f"{folder}/part-") for name in opened):
                found.append(int(process.name))
    return found


def raylet_of(worker: int) -> int:
    """The process of the node that a worker belongs to."""
    for line in Path(f"/proc/{worker}/status").read_text().splitlines():
        if line.startswith("PPid:"):
            return int(line.split()[1])
    raise AssertionError(worker)


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)


def recorded(folder: Path) -> list[str]:
    """The ids of all whole lines of a store or a folder of results."""
    lines = [line for path in folder.glob("part-*") for line in path.read_bytes().split(b"\n")[:-1]]
    return sorted(json.loads(line)["custom_id"] for line in lines)


def until_recorded(folder: Path, count: int) -> None:
    """Wait until so many answers have come to the actors, which alone can say so."""
    deadline = time.monotonic() + TIMEOUT
    while len(recorded(folder)) < count:
        assert time.monotonic() < deadline, f"{len(recorded(folder))} of {count} answers were recorded"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    pytest.importorskip("ray", reason="needs the extra `ray`")
    cluster = RayCluster(tmp_path_factory.mktemp("home"))
    yield cluster
    cluster.close()


@pytest.fixture
def server() -> Iterator[FakeSiliconFlow]:
    with FakeSiliconFlow(api_key="test-key").threaded() as server:
        yield server
