"""What users do, as programs in Python's development mode: they end well and have nothing to say on stderr."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..programs import environment

SCRIPTS = sorted(Path(__file__).with_name("leak_scripts").glob("[!_]*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_nothing_is_left_unsaid(script: Path) -> None:
    """No unclosed socket, destroyed task, coroutine that was never awaited, or exception that nobody retrieved."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", f"{__package__}.leak_scripts.{script.stem}"],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "")


def test_there_are_scripts() -> None:
    """An empty directory would be a test that checks nothing."""
    assert len(SCRIPTS) == 6
