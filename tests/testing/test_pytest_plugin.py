from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from siliconflow_async.testing import pytest_plugin

TEST = """
import urllib.request

import pytest


@pytest.mark.parametrize("turn", [1, 2])
def test_sync(siliconflow_server, turn):
    siliconflow_server.fail(200, "hello")
    with urllib.request.urlopen(siliconflow_server.base_url) as response:
        assert response.read() == b'"hello"'
    assert len(siliconflow_server.requests) == 1


@pytest.mark.anyio
async def test_async(siliconflow_server):
    assert siliconflow_server.connections == (0, 0)
"""


def test_the_fixture_serves_sync_and_async_tests(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    command = [sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    plugins = ["-p", "anyio", "-p", "siliconflow_async.testing.pytest_plugin"]
    root = str(Path(pytest_plugin.__file__).parents[2])
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": root}
    run = subprocess.run(
        [*command, *plugins, "-k", "not trio", str(tmp_path)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "3 passed" in run.stdout


def test_a_run_that_does_not_use_it_loads_nothing_of_the_library(tmp_path: Path) -> None:
    """As pytest finds it by its entry point, in whatever environment has the library."""
    (tmp_path / "test_it.py").write_text("""
import sys


def test_modules():
    assert "siliconflow_async_pytest" in sys.modules
    loaded = {name.partition(".")[0] for name in sys.modules}
    assert not loaded & {"siliconflow_async", "aiohttp", "msgspec"}


def test_the_fixture(siliconflow_server):
    assert siliconflow_server.base_url
""")
    # Other plugins of this environment may well load some of it.
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "siliconflow_async", str(tmp_path)]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "2 passed" in run.stdout
