"""The benchmark of observers runs, and finds every answer, span and record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_it_runs() -> None:
    """With tiny counts; a wrong answer, or a call that was not told of, would make it fail."""
    command = [sys.executable, "-m", "benchmarks.observing", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("by hand") == 3
