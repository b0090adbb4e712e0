"""What users do, as programs in Python's development mode: they end well and have nothing to say on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from client_kit import environment

HERE = Path(__file__).parent
SCRIPTS = sorted((HERE / "leak_scripts").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_nothing_is_left_unsaid(script: Path) -> None:
    """No unclosed socket, destroyed task, coroutine that was never awaited, or exception that nobody retrieved."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(script)],
        env=environment(HERE.parent),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_there_are_scripts() -> None:
    """An empty directory would be a test that checks nothing."""
    assert len(SCRIPTS) == 6
