"""`RayLimits` does what every store of shared limits does: the same tests, in a program on the cluster."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .conftest import TIMEOUT

if TYPE_CHECKING:
    from .conftest import RayCluster

ROOT = Path(__file__).parents[2]


def test_limits_in_an_actor_keep_the_contract(cluster: RayCluster) -> None:
    # Ray's own warnings are Ray's.
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-W", "default"]
    done = subprocess.run(
        [*command, "-k", "ray", "tests/limits/test_contract.py"],
        cwd=ROOT,
        env=cluster.env | {"SILICONFLOW_RAY": cluster.address},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " skipped" not in done.stdout.splitlines()[-1], done.stdout
