from __future__ import annotations

import ast
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


def test_the_module_imports_only_pytest() -> None:
    tree = ast.parse(Path(pytest_plugin.__file__).read_text())
    imported = [
        name
        for node in tree.body
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names])
    ]
    assert imported == ["__future__", "typing", "pytest"]
