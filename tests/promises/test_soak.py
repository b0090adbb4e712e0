"""A short run of the soak, with many faults: every outcome right, no descriptor and no task left."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ..programs import environment

SOAK = Path(__file__).parents[1] / "soak.py"


@pytest.mark.skipif(sys.platform != "linux", reason="a process counts its descriptors in /proc")
def test_a_short_soak_is_flat() -> None:
    """400 streams, of which two in five break, end as they should and leave the process as it was."""
    done = subprocess.run(
        [sys.executable, str(SOAK), "--streams", "400", "--faults", "0.4", "--seed", "1"],
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert done.stdout.endswith("flat, and every outcome as it should be\n")
