"""What mypy and pyright make of calls: answers have the type asked for, and wrong keywords are errors in the editor."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CHECKED = sorted((ROOT / "tests/typing").glob("*.py"))
CHECKERS = {
    "mypy": ["mypy", "--strict", "--config-file=", "--python-version=3.11"],
    "pyright": ["pyright", "--pythonpath", sys.executable, "--pythonversion", "3.11"],
}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_checker_agrees(checker: str) -> None:
    """Every `assert_type` holds, and every ignored error is one."""
    command = [sys.executable, "-m", *CHECKERS[checker], *map(str, CHECKED)]
    environment = {**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
