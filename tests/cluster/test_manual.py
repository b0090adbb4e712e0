"""The manual's example of a dataset runs on a real cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import siliconflow_async

from .conftest import TIMEOUT

if TYPE_CHECKING:
    from siliconflow_async.testing import FakeSiliconFlow

    from .conftest import RayCluster
CHAPTER = Path(siliconflow_async.__file__).parent / "batch" / "README.md"
BEFORE = """
import pyarrow.parquet
import ray

ray.init(log_to_driver=False)
"""
AFTER = """
found = pyarrow.parquet.read_table("answered").to_pylist()
print(len(found), {row["error"] for row in found}, {row["content"][:8] for row in found})
"""


def test_the_example_of_a_dataset_runs(cluster: RayCluster, server: FakeSiliconFlow, tmp_path: Path) -> None:
    example = next(
        block
        for block in re.findall(r"^```py\n(.*?)^```$", CHAPTER.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        if "import RayLimits, ask" in block
    )
    # The nodes have no key in their environment, and the stand-in is nowhere that they would look.
    where = f'api_key="test-key", client={{"base_url": "{server.base_url}", "trust_env": False}}, actors=2,'
    code = BEFORE + example.replace("actors=2,", where) + AFTER
    # Actors run in folders of their own, so that a name alone would lead each elsewhere.
    for name in ("store", "answered"):
        code = code.replace(f'"{name}"', f'"{tmp_path / name}"')
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=cluster.env | {"RAY_ADDRESS": cluster.address},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 {None} {'You said'}"
    assert len(server.requests) == 2
