"""A real llama.cpp server in a process of its own, and our client connected to it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import pytest

from siliconflow_async import AsyncSiliconFlow

KEY = "sk-live-0123456789"
PROGRAM = Path(__file__).parent / "llama_server.py"
START_LIMIT = 60.0
STOP_LIMIT = 10.0


class Llama:
    """A running llama.cpp server."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self.key = key

    async def metrics(self) -> dict[str, float]:
        """Read `/metrics`: the values by name, without the prefix."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with (
            aiohttp.ClientSession(raise_for_status=True) as session,
            session.get(f"{self.base_url}/metrics", headers=headers) as response,
        ):
            lines = (await response.text()).splitlines()
        pairs = [line.split() for line in lines if not line.startswith("#")]
        return {name.removeprefix("llamacpp:"): float(value) for name, value in pairs}


@contextmanager
def running(directory: Path, kind: str) -> Iterator[Llama]:
    """A server that is for "text", "embedding" or "rerank"."""
    log = directory / "log"
    command = [sys.executable, str(PROGRAM), str(directory), KEY, kind]
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        watchdog = threading.Timer(START_LIMIT, process.kill)
        watchdog.start()
        words = next((line.split() for line in process.stdout if line.startswith("listening ")), None)
        watchdog.cancel()
        if words is None:
            process.kill()
            pytest.fail(f"the llama.cpp server did not start:\n{log.read_text(errors='replace')}", pytrace=False)
        yield Llama(words[1], KEY)
        process.stdin.close()
        try:
            process.wait(STOP_LIMIT)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    with running(tmp_path_factory.mktemp("llama"), "text") as llama:
        yield llama


@pytest.fixture
async def client(llama: Llama) -> AsyncIterator[AsyncSiliconFlow]:
    async with AsyncSiliconFlow(llama.key, base_url=llama.base_url) as client:
        yield client
